//! Two real Ethereum nodes behind the proxy, with the shipped policies.
//!
//! The nodes are Anvil, which `scripts/install-nodes` installs into `tests/nodes/node_modules`. If
//! it is missing, these tests print one line and end; with `CI=true` they fail.
//!
//! Both nodes have their own chain with the same genesis: reads have the same answer from both
//! until a write, and a write shows its node.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::support::{Client, Conf, Proxy, Response, wait_for, wait_until};

mod anvil;

pub(crate) use anvil::Node;
use anvil::anvil;

/// Clients that read while a node dies.
const READERS: usize = 4;
/// Creates a contract that returns 42 to every call:
/// `PUSH1 42 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN`, preceded by the code that copies these ten
/// bytes and returns them.
pub(crate) const CONTRACT: &str = "0x600a600c600039600a6000f3602a60005260206000f3";

#[test]
fn answers_are_the_nodes_own_byte_for_byte() {
    let Some((nodes, proxy)) = start() else { return };
    let (mut direct, mut proxied) = (nodes.a.client(), proxy.client());
    let batch = json!([
        request("last", "eth_chainId", json!([])),
        request(7, "no_such_method", json!([])),
        request("first", "eth_call", identity_of("0xc0ffee")),
        request(-1, "eth_blockNumber", json!([])),
    ]);
    let requests = [
        request(1, "eth_blockNumber", json!([])),
        request("text", "eth_getBlockByNumber", json!(["0x0", true])),
        request(2, "eth_call", sha256_of("0x616263")),
        request(3, "eth_call", identity_of(&format!("0x{}", "ab".repeat(100_000)))),
        request(4, "eth_getBalance", json!([nodes.account(), "latest"])),
        request(5, "eth_getTransactionReceipt", json!([format!("0x{}", "00".repeat(32))])),
        request(6, "no_such_method", json!([])),
        request(7, "eth_getBalance", json!(["no address"])),
        batch.clone(),
    ];
    for request in requests {
        let (expected, got) = (direct.post(request.to_string()), proxied.post(request.to_string()));
        assert_eq!((got.status, got.text()), (expected.status, expected.text()), "{request:.200}");
    }

    // The digest of "abc", from the standard's examples.
    let digest = proxied.post(request(1, "eth_call", sha256_of("0x616263")).to_string()).result();
    assert_eq!(digest, "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let members = proxied.post(batch.to_string()).json();
    let ids: Vec<&Value> = members.as_array().unwrap().iter().map(|member| &member["id"]).collect();
    assert_eq!(ids, [&json!("last"), &json!(7), &json!("first"), &json!(-1)]);
    assert_eq!((&members[1]["error"]["code"], &members[2]["result"]), (&json!(-32601), &json!("0xc0ffee")));
}

#[test]
fn a_signed_transaction_is_carried_out_once() {
    let Some((nodes, proxy)) = start() else { return };
    let (account, mut client) = (nodes.account(), proxy.client());
    let nonce = |client: &mut Client| ask(client, "eth_getTransactionCount", json!([account, "latest"]));
    let signed = sign(&nodes.a, &account);
    assert_eq!(nonce(&mut client), "0x0");

    let hash = ask(&mut client, "eth_sendRawTransaction", json!([signed]));
    let receipt = wait_for("the transaction is mined", || {
        let answer = client.post(request(1, "eth_getTransactionReceipt", json!([hash])).to_string()).json();
        answer["result"].is_object().then(|| answer["result"].clone())
    });
    assert_eq!(receipt["status"], "0x1");
    let call = json!([{ "to": receipt["contractAddress"] }, "latest"]);
    assert_eq!(ask(&mut client, "eth_call", call), format!("0x{:064x}", 42));
    assert_eq!(nonce(&mut client), "0x1");
    assert_eq!(nonce(&mut nodes.b.client()), "0x0", "the other node got it as well");

    // Again: the node refuses it, and no other endpoint is tried.
    let again = request(1, "eth_sendRawTransaction", json!([signed])).to_string();
    let (expected, got) = (nodes.a.client().post(&again), client.post(&again));
    assert!(expected.json()["error"].is_object(), "{}", expected.text());
    assert_eq!(got.text(), expected.text());
    assert_eq!((nonce(&mut client).as_str(), nonce(&mut nodes.b.client()).as_str()), ("0x1", "0x0"));
    assert_eq!(ask(&mut client, "eth_blockNumber", json!([])), "0x1");
}

#[test]
fn a_transaction_that_a_dead_node_did_not_get_goes_to_the_other() {
    let Some((mut nodes, proxy)) = start() else { return };
    let (account, mut client) = (nodes.account(), proxy.client());
    let signed = sign(&nodes.b, &account);
    ask(&mut client, "eth_chainId", json!([]));
    nodes.a.kill();
    let hash = ask(&mut client, "eth_sendRawTransaction", json!([signed]));
    let mut b = nodes.b.client();
    wait_until("the transaction is mined", || {
        b.post(request(1, "eth_getTransactionReceipt", json!([hash])).to_string()).json()["result"].is_object()
    });
    assert_eq!(ask(&mut b, "eth_getTransactionCount", json!([account, "latest"])), "0x1");
    assert_eq!(ask(&mut b, "eth_blockNumber", json!([])), "0x1");
}

#[test]
fn a_node_that_is_killed_under_load_costs_no_answer_and_is_taken_back() {
    let Some((mut nodes, proxy)) = start() else { return };
    let read = request(1, "eth_getBalance", json!([nodes.account(), "latest"])).to_string();
    let expected = nodes.a.client().post(&read).text();
    let (reads, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let served_by = |name: &str| proxy.endpoint(name)["attempts"]["success"].as_u64().unwrap_or(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut client = proxy.client();
                while !stop.load(Relaxed) {
                    let answer = client.post(&read);
                    assert_eq!((answer.status, answer.text()), (200, expected.clone()));
                    reads.fetch_add(1, Relaxed);
                }
            });
        }
        // Also when an expectation below fails: the scope waits for its threads.
        let _stop = StopOnDrop(&stop);
        let wait_for_reads = |more: usize| {
            let target = reads.load(Relaxed) + more;
            wait_until("clients go on reading", || reads.load(Relaxed) >= target);
        };

        wait_for_reads(200);
        assert_eq!(served_by("b"), 0);
        nodes.a.kill();
        wait_until("the dead node cools", || proxy.endpoint("a")["excluded"] == "cooling");
        wait_for_reads(400);
        assert!(served_by("b") >= 400);

        let before = served_by("a");
        nodes.a.restart();
        wait_until("the node serves again", || served_by("a") > before);
        wait_for_reads(200);
        assert_eq!(proxy.endpoint("a")["available"], true);
    });
}

