//! Raw bytes of clients: the end of a request, and invalid requests.
//!
//! One table, split by theme. Input: bytes. Output: the answer's status, the state of the
//! connection, and the number of requests that reach the endpoint. It doesn't depend on the reader
//! behind the port, so it can test any other reader of requests.
//!
//! Each case runs twice: alone, and followed by a whole request in the same write, which is
//! smuggled if the reader mistakes the end of the case. After a refusal or a close the second
//! request must not pass; otherwise it must be served once.

mod bodies;
mod chunks;
mod heads;
mod lengths;
mod targets;

use std::fmt::Debug;

use crate::support::{Answer, Client, Conf, Gate, Origin, Proxy, json, post, wait_until};

/// One row of the table.
pub(crate) struct Case {
    /// Description.
    what: String,
    bytes: Vec<u8>,
    status: u16,
    /// A `100 Continue` comes first.
    interim: bool,
    after: After,
    /// Requests that reach the endpoint.
    reached: usize,
}

/// The connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request is answered at any time.
    Kept,
    Closed,
}

impl Case {
    /// A request that is read and forwarded.
    fn served(what: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
        Case::new(what, bytes, 200, After::Kept, 1)
    }

    /// Malformed: 400, closed, and no request to an endpoint.
    fn refused(what: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
        Case::answered(what, bytes, 400, After::Closed)
    }

    /// The proxy answers without a request to an endpoint.
    fn answered(what: impl Into<String>, bytes: impl Into<Vec<u8>>, status: u16, after: After) -> Case {
        Case::new(what, bytes, status, after, 0)
    }

    fn new(what: impl Into<String>, bytes: impl Into<Vec<u8>>, status: u16, after: After, reached: usize) -> Case {
        Case { what: what.into(), bytes: bytes.into(), status, interim: false, after, reached }
    }

    fn then(self, after: After) -> Case {
        Case { after, ..self }
    }

    fn with_interim(self) -> Case {
        Case { interim: true, ..self }
    }
}

