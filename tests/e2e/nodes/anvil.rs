//! Anvil processes, each with a chain of its own and the same genesis.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Client, Endpoint, optional, wait_for};

/// Start time of all chains, so that their first blocks are equal.
const GENESIS: &str = "1700000000";
/// Below the systems' ephemeral ports, so that a node's port isn't taken while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The installed binary; `None` and a printed line if it is missing.
pub(crate) fn anvil() -> Option<PathBuf> {
    let platform = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
    let package = format!("tests/nodes/node_modules/@foundry-rs/anvil-{platform}-{architecture}/bin/anvil");
    optional("Anvil", &package, "scripts/install-nodes")
}

/// An Anvil process. It is killed when it is dropped.
pub(crate) struct Node {
    binary: PathBuf,
    /// Folder for its files and configuration.
    home: tempfile::TempDir,
    address: SocketAddr,
    process: Child,
}

impl Node {
    pub(crate) fn start(binary: &Path) -> Node {
        let home = tempfile::tempdir().expect("a folder");
        let (address, process) = wait_for("a node starts", || {
            let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(PORTS)));
            // Another process may listen there, or start to before the node does.
            drop(TcpListener::bind(address).ok()?);
            let mut process = spawn(binary, home.path(), address);
            is_ready(&mut process, address).then_some((address, process))
        });
        Node { binary: binary.to_owned(), home, address, process }
    }

    /// Kills it without closing connections gracefully.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a running node");
        self.process.wait().expect("a child");
    }

    /// Restarts it at the same address with a new chain.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.binary, self.home.path(), self.address);
        assert!(is_ready(&mut self.process, self.address), "the node did not start again");
    }

    pub(crate) fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::new(&format!("http://{}", self.address), name)
    }

    /// A connection to the node itself.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(binary: &Path, home: &Path, address: SocketAddr) -> Child {
    let port = address.port().to_string();
    let mut command = Command::new(binary);
    command.args(["--silent", "--timestamp", GENESIS, "--port", &port]).env("HOME", home).current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Anvil starts")
}

/// Waits until the node listens; false if it ended instead.
fn is_ready(process: &mut Child, address: SocketAddr) -> bool {
    wait_for("the node listens or ends", || {
        if process.try_wait().expect("a child").is_some() {
            return Some(false);
        }
        std::net::TcpStream::connect(address).is_ok().then_some(true)
    })
}
