//! The cases of the parts that differ only in their cases.

use std::fmt::Write as _;

use super::Case;
use crate::options::Settings;
use crate::origin::ADDRESSES;

const CONNECTIONS: [usize; 4] = [1, 32, 1_000, 5_000];
/// From this number on, opening connections and requests in flight at the end distort a short
/// measurement.
const MANY_CONNECTIONS: usize = 1_000;
/// Factor of the duration for this many connections.
const LONGER: u64 = 4;
const BODIES: [(&str, usize); 3] = [("1 KiB", 1 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];
const BATCHES: [usize; 3] = [1, 10, 100];
const ENDPOINTS: [usize; 4] = [4, 64, 1_000, 10_000];

const REQUEST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":"0x1bc16d67"}"#;
const _: () = assert!(ANSWER.len() == 46, "the answer is said to have 46 bytes");

/// A small request and a small response.
pub fn small(settings: &Settings) -> Case {
    Case {
        name: format!("{} connections", settings.connections),
        x: settings.connections as f64,
        connections: settings.connections,
        endpoints: ADDRESSES,
        request: REQUEST.to_owned(),
        answer: ANSWER.to_owned(),
        https: false,
        seconds: settings.part_seconds,
    }
}

pub fn connections(settings: &Settings) -> Vec<Case> {
    let case = |connections: usize| {
        let seconds = settings.part_seconds * if connections < MANY_CONNECTIONS { 1 } else { LONGER };
        let name = format!("{connections} connection{}", if connections == 1 { "" } else { "s" });
        Case { name, x: connections as f64, connections, seconds, ..small(settings) }
    };
    CONNECTIONS.map(case).to_vec()
}

pub fn bodies(settings: &Settings) -> Vec<Case> {
    let answers = BODIES.map(|(size, bytes)| {
        let answer = padded(r#"{"jsonrpc":"2.0","id":1,"result":"0x"#, r#""}"#, bytes);
        Case { name: format!("an answer of {size}"), x: bytes as f64, answer, ..small(settings) }
    });
    // A request of 1 KiB is practically small.
    let requests = BODIES[1..].iter().map(|(size, bytes)| {
        let begin = r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"data":"0x"#;
        let request = padded(begin, r#""},"latest"]}"#, *bytes);
        Case { name: format!("a request of {size}"), x: *bytes as f64, request, ..small(settings) }
    });
    answers.into_iter().chain(requests).collect()
}

pub fn batches(settings: &Settings) -> Vec<Case> {
    let case = |members: usize| {
        let name = format!("{members} member{}", if members == 1 { "" } else { "s" });
        let [request, answer] = [REQUEST, ANSWER].map(|text| batch(text, members));
        Case { name, x: members as f64, request, answer, ..small(settings) }
    };
    BATCHES.map(case).to_vec()
}

pub fn https(settings: &Settings) -> Vec<Case> {
    vec![Case { https: true, ..small(settings) }]
}

pub fn endpoints(settings: &Settings) -> Vec<Case> {
    let case = |endpoints: usize| Case {
        name: format!("{endpoints} endpoints"),
        x: endpoints as f64,
        endpoints,
        ..small(settings)
    };
    ENDPOINTS.map(case).to_vec()
}

/// Text of `bytes` bytes: zeros between `begin` and `end`.
fn padded(begin: &str, end: &str, bytes: usize) -> String {
    let zeros = "0".repeat(bytes.saturating_sub(begin.len() + end.len()));
    [begin, &zeros, end].concat()
}

/// A batch of copies of `single`, with ids from 1 on.
fn batch(single: &str, members: usize) -> String {
    let mut text = String::from("[");
    for id in 1..=members {
        let separator = if id == 1 { "" } else { "," };
        let _ = write!(text, "{separator}{}", single.replace(r#""id":1,"#, &format!(r#""id":{id},"#)));
    }
    text.push(']');
    text
}
