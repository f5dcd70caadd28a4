//! `Content-Length`, `Transfer-Encoding`, and both.

use super::After::{Closed, Kept};
use super::{Case, with_head};
use crate::support::json;

pub(super) fn cases() -> Vec<Case> {
    [lengths(), codings(), both()].into_iter().flatten().collect()
}

fn request(lines: &str, body: &str) -> Vec<u8> {
    with_head(&format!("POST /only HTTP/1.1\r\nhost: proxy\r\n{lines}"), body)
}

fn in_chunks() -> String {
    format!("{:x}\r\n{}\r\n0\r\n\r\n", json::READ.len(), json::READ)
}

/// RFC 9110, section 8.6; RFC 9112, section 6.3.
fn lengths() -> Vec<Case> {
    let n = json::READ.len();
    let bad = [
        String::new(),
        format!("+{n}"),
        format!("-{n}"),
        format!("{n}.0"),
        format!("{n};"),
        format!("{n},{n}"),
        format!("{n}, {n}"),
        format!("{n}, {}", n + 1),
        format!("{n},"),
        format!(",{n}"),
        format!("\"{n}\""),
        format!("0x{n:x}"),
        format!("{n:x}h"),
        format!("{n} {n}"),
        format!("{n}e0"),
        format!("{n}_0"),
        format!("{n}\u{b}"),
        "\u{663}".to_owned(),
        "many".to_owned(),
        "NaN".to_owned(),
        // 2^63, 2^64, and the right length plus 2^64.
        "9223372036854775808".to_owned(),
        "18446744073709551616".to_owned(),
        (u128::from(u64::MAX) + 1 + n as u128).to_string(),
        "9".repeat(400),
        format!("{n:0400}"),
    ];
    let case = |value: &String| {
        let shown: String = value.chars().take(30).collect();
        Case::refused(
            format!("length {shown:?} of {}", value.len()),
            request(&format!("content-length: {value}"), json::READ),
        )
    };
    let mut cases: Vec<Case> = bad.iter().map(case).collect();
    let doubled = [
        ("equal", format!("content-length: {n}\r\ncontent-length: {n}")),
        ("different", format!("content-length: {n}\r\ncontent-length: {}", n + 1)),
        ("in another case", format!("content-length: {n}\r\nCONTENT-LENGTH: {n}")),
        ("0 first", format!("content-length: 0\r\ncontent-length: {n}")),
        ("0 last", format!("content-length: {n}\r\ncontent-length: 0")),
        ("empty first", format!("content-length:\r\ncontent-length: {n}")),
        ("apart", format!("content-length: {n}\r\nx: y\r\ncontent-length: {n}")),
        ("three", format!("content-length: {n}\r\ncontent-length: {n}\r\ncontent-length: {n}")),
    ];
    cases.extend(doubled.iter().map(|(what, l)| Case::refused(format!("two lengths, {what}"), request(l, json::READ))));
    let good = [
        format!("content-length: {n}"),
        format!("Content-Length:{n}"),
        format!("CONTENT-LENGTH: {n}"),
        format!("content-length: \t {n} \t"),
        format!("content-length: {n:04}"),
    ];
    cases.extend(
        good.iter().map(|line| Case::served(format!("the length {}", line.escape_debug()), request(line, json::READ))),
    );
    // An empty body is not a JSON-RPC request, but its end is known.
    cases.push(Case::answered("a length of 0", request("content-length: 0", ""), 400, Kept));
    cases.push(Case::answered("no length", request("x: y", ""), 400, Kept));
    cases.push(Case::answered("a length beyond the limit", request("content-length: 99999999999", ""), 413, Closed));
    cases
}

/// RFC 9112, sections 6.1 and 7.
fn codings() -> Vec<Case> {
    let bad = [
        "",
        "identity",
        "identity, chunked",
        "chunked, identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "deflate, chunked",
        "compress, chunked",
        "trailers, chunked",
        "chunked, chunked",
        "chunked,chunked",
        "Chunked, CHUNKED",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked,,",
        "xchunked",
        "chunkedx",
        "x-chunked",
        "chunk",
        "chunke",
        "c hunked",
        "chunked chunked",
        "chunked;q=1",
        "chunked; a=b",
        "\"chunked\"",
        "'chunked'",
        "(chunked)",
        "chunked\u{b}",
        "\u{b}chunked",
        "chunked\u{c}",
        "\u{c}chunked",
        "\u{a0}chunked",
        "chunked\0",
        "chun\u{212a}ed",
        "chunke\u{1e0b}",
    ];
    let case = |value: &&str| {
        Case::refused(format!("coding {value:?}"), request(&format!("transfer-encoding: {value}"), &in_chunks()))
    };
    let mut cases: Vec<Case> = bad.iter().map(case).collect();
    let doubled = [
        "chunked|chunked",
        "chunked|identity",
        "identity|chunked",
        "gzip|chunked",
        "chunked|gzip",
        "chunked|",
        "|chunked",
    ];
    cases.extend(doubled.iter().map(|pair| {
        let (first, second) = pair.split_once('|').expect("a pair");
        let lines = format!("transfer-encoding: {first}\r\nTransfer-Encoding: {second}");
        Case::refused(format!("codings {first:?} and {second:?}"), request(&lines, &in_chunks()))
    }));
    for line in [
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding:\r\n\tchunked",
        "x: y\r\n transfer-encoding: chunked",
        "x: y\ntransfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "\0transfer-encoding: chunked",
    ] {
        cases.push(Case::refused(format!("the coding {}", line.escape_debug()), request(line, &in_chunks())));
    }
    for line in [
        "transfer-encoding: chunked",
        "Transfer-Encoding: Chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "transfer-encoding:chunked",
        "transfer-encoding: \t chunked \t",
    ] {
        let case = Case::served(format!("the coding {}", line.escape_debug()), request(line, &in_chunks()));
        cases.push(case);
    }
    for coding in ["chunked", "identity", "gzip"] {
        let head = format!("POST /only HTTP/1.0\r\nhost: proxy\r\ntransfer-encoding: {coding}");
        cases.push(Case::refused(format!("coding {coding:?} in HTTP/1.0"), with_head(&head, &in_chunks())));
    }
    cases
}

/// RFC 9112, section 6.3: a request with both is an attempt to smuggle.
fn both() -> Vec<Case> {
    let mut cases = Vec::new();
    let chunks = in_chunks();
    for length in ["0", "1", "5", &chunks.len().to_string(), "999", "many", "", "-1", "5, 5"] {
        for coding in ["chunked", "Chunked", "identity"] {
            for (first, second) in [("content-length", "transfer-encoding"), ("Transfer-Encoding", "Content-Length")] {
                let value = |name: &str| if name.eq_ignore_ascii_case("content-length") { length } else { coding };
                let lines = format!("{first}: {}\r\n{second}: {}", value(first), value(second));
                cases.push(Case::refused(format!("both: {}", lines.escape_debug()), request(&lines, &chunks)));
            }
        }
    }
    for lines in [
        "content-length: 5\r\nx: y\r\ntransfer-encoding: chunked",
        "content-length: 5\r\ntransfer-encoding: chunked\r\nconnection: keep-alive",
        "content-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close",
        "content-length: 5\r\ntransfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        "connection: content-length\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        "content-length:\t5\r\ntransfer-encoding:\tchunked",
    ] {
        cases.push(Case::refused(format!("both, {}", lines.escape_debug()), request(lines, &chunks)));
    }
    let old = "POST /only HTTP/1.0\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nconnection: keep-alive";
    cases.push(Case::refused("both in HTTP/1.0", with_head(old, &chunks)));
    cases
}
