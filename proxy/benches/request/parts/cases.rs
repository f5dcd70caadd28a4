//! The cases of the parts that differ only in their cases.

use std::fmt::Write as _;

use super::{Case, Downstream, Protocol};
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
/// HTTP/2: connections, and requests under way on each.
const HTTP2: (usize, usize) = (8, 32);
/// Clients that open a new connection for each request.
const CONNECTING: usize = 16;
const IDLE: usize = 5_000;
const ENDPOINTS: [usize; 4] = [4, 64, 1_000, 10_000];

const REQUEST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":"0x1bc16d67"}"#;
const _: () = assert!(ANSWER.len() == 46, "the answer is said to have 46 bytes");

/// A small request and a small response.
pub fn small(settings: &Settings) -> Case {
    Case {
        name: format!("{} connections", settings.connections),
        x: settings.connections as f64,
        downstream: Downstream::Cleartext,
        connections: settings.connections,
        protocol: Protocol::JsonRpc,
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
    let answers = BODIES.map(|(size, bytes)| Case {
        name: format!("an answer of {size}"),
        x: bytes as f64,
        answer: answer(bytes),
        ..small(settings)
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

/// GETs through a pool of plain HTTP.
pub fn http(settings: &Settings) -> Vec<Case> {
    let case = |(size, bytes): (&str, usize)| get(size, bytes, settings);
    [BODIES[0], BODIES[2]].map(case).to_vec()
}

fn get(size: &str, bytes: usize, settings: &Settings) -> Case {
    Case {
        name: format!("GET, an answer of {size}"),
        x: bytes as f64,
        protocol: Protocol::Http,
        request: String::new(),
        answer: answer(bytes),
        seconds: settings.seconds,
        ..small(settings)
    }
}

pub fn client_tls(settings: &Settings) -> Vec<Case> {
    let kept = Case { downstream: Downstream::Tls, seconds: settings.seconds, ..small(settings) };
    let new = Case {
        name: "a handshake each".to_owned(),
        x: 0.0,
        downstream: Downstream::Handshakes,
        connections: CONNECTING,
        ..kept.clone()
    };
    vec![kept, new]
}

pub fn client_http2(settings: &Settings) -> Vec<Case> {
    let (connections, streams) = HTTP2;
    let over = |case: Case, what: &str| Case {
        name: format!("{what}, {connections} x {streams}"),
        downstream: Downstream::Http2 { streams },
        connections,
        seconds: settings.seconds,
        ..case
    };
    vec![over(small(settings), "JSON-RPC"), over(get("1 KiB", BODIES[0].1, settings), "GET, 1 KiB")]
}

pub fn idle(settings: &Settings) -> Vec<Case> {
    let kinds = [
        ("HTTP/1.1", Downstream::Cleartext),
        ("HTTP/1.1 over TLS", Downstream::Tls),
        ("HTTP/2 over TLS", Downstream::Http2 { streams: 1 }),
        ("WebSocket", Downstream::WebSocket),
    ];
    let case = |(name, downstream)| Case {
        name: String::from(name),
        x: IDLE as f64,
        downstream,
        connections: IDLE,
        ..small(settings)
    };
    kinds.map(case).to_vec()
}

/// A JSON-RPC answer of `bytes` bytes.
fn answer(bytes: usize) -> String {
    padded(r#"{"jsonrpc":"2.0","id":1,"result":"0x"#, r#""}"#, bytes)
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