/// A read with these lines between `Host` and the length.
fn with_lines(lines: &str) -> Vec<u8> {
    let body = json::READ;
    format!("POST /only HTTP/1.1\r\nhost: proxy\r\n{lines}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A request with this head up to its empty line, and this body.
fn with_head(head: &str, body: &str) -> Vec<u8> {
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// All rows. They need a proxy whose only route is `/only`.
fn cases() -> Vec<Case> {
    [heads::cases(), lengths::cases(), chunks::cases(), targets::cases(), bodies::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// Runs a case. `origin` is behind the reader.
fn play(case: &Case, client: Client, origin: &Origin, followed: bool) -> Result<(), String> {
    let what = format!("{}{}", case.what, if followed { ", with a request behind it" } else { "" });
    watch(case, client, origin, followed).map_err(|wrong| format!("{what}: {wrong}"))
}

fn watch(case: &Case, mut client: Client, origin: &Origin, followed: bool) -> Result<(), String> {
    let before = origin.hits();
    let behind = if followed { post("/only", &[], json::WRITE) } else { Vec::new() };
    // The server may close before it has read all.
    let _ = client.try_send([&case.bytes[..], &behind].concat());
    let mut read = || client.try_read().map_err(|error| format!("no answer: {error}"));
    let mut response = read()?;
    ensure("an interim answer", response.status == 100, case.interim)?;
    if case.interim {
        response = read()?;
    }
    ensure("the status", response.status, case.status)?;
    let closed = case.after == After::Closed;
    let is_next_served = followed && !closed;
    if is_next_served {
        ensure("the status of the request behind it", read()?.status, 200)?;
    }
    if closed {
        ensure("closed", client.is_closed_by_server(), true)?;
    } else {
        let _ = client.try_send(post("/only", &[], json::READ));
        ensure("the status of the next request", client.try_read().map_or(0, |response| response.status), 200)?;
    }
    let seen = &origin.requests()[before..];
    let writes = seen.iter().filter(|request| request.method() == "eth_sendTransaction").count();
    ensure("smuggled requests", writes, usize::from(is_next_served))?;
    ensure("requests at the endpoint", seen.len(), case.reached + writes + usize::from(!closed))
}

fn ensure<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} instead of {expected:?}")) }
}

fn start() -> (Origin, Proxy) {
    let origin = Origin::start("a");
    let conf = Conf::of([&origin]).extra("[[routes]]\npath_prefix = '/only'\nupstream = 'main'");
    let proxy = Proxy::start(&conf);
    (origin, proxy)
}

#[test]
fn every_case_ends_where_it_ends_and_nothing_behind_it_is_smuggled() {
    let (origin, proxy) = start();
    let cases = cases();
    assert!(cases.len() >= 300, "only {} cases", cases.len());
    let mut names: Vec<&str> = cases.iter().map(|case| case.what.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        panic!("two cases are named {:?}", twice[0]);
    }
    let all = cases.iter().flat_map(|case| [(case, false), (case, true)]);
    let wrong = all.filter_map(|(case, followed)| play(case, proxy.client(), &origin, followed).err());
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), 2 * cases.len(), wrong.join("\n"));
}

/// The result must not depend on how the bytes are split.
#[test]
fn cases_that_come_byte_by_byte_are_read_the_same() {
    let (origin, proxy) = start();
    for case in cases().iter().filter(|case| case.bytes.len() < 300).step_by(7) {
        let mut client = proxy.client();
        let before = origin.hits();
        for byte in &case.bytes {
            if client.try_send([*byte]).is_err() {
                break;
            }
        }
        let mut response = client.try_read().unwrap_or_else(|error| panic!("{}: no answer: {error}", case.what));
        if response.status == 100 {
            response = client.read();
        }
        assert_eq!(response.status, case.status, "{}", case.what);
        assert_eq!(origin.hits() - before, case.reached, "{}", case.what);
    }
}

/// Refused heads have one kind in log and metrics, independent of the check.
#[test]
fn heads_that_are_refused_are_counted_and_logged() {
    let (_origin, proxy) = start();
    let length = json::READ.len();
    for head in [
        // Found by the parser.
        "POST /only HTTP/1.1\r\nhost : proxy".to_owned(),
        // Found by the checks.
        format!("POST /only HTTP/1.1\r\nhost: proxy\r\ncontent-length: {length}\r\ntransfer-encoding: chunked"),
        format!("POST /only HTTP/1.1\r\ncontent-length: {length}"),
    ] {
        let mut client = proxy.client();
        client.send(with_head(&head, json::READ));
        let response = client.read();
        assert_eq!((response.status, response.error_code()), (400, -32_600));
        assert_eq!(response.head.get("connection"), Some("close"));
    }
    let counted = || proxy.metrics().sum("requests_total", &[("status", "400")]);
    wait_until("they are counted", || counted() == 3.0);
    wait_until("they are logged", || proxy.lines("outcome=\"malformed\"") == 3);
}

/// Bytes that follow a chunked body before its answer are the next request, as after any other body.
#[test]
fn a_request_that_comes_before_the_answer_to_chunks_is_answered_next() {
    let (origin, proxy) = start();
    let gate = Gate::new();
    origin.answer(Answer::result("a").held_by(&gate));
    let mut client = proxy.client();
    let body = format!("{:x}\r\n{}\r\n0\r\n\r\n", json::READ.len(), json::READ);
    client.send(chunks::of(&body));
    wait_until("the endpoint is asked", || origin.hits() == 1);
    client.send(post("/only", &[], json::WRITE));
    gate.open();
    assert_eq!(client.read().result(), "a");
    assert_eq!(client.read().result(), "a");
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_body_that_ends_early_reaches_nobody() {
    let (origin, proxy) = start();
    let read = json::READ;
    let length = format!("POST /only HTTP/1.1\r\nhost: proxy\r\ncontent-length: {}\r\n\r\n{read}", read.len() + 1);
    let size = read.len();
    for bytes in [
        length.into_bytes(),
        chunks::of(""),
        chunks::of(&format!("{size:x}")),
        chunks::of(&format!("{size:x}\r\n")),
        chunks::of(&format!("{size:x}\r\n{read}")),
        chunks::of(&format!("{size:x}\r\n{read}\r\n")),
        chunks::of(&format!("{size:x}\r\n{read}\r\n0\r\n")),
        chunks::of(&format!("{size:x}\r\n{read}\r\n0\r\nx: y\r\n")),
    ] {
        let mut client = proxy.client();
        client.send(&bytes);
        client.finish_sending();
        if let Ok(response) = client.try_read() {
            assert_eq!(response.status, 400, "{}", String::from_utf8_lossy(&bytes));
        }
        assert_eq!(origin.hits(), 0, "{}", String::from_utf8_lossy(&bytes));
    }
}

/// An upstream disables the check of the type, and a route overrides it.
#[test]
fn any_content_type_is_taken_where_the_conf_says_so() {
    let origin = Origin::start("a");
    let conf = Conf::of([&origin]).set("accept_any_content_type", "true").extra(
        "[[routes]]\npath_prefix = '/any'\nupstream = 'main'\n\
         [[routes]]\npath_prefix = '/strict'\nupstream = 'main'\naccept_any_content_type = false",
    );
    let proxy = Proxy::start(&conf);
    let request = |path: &str| {
        let body = json::READ;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: proxy\r\ncontent-type: text/plain\r\ncontent-length: {}",
            body.len()
        );
        let mut client = proxy.client();
        client.send(with_head(&head, body));
        client.read().status
    };
    assert_eq!((request("/any"), request("/strict")), (200, 415));
    assert_eq!(origin.hits(), 1);
    assert_eq!(origin.last().head.get("content-type"), Some("application/json"));
}
