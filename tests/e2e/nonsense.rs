//! Endpoints that send invalid answers. The client soon gets another endpoint's answer or an error
//! with its id, and none of the invalid bytes; the next request on the same connection gets its own
//! answer.

use std::time::{Duration, Instant};

use serde_json::json as value;

use crate::support::{Answer, Conf, Endpoint, Greeting, Origin, Proxy, Request, chunked, json, wait_until};

/// Limit of a case: far more than an attempt's timeout, far less than a hang.
const SOON: Duration = Duration::from_secs(5);
const KIB: usize = 1 << 10;

/// An endpoint's reaction, given the right answer, and the attempt's outcome.
struct Case {
    name: &'static str,
    outcome: &'static str,
    make: fn(&str) -> Answer,
}

const fn case(name: &'static str, outcome: &'static str, make: fn(&str) -> Answer) -> Case {
    Case { name, outcome, make }
}

/// A whole answer with this head and the right length.
fn with_head(head: &str, body: &str) -> Answer {
    Answer::raw(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// Its head, then these bytes.
fn framed(header: &str, rest: &str) -> Answer {
    Answer::raw(format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n{rest}"))
}

fn body_like(good: &str, old: &str, new: &str) -> Answer {
    let body = good.replace(old, new);
    assert_ne!(body, good);
    Answer::body(body)
}

/// `good` is the answer that would be right, with the result "bad".
const HEADS: &[Case] = &[
    case("no status line", "bad_response", |good| with_head("HELLO", good)),
    case("a status that is no number", "bad_response", |good| with_head("HTTP/1.1 abc OK", good)),
    case("a status of two digits", "bad_response", |good| with_head("HTTP/1.1 20 OK", good)),
    case("a status beyond 599", "bad_response", |good| with_head("HTTP/1.1 999 Denied", good)),
    case("another protocol", "bad_response", |good| with_head("HTTP/3.0 200 OK", good)),
    case("no head at all", "bad_response", |good| Answer::raw(good).then_close()),
    case("nothing", "reset", |_| Answer::close()),
    case("switching protocols", "bad_response", |good| with_head("HTTP/1.1 101 Switching", good)),
    case("interim answers only, then the end", "reset", |_| interim().then_close()),
    case("interim answers only, then nothing", "timeout", |_| interim().then_hang()),
    case("interim answers without end", "timeout", |_| interim().then_forever("HTTP/1.1 103 Hints\r\na: b\r\n\r\n")),
    case("a header without a colon", "bad_response", |good| with_head("HTTP/1.1 200 OK\r\nrubbish", good)),
    case("a header without a name", "bad_response", |good| with_head("HTTP/1.1 200 OK\r\n: x", good)),
    case("a NUL in a header", "bad_response", |good| with_head("HTTP/1.1 200 OK\r\nx: a\0b", good)),
    case("thousands of headers", "bad_response", |good| {
        with_head(&format!("HTTP/1.1 200 OK{}", "\r\nx: y".repeat(5_000)), good)
    }),
    case("headers without end", "bad_response", |_| Answer::raw("HTTP/1.1 200 OK\r\nx: ").then_forever("yyyyyyyy")),
    case("two lengths", "bad_response", |good| with_head("HTTP/1.1 200 OK\r\ncontent-length: 7", good)),
    case("a negative length", "bad_response", |good| framed("content-length: -1", good)),
    case("a length that is no number", "bad_response", |good| framed("content-length: many", good)),
    case("a length beyond 64 bits", "bad_response", |good| framed("content-length: 99999999999999999999", good)),
    case("a length of 1 GB", "bad_response", |_| framed("content-length: 1000000000", "").then_hang()),
    case("an unknown transfer coding", "bad_response", |good| framed("transfer-encoding: pigeon", good).then_close()),
    case("a redirect", "http_error", |_| Answer::status(301).header("location", "http://127.0.0.1:1/")),
    case("a permanent redirect", "http_error", |_| Answer::status(308).header("location", "/elsewhere")),
    case("not modified", "http_error", |_| Answer::raw("HTTP/1.1 304 Not Modified\r\n\r\n")),
    case("no content", "bad_response", |_| Answer::raw("HTTP/1.1 204 No Content\r\n\r\n")),
];

const BODIES: &[Case] = &[
    case("an empty body", "bad_response", |_| Answer::body("")),
    case("a body shorter than announced", "reset", |good| framed("content-length: 1000", good).then_close()),
    case("half a body, then nothing", "timeout", |good| framed("content-length: 1000", good).then_hang()),
    case("a body longer than announced", "bad_response", |good| framed("content-length: 20", good)),
    case("a chunk size that is none", "reset", |good| framed("transfer-encoding: chunked", &format!("zz\r\n{good}"))),
    case("a chunk size beyond 64 bits", "reset", |good| {
        framed("transfer-encoding: chunked", &format!("fffffffffffffffff\r\n{good}"))
    }),
    case("a chunk longer than announced", "reset", |good| {
        framed("transfer-encoding: chunked", &format!("5\r\n{good}\r\n0\r\n\r\n"))
    }),
    case("a chunk size without end", "reset", |_| framed("transfer-encoding: chunked", "5;").then_forever("extension")),
    case("chunks that stop", "timeout", |good| framed("transfer-encoding: chunked", &half_chunked(good)).then_hang()),
    case("chunks without end", "bad_response", |_| {
        framed("transfer-encoding: chunked", "").then_forever("4\r\n1234\r\n")
    }),
    case("a body without end", "bad_response", |_| framed("server: x", "").then_forever("[1,2,3],")),
    case("more than max_body, announced", "bad_response", |good| Answer::body(long(good, 600 * KIB))),
    case("more than max_body, in chunks", "bad_response", |good| Answer::body(long(good, 600 * KIB)).chunked(9_999)),
    case("gzip without a word", "bad_response", |_| {
        Answer::body(*b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV\xca")
    }),
    case("a content coding", "bad_response", |good| Answer::body(good).header("content-encoding", "br")),
    case("a page", "bad_response", |_| Answer::status(200)),
    case("UTF-16", "bad_response", |good| Answer::body(good.bytes().flat_map(|b| [b, 0]).collect::<Vec<u8>>())),
    case("a byte order mark", "bad_response", |good| Answer::body(format!("\u{feff}{good}"))),
    case("invalid UTF-8", "bad_response", |good| Answer::body(replaced(good, b"bad", b"b\xffd"))),
    case("invalid UTF-8 beside the result", "bad_response", |good| Answer::body(replaced(good, b"2.0", b"2\xff0"))),
    case("a NUL in a text", "bad_response", |good| body_like(good, "bad", "b\0d")),
    case("NULs after the text", "bad_response", |good| Answer::body(format!("{good}\0\0\0"))),
    case("two texts", "bad_response", |good| Answer::body(format!("{good}{good}"))),
    case("half a text", "bad_response", |good| Answer::body(&good[..good.len() - 1])),
    case("brackets without end", "bad_response", |good| body_like(good, r#""bad""#, &"[".repeat(100_000))),
    case("another id", "bad_response", |good| body_like(good, r#""id":""#, r#""id":"not "#)),
    case("a number for an id", "bad_response", |good| body_like(good, r#""id":"#, r#""id":1,"was":"#)),
    case("no id", "bad_response", |good| body_like(good, r#""id":"#, r#""was":"#)),
    case("null for an id", "bad_response", |good| body_like(good, r#""id":"#, r#""id":null,"was":"#)),
    case("an id that is none", "bad_response", |good| body_like(good, r#""id":"#, r#""id":{"x":[1]},"was":"#)),
    case("a gateway's error", "bad_response", |_| Answer::body(r#"{"error":"bad"}"#)),
    case("an error without a code", "bad_response", |good| {
        body_like(good, r#""result":"bad""#, r#""error":{"message":"bad"}"#)
    }),
    case("no result", "bad_response", |good| body_like(good, "result", "answer")),
    case("two results", "bad_response", |good| body_like(good, r#""result""#, r#""result":1,"result""#)),
    case("two ids", "bad_response", |good| body_like(good, r#""id""#, r#""id":7,"id""#)),
    case("an array", "bad_response", |good| Answer::body(format!("[{good}]"))),
    case("an empty array", "bad_response", |_| Answer::body("[]")),
    case("an array of the fields", "bad_response", |_| Answer::body(r#"["an array of the fields","bad",null]"#)),
    case("a bare text", "bad_response", |_| Answer::body(r#""bad""#)),
];

fn interim() -> Answer {
    Answer::raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n")
}

fn long(good: &str, size: usize) -> String {
    good.replace("bad", &"bad ".repeat(size / 4))
}

fn half_chunked(body: &str) -> String {
    let bytes = chunked(body.as_bytes(), 7);
    String::from_utf8_lossy(&bytes[..bytes.len() / 2]).into_owned()
}

fn replaced(text: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    let bytes = text.as_bytes();
    let at = bytes.windows(old.len()).position(|window| window == old).expect("the old bytes");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

/// The answer to a single request, with a text as its result.
pub(crate) fn answer_to(request: &Request, result: &str) -> String {
    String::from_utf8(json::answer(&request.body, &format!(r#""result":"{result}""#))).expect("an answer is text")
}

/// Without cooldowns, so that one proxy can run all cases in sequence.
pub(crate) fn patient(conf: Conf) -> Conf {
    let conf =
        conf.with_shipped_policies().extra("[policies.again.config]\ncooldown = false\nhedge = { enabled = false }");
    conf.set("retry_budget", "{ share = 1.0, floor_per_sec = 1000 }")
        .set("exclude_outliers", "false")
        .set("deadline", "'3s'")
        .client("timeout", "'250ms'")
        .server("max_body", "'512KiB'")
}

fn attempts(proxy: &Proxy, outcome: &str) -> u64 {
    proxy.endpoint("bad")["attempts"][outcome].as_u64().unwrap_or(0)
}

pub(crate) fn read(id: &str) -> String {
    json::request(&format!("\"{id}\""), "eth_blockNumber")
}

#[test]
fn the_client_gets_the_good_endpoints_answer() {
    for cases in [HEADS, BODIES] {
        let (bad, good) = (Origin::start("bad"), Origin::start("good"));
        let proxy = Proxy::start(&patient(Conf::of([&bad, &good])));
        let mut client = proxy.client();
        for Case { name, outcome, make } in cases {
            bad.script(move |request| make(&answer_to(request, "bad")));
            let before = attempts(&proxy, outcome);
            let response = client.post(read(name));
            let expected = value!({ "jsonrpc": "2.0", "id": name, "result": "good" });
            assert_eq!((response.status, response.json()), (200, expected), "{name}");
            assert_eq!(attempts(&proxy, outcome), before + 1, "{name}: {}", proxy.endpoint("bad")["attempts"]);
        }
        assert_eq!((bad.hits(), good.hits()), (cases.len(), cases.len()));
        assert!(!proxy.log().contains("panicked"));
    }
}

#[test]
fn with_nobody_else_the_client_gets_an_error_soon_and_the_next_answer_is_its_own() {
    for cases in [HEADS, BODIES] {
        let bad = Origin::start("bad");
        let proxy = Proxy::start(&patient(Conf::of([&bad])));
        let mut client = proxy.client();
        for Case { name, outcome, make } in cases {
            bad.script(move |request| make(&answer_to(request, "bad")));
            let began = Instant::now();
            let response = client.post(read(name));
            assert!(began.elapsed() < SOON, "{name}: {:?}", began.elapsed());
            let status = if *outcome == "timeout" { 504 } else { 502 };
            assert_eq!((response.status, response.error_code()), (status, -32000), "{name}: {}", response.text());
            assert_eq!((&response.json()["id"], &response.json()["jsonrpc"]), (&value!(name), &value!("2.0")));
            assert!(!response.text().contains("bad"), "{name}: {}", response.text());

            bad.script(|request| Answer::body(answer_to(request, "fine")));
            assert_eq!(client.post(read("the next one")).result(), "fine", "after {name}");
        }
    }
}

#[test]
fn a_name_without_an_address_is_passed_over() {
    let good = Origin::start("good");
    let nowhere = || Endpoint::new("http://nothing.invalid/", "bad").weight(100);
    let proxy = Proxy::start(&Conf::with([nowhere(), Endpoint::of(&good)]).with_shipped_policies());
    assert_eq!(proxy.post(json::WRITE).result(), "good");
    assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "connect_failed": 1 }));
    let proxy = Proxy::start(&Conf::with([nowhere()]).with_shipped_policies());
    let began = Instant::now();
    assert_eq!(proxy.post(json::WRITE).status, 502);
    assert!(began.elapsed() < SOON);
}

/// The endpoint answers without reading the request: the answer counts, not the broken connection.
/// Otherwise a client could put every endpoint into cooldown with one long request.
#[test]
fn an_answer_that_comes_before_the_request_was_sent_counts() {
    let too_large = "HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntoo large";
    let (bad, good) = (Origin::start("bad"), Origin::start("good"));
    bad.greet(Greeting::Answer(too_large));
    let proxy = Proxy::start(&Conf::of([&bad, &good]).with_shipped_policies());
    let long = json::READ.replace("[]", &format!(r#"["{}"]"#, "x".repeat(8 << 20)));
    for (n, body) in [(1, json::READ), (2, long.as_str())] {
        assert_eq!(proxy.post(body).result(), "good");
        assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "http_error": n }), "{} bytes", body.len());
        assert_eq!(proxy.cooldown("bad"), 0.0);
    }
}

/// Bytes after an answer belong to no request, neither the next one on this connection nor another
/// client's.
#[test]
fn what_follows_an_answer_is_nobodys() {
    let stale = r#"{"jsonrpc":"2.0","id":"next","result":"stale"}"#;
    let stale = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{stale}", stale.len());
    type Make = fn(&str) -> String;
    let answers: [(&str, Make); 5] = [
        ("a length", |good| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{good}", good.len())),
        ("chunks", |good| {
            let chunks = String::from_utf8(chunked(good.as_bytes(), 10)).expect("text");
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
        }),
        ("both", |good| {
            let chunks = String::from_utf8(chunked(good.as_bytes(), 10)).expect("text");
            format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
        }),
        ("an error", |_| "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops".to_owned()),
        ("no content", |_| "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
    ];
    for rest in [stale.as_str(), "garbage", "\r\n", "0\r\n\r\n", "\0"] {
        for at_once in [true, false] {
            let origin = Origin::start("bad");
            let proxy = Proxy::start(&patient(Conf::of([&origin])));
            let mut client = proxy.client();
            for (how, make) in answers {
                let rest = rest.to_owned();
                origin.script(move |request| {
                    let answer = make(&answer_to(request, "fine"));
                    let piece = if at_once { 0 } else { answer.len() };
                    Answer::raw(answer + &rest).in_pieces(piece)
                });
                let first = client.post(read("first"));
                assert!(!first.text().contains("stale"), "{how}: {}", first.text());
                wait_until("all was sent", || origin.answered() == origin.hits());
                origin.script(|request| Answer::body(answer_to(request, "fine")));
                let next = client.post(read("next"));
                assert_eq!(next.result(), "fine", "{how}, at once: {at_once}");
            }
        }
    }
}

/// A result may have any depth: it is forwarded unchanged.
#[test]
fn a_deep_result_is_no_danger() {
    let origin = Origin::start("deep");
    let proxy = Proxy::start(&Conf::of([&origin]).with_shipped_policies());
    for depth in [1_000, 100_000] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let answers = [
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{nested}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":3,"message":"reverted","data":{nested}}}}}"#),
        ];
        for answer in answers {
            origin.answer(Answer::body(answer.clone()));
            assert!(proxy.post(json::READ).text() == answer, "depth {depth}");
            origin.answer(Answer::body(format!("[{answer}]")));
            assert!(proxy.post(json::batch(1)).text() == format!("[{answer}]"), "depth {depth}, a batch");
        }
    }
}

/// Longer than the buffer, so a valid answer would be streamed; a page can't be an answer.
#[test]
fn a_long_page_is_no_answer() {
    let (bad, good) = (Origin::start("bad"), Origin::start("good"));
    let proxy = Proxy::start(&patient(Conf::of([&bad, &good])).server("max_body", "'10MiB'").client("timeout", "'5s'"));
    let page = "<p>nothing for programs</p>".repeat(100_000);
    for (n, answer) in [(1, Answer::body(page.clone())), (2, Answer::body(page).chunked(50_000))] {
        bad.answer(answer);
        let response = proxy.post(json::READ);
        assert!(response.body.len() < KIB, "the page is passed on");
        assert_eq!(response.result(), "good");
        assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "bad_response": n }));
    }
    bad.answer(Answer::body(format!(r#"[{{"id":1,"result":"{}"}}]"#, "bad ".repeat(500_000))));
    assert_eq!(proxy.post(json::READ).result(), "good", "an array for a single request");
    bad.answer(Answer::body(long(r#"{"id":7,"result":"bad"}"#, 2_000 * KIB)));
    assert_eq!(proxy.post(json::READ).result(), "good", "another id");
    bad.answer(Answer::body(format!("\r\n {}", long(r#"{"id":1,"result":"bad"}"#, 2_000 * KIB))));
    assert!(proxy.post(json::READ).result().starts_with("bad bad"));
}

/// The beginning was forwarded before the end was known: the client must detect the truncation.
#[test]
fn too_long_an_answer_breaks_off_and_takes_no_memory() {
    let origin = Origin::start("bad");
    let proxy = Proxy::start(&Conf::of([&origin]).with_shipped_policies());
    let begin = r#"{"jsonrpc":"2.0","id":1,"result":["#;
    let chunk = format!("{:x}\r\n{begin}\r\n", begin.len());
    let until_close = framed("server: x", begin).then_forever("1234567,");
    let without_end = framed("transfer-encoding: chunked", &chunk).then_forever("8\r\n1234567,\r\n");
    let announced = framed("content-length: 1000000000", begin).then_forever("1234567,");
    assert_eq!(proxy.post(json::batch(2)).status, 200);
    let before = proxy.peak_memory();
    for answer in [without_end, until_close] {
        origin.answer(answer);
        for _ in 0..5 {
            assert!(proxy.client().try_post(json::READ).is_err(), "the answer has no end");
        }
    }
    origin.answer(announced);
    for _ in 0..5 {
        assert_eq!(proxy.post(json::READ).status, 502);
    }
    let expected = value!({ "bad_response": 15, "success": 1 });
    wait_until("all are settled", || proxy.endpoint("bad")["attempts"] == expected);
    let grown = proxy.peak_memory().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
    assert!(grown < 24 << 10, "{grown} KiB more");
    assert_eq!(proxy.endpoint("bad")["in_flight"], 0);
}
