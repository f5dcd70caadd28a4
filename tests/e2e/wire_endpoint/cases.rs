//! The rows.

use super::{Case, Gets};
use crate::support::{Answer, chunked};
use Gets::{Failed, Late, Mine};

const KEPT: bool = true;
const CLOSED: bool = false;

const fn case(name: &'static str, gets: Gets, kept: bool, sends: fn(&str) -> Answer) -> Case {
    Case { name, gets, kept, sends }
}

/// A status line (and more header lines), the right length, the body.
fn head(lines: &str, body: &str) -> Answer {
    Answer::raw(format!("{lines}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// `lines` after a good status line, the right length, the body.
fn header(lines: &str, body: &str) -> Answer {
    head(&format!("HTTP/1.1 200 OK\r\n{lines}"), body)
}

/// `lines` after a good status line, and what follows the head.
fn framed(lines: &str, rest: &str) -> Answer {
    Answer::raw(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{rest}"))
}

fn in_chunks(lines: &str, body: &str, size: usize) -> Answer {
    framed(lines, &String::from_utf8_lossy(&chunked(body.as_bytes(), size)))
}

/// One chunk, with this text.
fn chunk(text: &str) -> Answer {
    framed("transfer-encoding: chunked", text)
}

fn changed(good: &str, old: &str, new: &str) -> Answer {
    let body = good.replace(old, new);
    assert_ne!(body, good);
    header("server: x", &body)
}

fn interim(status: u16, times: usize, good: &str) -> Answer {
    let interim = format!("HTTP/1.1 {status} Wait\r\nx: y\r\n\r\n").repeat(times);
    Answer::raw(format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{good}", good.len()))
}

pub(super) const HEADS: &[Case] = &[
    case("plain", Mine, KEPT, |good| header("server: x", good)),
    case("no reason", Mine, KEPT, |good| head("HTTP/1.1 200 ", good)),
    case("no space for a reason", Mine, KEPT, |good| head("HTTP/1.1 200", good)),
    case("a long reason", Mine, KEPT, |good| head(&format!("HTTP/1.1 200 {}", "very ".repeat(200)), good)),
    case("a reason in UTF-8", Mine, KEPT, |good| head("HTTP/1.1 200 Sch\u{f6}n", good)),
    case("HTTP 1.0", Mine, CLOSED, |good| head("HTTP/1.0 200 OK", good)),
    case("HTTP 0.9", Failed, CLOSED, |good| Answer::raw(good).then_close()),
    case("HTTP 1.2", Failed, CLOSED, |good| head("HTTP/1.2 200 OK", good)),
    case("HTTP 2", Failed, CLOSED, |good| head("HTTP/2 200", good)),
    case("lower case protocol", Failed, CLOSED, |good| head("http/1.1 200 OK", good)),
    case("a preface of HTTP 2", Failed, CLOSED, |_| Answer::raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").then_close()),
    case("a TLS alert", Failed, CLOSED, |_| Answer::raw(*b"\x15\x03\x01\x00\x02\x02\x28").then_close()),
    case("an SSH greeting", Failed, CLOSED, |_| Answer::raw("SSH-2.0-OpenSSH_9\r\n").then_close()),
    case("a request", Failed, CLOSED, |_| Answer::raw("GET / HTTP/1.1\r\n\r\n").then_close()),
    case("a tab in the status line", Failed, CLOSED, |good| head("HTTP/1.1\t200 OK", good)),
    case("two spaces in the status line", Failed, CLOSED, |good| head("HTTP/1.1  200 OK", good)),
    case("status of four digits", Failed, CLOSED, |good| head("HTTP/1.1 2000 OK", good)),
    case("status of two digits", Failed, CLOSED, |good| head("HTTP/1.1 20 OK", good)),
    case("a negative status", Failed, CLOSED, |good| head("HTTP/1.1 -20 OK", good)),
    case("status 000", Failed, CLOSED, |good| head("HTTP/1.1 000 OK", good)),
    case("status 099", Failed, CLOSED, |good| head("HTTP/1.1 099 OK", good)),
    case("status 600", Failed, KEPT, |good| head("HTTP/1.1 600 OK", good)),
    case("status 299", Mine, KEPT, |good| head("HTTP/1.1 299 OK", good)),
    case("status 206", Mine, KEPT, |good| head("HTTP/1.1 206 Partial", good)),
    case("status 300", Failed, KEPT, |good| head("HTTP/1.1 300 Choices", good)),
    case("status 426", Failed, KEPT, |good| head("HTTP/1.1 426 Upgrade\r\nupgrade: h2c", good)),
    case("an empty line first", Mine, KEPT, |good| head("\r\nHTTP/1.1 200 OK", good)),
    case("101 with an upgrade", Failed, CLOSED, |good| head("HTTP/1.1 101 Go\r\nupgrade: websocket", good)),
    case("one 100", Mine, CLOSED, |good| interim(100, 1, good)),
    case("one 103", Mine, CLOSED, |good| interim(103, 1, good)),
    case("ten of 102", Mine, CLOSED, |good| interim(102, 10, good)),
    case("a thousand of 103", Mine, CLOSED, |good| interim(103, 1_000, good)),
    case("1xx without end", Late, CLOSED, |_| Answer::raw("").then_forever("HTTP/1.1 103 Hints\r\n\r\n")),
    case("100 and nothing", Late, CLOSED, |_| Answer::raw("HTTP/1.1 100 Continue\r\n\r\n").then_hang()),
    case("bare LF in the head", Mine, KEPT, |good| {
        Answer::raw(format!("HTTP/1.1 200 OK\ncontent-length: {}\n\n{good}", good.len()))
    }),
    case("LF and CRLF mixed", Mine, KEPT, |good| {
        Answer::raw(format!("HTTP/1.1 200 OK\r\nserver: x\ncontent-length: {}\r\n\n{good}", good.len()))
    }),
    case("bare CR in the head", Failed, CLOSED, |good| {
        Answer::raw(format!("HTTP/1.1 200 OK\rcontent-length: {}\r\r{good}", good.len())).then_close()
    }),
    case("CR in a value", Failed, CLOSED, |good| header("x: a\rb", good)),
    case("NUL in a value", Failed, CLOSED, |good| header("x: a\0b", good)),
    case("NUL in a name", Failed, CLOSED, |good| header("x\0y: a", good)),
    case("a space in a name", Failed, CLOSED, |good| header("x y: a", good)),
    case("a space before the colon", Mine, CLOSED, |good| header("x : a", good)),
    case("a name with quotes", Failed, CLOSED, |good| header("\"x\": a", good)),
    case("no name", Failed, CLOSED, |good| header(": a", good)),
    case("no colon", Failed, CLOSED, |good| header("rubbish", good)),
    case("an empty value", Mine, KEPT, |good| header("x:", good)),
    case("obs-fold", Mine, CLOSED, |good| header("x: a\r\n  b", good)),
    case("obs-fold at once", Failed, CLOSED, |good| head("HTTP/1.1 200 OK\r\n folded: yes", good)),
    case("a value in Latin-1", Mine, KEPT, |good| {
        let head = format!("HTTP/1.1 200 OK\r\nx: ?\r\ncontent-length: {}\r\n\r\n{good}", good.len());
        Answer::raw(head.into_bytes().into_iter().map(|b| if b == b'?' { 0xfc } else { b }).collect::<Vec<u8>>())
    }),
    case("a hundred headers", Mine, CLOSED, |good| header("x: y\r\n".repeat(100).trim_end(), good)),
    case("a thousand headers", Failed, CLOSED, |good| header("x: y\r\n".repeat(1_000).trim_end(), good)),
    case("a header of 10 KB", Mine, KEPT, |good| header(&format!("x: {}", "y".repeat(10_000)), good)),
    case("a header of 30 KB", Mine, CLOSED, |good| header(&format!("x: {}", "y".repeat(30_000)), good)),
    case("a header of 2 MB", Failed, CLOSED, |good| header(&format!("x: {}", "y".repeat(2_000_000)), good)),
    case("a head without end", Late, CLOSED, |_| Answer::raw("HTTP/1.1 200 OK\r\nx: y\r\n").then_hang()),
    case("a few bytes at a time", Mine, KEPT, |good| header("server: x", good).in_pieces(7)),
];

pub(super) const FRAMING: &[Case] = &[
    case("two lengths alike", Mine, CLOSED, |good| header(&format!("content-length: {}", good.len()), good)),
    case("two lengths that differ", Failed, CLOSED, |good| header("content-length: 7", good)),
    case("a list of lengths", Failed, CLOSED, |good| framed("content-length: 5, 6", good).then_close()),
    case("a length with a plus", Failed, CLOSED, |good| framed(&format!("content-length: +{}", good.len()), good)),
    case("a length in hexadecimal", Failed, CLOSED, |good| framed(&format!("content-length: {:#x}", good.len()), good)),
    case("a length with a fraction", Failed, CLOSED, |good| framed(&format!("content-length: {}.0", good.len()), good)),
    case("a length with leading zeros", Mine, KEPT, |good| framed(&format!("content-length: 000{}", good.len()), good)),
    case("spaces around a length", Mine, KEPT, |good| framed(&format!("content-length:   {}  ", good.len()), good)),
    case("an empty length", Failed, CLOSED, |good| framed("content-length:", good).then_close()),
    case("a length of 2 to the 64", Failed, CLOSED, |good| framed("content-length: 18446744073709551616", good)),
    case("a length of 2 to the 63", Failed, CLOSED, |good| framed("content-length: 9223372036854775808", good)),
    case("a length of 0", Failed, CLOSED, |good| framed("content-length: 0", good)),
    case("a length of 0 and nothing", Failed, KEPT, |_| framed("content-length: 0", "")),
    case("a byte too many", Mine, CLOSED, |good| {
        framed(&format!("content-length: {}", good.len()), &format!("{good} "))
    }),
    case("a byte too few", Late, CLOSED, |good| framed(&format!("content-length: {}", good.len() + 1), good)),
    case("a second answer", Mine, CLOSED, |good| {
        let stale = good.replace("mine", "stale");
        let stale = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{stale}", stale.len());
        framed(&format!("content-length: {}", good.len()), &format!("{good}{stale}"))
    }),
    case("no length, then the end", Mine, CLOSED, |good| framed("server: x", good).then_close()),
    case("no length and no end", Late, CLOSED, |good| framed("server: x", good).then_hang()),
    case("no length, then a reset", Failed, CLOSED, |good| framed("server: x", &good[..9]).then_reset()),
    case("chunks", Mine, KEPT, |good| in_chunks("transfer-encoding: chunked", good, 10)),
    case("chunks of a byte", Mine, KEPT, |good| in_chunks("transfer-encoding: chunked", good, 1)),
    case("Chunked", Mine, KEPT, |good| in_chunks("Transfer-Encoding: Chunked", good, 10)),
    case("length, then chunks", Mine, CLOSED, |good| {
        in_chunks("content-length: 3\r\ntransfer-encoding: chunked", good, 10)
    }),
    case("chunks, then length", Mine, CLOSED, |good| {
        in_chunks("transfer-encoding: chunked\r\ncontent-length: 3", good, 10)
    }),
    case("chunked twice", Failed, CLOSED, |good| {
        in_chunks("transfer-encoding: chunked, chunked", good, 10).then_close()
    }),
    case("chunked in two lines", Failed, CLOSED, |good| {
        in_chunks("transfer-encoding: chunked\r\ntransfer-encoding: chunked", good, 10).then_close()
    }),
    case("gzip and chunked", Failed, CLOSED, |good| {
        in_chunks("transfer-encoding: gzip, chunked", good, 10).then_close()
    }),
    case("chunked and gzip", Failed, CLOSED, |good| {
        in_chunks("transfer-encoding: chunked, gzip", good, 10).then_close()
    }),
    case("identity", Failed, CLOSED, |good| header("transfer-encoding: identity", good).then_close()),
    case("xchunked", Failed, CLOSED, |good| in_chunks("transfer-encoding: xchunked", good, 10).then_close()),
    case("a chunk extension", Mine, KEPT, |good| chunk(&format!("{:x};a=b\r\n{good}\r\n0\r\n\r\n", good.len()))),
    case("an upper case size", Mine, KEPT, |good| chunk(&format!("{:X}\r\n{good}\r\n0\r\n\r\n", good.len()))),
    case("zeros before a size", Mine, KEPT, |good| chunk(&format!("000{:x}\r\n{good}\r\n0\r\n\r\n", good.len()))),
    case("a size with 0x", Failed, CLOSED, |good| chunk(&format!("{:#x}\r\n{good}\r\n0\r\n\r\n", good.len()))),
    case("a negative size", Failed, CLOSED, |good| chunk(&format!("-{:x}\r\n{good}\r\n0\r\n\r\n", good.len()))),
    case("a size with a plus", Failed, CLOSED, |good| chunk(&format!("+{:x}\r\n{good}\r\n0\r\n\r\n", good.len()))),
    case("no size", Failed, CLOSED, |good| chunk(&format!("\r\n{good}\r\n0\r\n\r\n")).then_close()),
    case("a size of 2 to the 64", Failed, CLOSED, |good| chunk(&format!("10000000000000000\r\n{good}\r\n0\r\n\r\n"))),
    case("a size too small", Failed, CLOSED, |good| chunk(&format!("5\r\n{good}\r\n0\r\n\r\n")).then_close()),
    case("a size too large", Failed, CLOSED, |good| chunk(&format!("fff\r\n{good}\r\n0\r\n\r\n")).then_close()),
    case("no end of a chunk", Failed, CLOSED, |good| {
        chunk(&format!("{:x}\r\n{good}0\r\n\r\n", good.len())).then_close()
    }),
    case("no last chunk", Failed, CLOSED, |good| chunk(&format!("{:x}\r\n{good}\r\n", good.len())).then_close()),
    case("no last chunk and no end", Late, CLOSED, |good| {
        chunk(&format!("{:x}\r\n{good}\r\n", good.len())).then_hang()
    }),
    case("a trailer", Mine, KEPT, |good| chunk(&format!("{:x}\r\n{good}\r\n0\r\nx: y\r\n\r\n", good.len()))),
    case("a trailer without end", Late, CLOSED, |good| {
        chunk(&format!("{:x}\r\n{good}\r\n0\r\nx: y", good.len())).then_hang()
    }),
    case("garbage after chunks", Mine, CLOSED, |good| {
        chunk(&format!("{:x}\r\n{good}\r\n0\r\n\r\ngarbage", good.len()))
    }),
    case("chunks in HTTP 1.0", Mine, CLOSED, |good| {
        let body = String::from_utf8_lossy(&chunked(good.as_bytes(), 10)).into_owned();
        Answer::raw(format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}")).then_close()
    }),
    case("connection close", Mine, CLOSED, |good| header("connection: close", good)),
    case("Connection of two words", Mine, CLOSED, |good| header("connection: keep-alive, close", good)),
    case("connection keep-alive", Mine, KEPT, |good| header("connection: keep-alive", good)),
    case("an end without a word", Mine, CLOSED, |good| header("server: x", good).then_close()),
    case("an upgrade that nobody asked for", Mine, KEPT, |good| header("upgrade: h2c", good)),
];

pub(super) const BODIES: &[Case] = &[
    case("spaces around", Mine, KEPT, |good| header("server: x", &format!(" \r\n\t{good}\n"))),
    case("another content type", Mine, KEPT, |good| header("content-type: text/html", good)),
    case("no content type", Mine, KEPT, |good| header("server: x", good)),
    case("identity coding", Mine, KEPT, |good| header("content-encoding: identity", good)),
    case("gzip coding", Failed, KEPT, |good| header("content-encoding: gzip", good)),
    case("gzip bytes", Failed, KEPT, |_| Answer::body(*b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")),
    case("another id", Failed, KEPT, |good| changed(good, r#""id":""#, r#""id":"x"#)),
    case("no id", Failed, KEPT, |good| changed(good, r#""id":"#, r#""no":"#)),
    case("ID", Failed, KEPT, |good| changed(good, r#""id":"#, r#""ID":"#)),
    case("an escaped key", Mine, KEPT, |good| changed(good, r#""id":"#, r#""\u0069d":"#)),
    case("an escaped id", Mine, KEPT, |good| changed(good, "an escaped", r"\u0061n escaped")),
    case("a second id", Failed, KEPT, |good| changed(good, r#""id":"#, r#""id":1,"id":"#)),
    case("a second result", Failed, KEPT, |good| changed(good, r#""result""#, r#""result":1,"result""#)),
    case("result and a null error", Mine, KEPT, |good| changed(good, r#""result""#, r#""error":null,"result""#)),
    case("no result", Failed, KEPT, |good| changed(good, r#""result""#, r#""method""#)),
    case("the request", Failed, KEPT, |_| Answer::body(r#"{"jsonrpc":"2.0","id":"the request","method":"eth_call"}"#)),
    case("an array of it", Failed, KEPT, |good| Answer::body(format!("[{good}]"))),
    case("two of it", Failed, KEPT, |good| Answer::body(format!("{good}{good}"))),
    case("half of it", Failed, KEPT, |good| Answer::body(&good[..good.len() / 2])),
    case("a comma at the end", Failed, KEPT, |good| Answer::body(good.replace('}', ",}"))),
    case("single quotes", Failed, KEPT, |good| Answer::body(good.replace('"', "'"))),
    case("NaN", Failed, KEPT, |good| changed(good, r#""mine""#, "NaN")),
    case("a comment", Failed, KEPT, |good| Answer::body(format!("/* {good} */{good}"))),
    case("a byte order mark", Failed, KEPT, |good| Answer::body(format!("\u{feff}{good}"))),
    case("a control character", Failed, KEPT, |good| changed(good, "mine", "mi\u{1}ne")),
    case("deep and open", Failed, KEPT, |good| changed(good, r#""mine""#, &"[".repeat(100_000))),
    case("deep beside the result", Mine, KEPT, |good| {
        let deep = format!(r#""x":{}{},"id""#, "[".repeat(100_000), "]".repeat(100_000));
        changed(good, r#""id""#, &deep)
    }),
    case("a page", Failed, KEPT, |_| Answer::status(200)),
    case("nothing at all", Failed, CLOSED, |_| Answer::close()),
    case("a reset", Failed, CLOSED, |_| Answer::reset()),
    case("silence", Late, CLOSED, |_| Answer::hang()),
];
