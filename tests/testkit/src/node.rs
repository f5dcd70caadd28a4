//! Nodes with a head and a chain for probes, and a conf that probes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::{Answer, Conf, Origin, Proxy, Request, wait_until};

/// The clients' request, distinct from probes.
pub const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}"#;
/// A chain's id for `chain_id = 1`.
pub const CHAIN_1: &str = r#""0x1""#;

/// A node whose answer to each method can be changed while it runs.
pub struct Node {
    pub origin: Origin,
    answers: Arc<Mutex<HashMap<&'static str, Answer>>>,
}

impl Node {
    /// A node with this head, on chain 1.
    pub fn new(name: &'static str, head: u64) -> Node {
        let answers: Arc<Mutex<HashMap<&'static str, Answer>>> = Arc::default();
        let script = Arc::clone(&answers);
        let other = Answer::result(name);
        let origin = Origin::scripted(name, move |request| {
            let key = if request.body.is_empty() { "GET".to_owned() } else { request.method() };
            script.lock().unwrap().get(key.as_str()).unwrap_or(&other).clone()
        });
        let node = Node { origin, answers };
        node.answer("eth_chainId", json_result(CHAIN_1));
        node.head(head);
        node
    }

    pub fn head(&self, head: u64) {
        self.answer("eth_blockNumber", json_result(&format!("\"{head:#x}\"")));
    }

    pub fn answer(&self, method: &'static str, answer: Answer) {
        self.answers.lock().unwrap().insert(method, answer);
    }

    pub fn asked(&self, method: &str) -> usize {
        self.origin.requests().iter().filter(|request| request.method() == method).count()
    }

    pub fn asked_by_get(&self) -> Vec<Request> {
        self.origin.requests().into_iter().filter(|request| request.body.is_empty()).collect()
    }

    /// Waits for this many more probes to have been answered.
    #[track_caller]
    pub fn wait_probes(&self, more: usize) {
        let before = self.asked("eth_blockNumber");
        wait_until("it was probed again", || self.asked("eth_blockNumber") > before + more);
    }
}

/// A result that is JSON, not text.
pub fn json_result(json: &str) -> Answer {
    Answer::body(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{json}}}"#))
}

/// A conf that probes these nodes every 100 ms.
pub fn probed<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Conf {
    Conf::of(nodes.into_iter().map(|node| &node.origin)).health("interval", "'100ms'").health("timeout", "'2s'")
}

/// The proxy's view of an endpoint's health.
pub fn health(proxy: &Proxy, endpoint: &str) -> Value {
    proxy.endpoint(endpoint)["health"].clone()
}

#[track_caller]
pub fn wait_health(proxy: &Proxy, endpoint: &str, expected: &str) {
    wait_until(&format!("{endpoint} is {expected}"), || health(proxy, endpoint) == expected);
}
