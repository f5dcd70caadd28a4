//! Client libraries over TLS, before two real Ethereum nodes: ethers, viem and web3.py as programs use
//! them, HTTP and WebSocket.
//!
//! The scripts are in `tests/clients`, and `scripts/install-clients` installs the libraries there.
//! Each prints its observations as lines of JSON, and every library must make the same ones. If a
//! library is missing, its tests print one line and end; with `CI=true` they fail.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use serde_json::{Value, json};

use crate::listeners::{TLS_A, with};
use crate::nodes::{CONTRACT, Node, Nodes, ask, start_with};
use crate::support::{Authority, Conf, Proxy, optional, wait_for, wait_until, workspace};

/// The key of the first account that every Anvil node has. It is public.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Copies the bytes behind itself and reverts with them.
const REVERT: &str = "0x6064600c60003960646000fd";
/// The digest of "abc", from the standard's examples.
const DIGEST: &str = "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// Calls that each script makes at once.
const MEMBERS: usize = 20;

#[test]
fn ethers_reads_writes_and_gets_its_errors() {
    // Each of its batches begins with a question for the chain.
    reads_writes_and_gets_its_errors("ethers", MEMBERS + 1, ["CALL_EXCEPTION", "UNKNOWN_ERROR"]);
}

#[test]
fn viem_reads_writes_and_gets_its_errors() {
    reads_writes_and_gets_its_errors("viem", MEMBERS, ["ExecutionRevertedError", "MethodNotFoundRpcError"]);
}

#[test]
fn web3_py_reads_writes_and_gets_its_errors() {
    reads_writes_and_gets_its_errors("web3", MEMBERS, ["ContractLogicError", "MethodUnavailable"]);
}

#[test]
fn ethers_follows_the_head_and_connects_again() {
    follows_the_head_and_connects_again("ethers");
}

#[test]
fn viem_follows_the_head_and_connects_again() {
    follows_the_head_and_connects_again("viem");
}

fn reads_writes_and_gets_its_errors(library: &str, batch: usize, [reverted, unknown]: [&str; 2]) {
    let Some((Setting { mut nodes, proxy, .. }, mut script)) = start(library, "requests") else { return };
    let members: Vec<String> = (1..=MEMBERS).map(|n| format!("0x{n:04x}")).collect();
    let balance = "10000000000000000000000";
    let reads = json!({ "chain": 31337, "block": 0, "balance": balance, "call": DIGEST, "members": members });
    assert_eq!(script.observation(), reads);
    wait_until("the batch is logged", || proxy.lines(&format!(" batch={batch} ")) == 1);

    assert_eq!(script.observation(), json!({ "status": 1, "result": format!("0x{:064x}", 42), "nonce": 1 }));
    let errors = script.observation();
    assert_eq!((&errors["reverted"]["type"], &errors["unknown"]["type"]), (&json!(reverted), &json!(unknown)));
    // web3.py shows a revert's text and data, not its code.
    assert!([json!(3), Value::Null].contains(&errors["reverted"]["code"]), "{errors}");
    assert_eq!(errors["reverted"]["text"], "execution reverted: no");
    assert_eq!(errors["unknown"]["code"], -32601);
    let attempts = |name: &str| proxy.endpoint(name)["attempts"].clone();
    assert_eq!(attempts("b"), json!({}), "the first node had the answer to everything");
    assert_eq!(ask(&mut nodes.b.client(), "eth_blockNumber", json!([])), "0x0");

    nodes.a.kill();
    script.go_on();
    assert_eq!(script.observation(), json!({ "call": DIGEST }));
    assert!(attempts("b")["success"].as_u64() > Some(0), "{}", attempts("b"));
    script.ends();
    assert_eq!(proxy.metrics().sum("tls_handshake_failures_total", &[]), 0.0);
}