#[test]
fn a_node_that_quotes_a_request_is_not_blamed_by_the_words_of_it() {
    let Some((_nodes, proxy)) = start() else { return };
    let mut client = proxy.client();
    for words in ["monthly capacity", "invalid api key", "disabled", "("] {
        let tracer = json!([{}, "latest", { "tracer": format!("a \"{words}\"") }]);
        let answer = client.post(request(1, "debug_traceCall", tracer).to_string());
        let error = answer.json()["error"].clone();
        assert_eq!(error["code"], -32603, "{}", answer.text());
        assert!(words == "(" || error["message"].as_str().unwrap().contains(words), "{}", answer.text());
        for name in ["a", "b"] {
            let node = proxy.endpoint(name);
            // The code may begin a backoff, of a second at most. A quota is an hour, credentials
            // and bans are ten minutes.
            assert!(node["cooldown_seconds"].as_f64().unwrap_or(0.0) <= 1.0, "{words}: {node}");
            assert!(node["banned_methods"].as_array().is_none_or(Vec::is_empty), "{words}: {node}");
        }
    }
    wait_until("both serve again", || ["a", "b"].iter().all(|name| proxy.endpoint(name)["available"] == true));
}

/// Two nodes and a proxy that prefers the first. Without nodes, `None` and a printed line.
fn start() -> Option<(Nodes, Proxy)> {
    start_with(|conf| conf)
}

/// The same, with a changed conf.
pub(crate) fn start_with(change: impl FnOnce(Conf) -> Conf) -> Option<(Nodes, Proxy)> {
    let binary = anvil()?;
    let nodes = Nodes { a: Node::start(&binary), b: Node::start(&binary) };
    let endpoints = [nodes.a.endpoint("a").weight(100), nodes.b.endpoint("b").weight(60)];
    let conf = Conf::with(endpoints).with_shipped_policies().cooldown("base", "'250ms'").cooldown("max", "'1s'");
    let proxy = Proxy::start(&change(conf));
    Some((nodes, proxy))
}

pub(crate) struct Nodes {
    pub(crate) a: Node,
    pub(crate) b: Node,
}

impl Nodes {
    /// An account that has a balance on both chains, and whose key both nodes hold.
    fn account(&self) -> String {
        let answer = self.a.client().post(request(1, "eth_accounts", json!([])).to_string());
        answer.json()["result"][0].as_str().expect("an account").to_owned()
    }
}

/// A legacy transaction that creates the contract, the account's first one, signed by the node
/// with its key.
fn sign(node: &Node, account: &str) -> String {
    let transaction = json!({
        "from": account, "data": CONTRACT, "nonce": "0x0", "value": "0x0",
        "gas": "0x186a0", "gasPrice": "0x77359400", "chainId": "0x7a69",
    });
    ask(&mut node.client(), "eth_signTransaction", json!([transaction]))
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

/// Asks for a result that is text.
#[track_caller]
pub(crate) fn ask(client: &mut Client, method: &str, params: Value) -> String {
    let answer: Response = client.post(request(1, method, params).to_string());
    answer.result()
}

/// Parameters that call the precompiled contract at address 2.
fn sha256_of(data: &str) -> Value {
    json!([{ "to": format!("0x{:040x}", 2), "data": data }, "latest"])
}

/// Parameters that call the precompiled contract at address 4.
fn identity_of(data: &str) -> Value {
    json!([{ "to": format!("0x{:040x}", 4), "data": data }, "latest"])
}