fn follows_the_head_and_connects_again(library: &str) {
    let Some((setting, mut script)) = start(library, "heads") else { return };
    let Setting { nodes, proxy, authority } = &setting;
    sees_heads(&mut script, &nodes.a);

    let without_a = Conf::with([nodes.b.endpoint("b")]).with_shipped_policies().server("shutdown_grace", "'0s'");
    proxy.rewrite_conf(&secured(without_a, authority));
    assert!(proxy.reload_by_signal());
    assert_eq!(script.observation(), json!({ "closed": 1001 }));
    sees_heads(&mut script, &nodes.b);
    script.go_on();
    script.ends();
}

/// The heads of this node, which alone mines now, are seen, each once and in their order.
fn sees_heads(script: &mut Script, node: &Node) {
    let first = wait_for("the script has subscribed", || {
        mine(node);
        script.observed()
    });
    let height = height(node);
    let mut seen = first;
    while seen != json!({ "block": height }) {
        seen = script.observation();
    }
    for number in height + 1..=height + 3 {
        mine(node);
        assert_eq!(script.observation(), json!({ "block": number }));
    }
}

fn mine(node: &Node) {
    ask(&mut node.client(), "evm_mine", json!([]));
}

fn height(node: &Node) -> u64 {
    let height = ask(&mut node.client(), "eth_blockNumber", json!([]));
    u64::from_str_radix(height.trim_start_matches("0x"), 16).expect("a number")
}

/// Two nodes behind a proxy with a TLS listener, and its authority.
struct Setting {
    nodes: Nodes,
    proxy: Proxy,
    authority: Authority,
}

/// Starts the script of a library; `None` if it or the nodes are missing.
fn start(library: &str, mode: &str) -> Option<(Setting, Script)> {
    const FOLDER: &str = "tests/clients";
    let (installed, interpreter, script) = match library {
        "web3" => (".venv", workspace().join(FOLDER).join(".venv/bin/python"), "web3_client.py"),
        "ethers" => ("node_modules", "node".into(), "ethers_client.mjs"),
        _ => ("node_modules", "node".into(), "viem_client.mjs"),
    };
    optional(library, &format!("{FOLDER}/{installed}/.installed"), "scripts/install-clients")?;
    let authority = Authority::new();
    let (nodes, proxy) = start_with(|conf| secured(conf, &authority))?;
    let file = |name: &str| proxy.site().folder().join(name);
    std::fs::write(file("ca.pem"), authority.pem()).unwrap();
    let revert = format!("{REVERT}08c379a0{:064x}{:064x}6e6f{:060}", 32, 2, 0);
    let mut command = Command::new(interpreter);
    command.arg(workspace().join(FOLDER).join(script)).arg(mode);
    command.arg(format!("https://localhost:{}", proxy.second().port()));
    command.arg(json!({ "key": KEY, "contract": CONTRACT, "reverting": revert }).to_string());
    command.env("NODE_EXTRA_CA_CERTS", file("ca.pem")).env("REQUESTS_CA_BUNDLE", file("ca.pem"));
    let script = Script::start(command, file("stderr"));
    Some((Setting { nodes, proxy, authority }, script))
}

fn secured(conf: Conf, authority: &Authority) -> Conf {
    with(conf, "a", &authority.certify(&["localhost"])).listener(TLS_A)
}

/// A running script. It is killed when it is dropped.
struct Script {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    stderr: PathBuf,
}

impl Script {
    fn start(mut command: Command, stderr: PathBuf) -> Script {
        let errors = File::create(&stderr).unwrap();
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        Script { process, input, lines, stderr }
    }

    /// The next observation.
    #[track_caller]
    fn observation(&mut self) -> Value {
        wait_for("the script has an observation", || self.observed())
    }

    /// The next observation, if there is one.
    #[track_caller]
    fn observed(&mut self) -> Option<Value> {
        match self.lines.try_recv() {
            Ok(line) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                panic!("the script ended: {}", std::fs::read_to_string(&self.stderr).unwrap())
            }
        }
    }

    /// Lets it take its next step.
    fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    /// Waits for its end, before which it observes nothing more.
    #[track_caller]
    fn ends(mut self) {
        let status = wait_for("the script ends", || self.process.try_wait().unwrap());
        assert!(status.success(), "{}", std::fs::read_to_string(&self.stderr).unwrap());
        assert_eq!(self.lines.iter().next(), None);
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
