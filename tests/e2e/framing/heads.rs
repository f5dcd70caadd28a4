//! Lines, hosts, `Connection`, and methods.

use super::After::{Closed, Kept};
use super::{Case, with_head, with_lines};
use crate::support::json;

pub(super) fn cases() -> Vec<Case> {
    [lines(), request_lines(), hosts(), connections(), expectations(), methods()].into_iter().flatten().collect()
}

fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

/// RFC 9112, sections 2.2 and 5.
fn lines() -> Vec<Case> {
    let refused = [
        "x: y\n",
        "x: y\r",
        "x: a\rb\r\n",
        "x: a\nb: c\r\n",
        "x\r: y\r\n",
        "x\n: y\r\n",
        "x : y\r\n",
        "x\t: y\r\n",
        " x: y\r\n",
        "\tx: y\r\n",
        "x: y\r\n z\r\n",
        "x: y\r\n\tz\r\n",
        "x:\r\n y\r\n",
        ": y\r\n",
        "no colon\r\n",
        "x y: z\r\n",
        "x\0: y\r\n",
        "x: \0\r\n",
        "x: a\0b\r\n",
        "x: \x01\r\n",
        "x: \x0b\r\n",
        "x: \x0c\r\n",
        "x: \x1b[31m\r\n",
        "x: \x7f\r\n",
        "x(: y\r\n",
        "x/: y\r\n",
        "x[: y\r\n",
        "x{: y\r\n",
        "x@: y\r\n",
        "x\": y\r\n",
        "x=: y\r\n",
        "x\u{e9}: y\r\n",
        "\u{17f}: y\r\n",
    ];
    let served = [
        "x: y\r\n",
        "x:y\r\n",
        "x:\r\n",
        "x: \r\n",
        "x:  y \t \r\n",
        "x: a\tb\r\n",
        "x: \u{e9}\r\n",
        "x: :\r\n",
        "!#$%&'*+-.^_`|~09: y\r\n",
        "x: y\r\nx: z\r\n",
        "content_length: 7\r\n",
        "transfer_encoding: chunked\r\n",
        "x-transfer-encoding: chunked\r\n",
        "te: chunked\r\n",
        "trailer: content-length\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\n",
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
    ];
    let mut cases: Vec<Case> =
        refused.iter().map(|line| Case::refused(format!("the line {}", shown(line)), with_lines(line))).collect();
    cases.extend(served.iter().map(|line| Case::served(format!("the line {}", shown(line)), with_lines(line))));
    let read = String::from_utf8(with_lines("")).expect("text");
    for empty in ["\r\n", "\r\n\r\n"] {
        cases.push(Case::served(format!("{} before the request", shown(empty)), format!("{empty}{read}")));
    }
    let (head, body) = read.split_once("\r\n\r\n").expect("a head");
    cases.push(Case::refused("the head ends with LF", format!("{head}\r\n\n{body}")));
    cases.push(Case::refused("the head ends with two LF", format!("{head}\n\n{body}")));
    cases.push(Case::refused("all lines end with LF", read.replace("\r\n", "\n")));
    cases.push(Case::refused("the request line ends with LF", read.replacen("\r\n", "\n", 1)));
    cases.push(Case::refused("an empty line of LF before the request", format!("\n{read}")));
    cases
}

/// RFC 9112, section 3.
fn request_lines() -> Vec<Case> {
    let refused = [
        "POST /only",
        "POST /only ",
        "POST /only HTTP/1.1 ",
        "POST /only HTTP/1.1 HTTP/1.1",
        "POST  /only HTTP/1.1",
        "POST /only  HTTP/1.1",
        "POST\t/only HTTP/1.1",
        "POST /only\tHTTP/1.1",
        " POST /only HTTP/1.1",
        "POST /on ly HTTP/1.1",
        "POST /only HTTP/1.2",
        "POST /only HTTP/2.0",
        "POST /only HTTP/0.9",
        "POST /only HTTP/1",
        "POST /only HTTP/1.1x",
        "POST /only HTTP/01.1",
        "POST /only http/1.1",
        "POST /only HTTPS/1.1",
        "P(ST /only HTTP/1.1",
        "P\u{d6}ST /only HTTP/1.1",
        "POST\0 /only HTTP/1.1",
        "/only HTTP/1.1",
        "POST HTTP/1.1",
        "{\"id\":1}",
    ];
    let case = |line: &&str| {
        let head = format!("{line}\r\nhost: proxy\r\ncontent-length: {}", json::READ.len());
        Case::refused(format!("the request line {}", shown(line)), with_head(&head, json::READ))
    };
    refused.iter().map(case).collect()
}

/// RFC 9112, section 3.2.
fn hosts() -> Vec<Case> {
    let with = |lines: &str, version: &str| {
        let head = format!("POST /only HTTP/{version}\r\n{lines}content-length: {}", json::READ.len());
        with_head(&head, json::READ)
    };
    let mut cases = vec![
        Case::refused("no Host", with("", "1.1")),
        Case::refused("two equal Hosts", with("host: proxy\r\nhost: proxy\r\n", "1.1")),
        Case::refused("two different Hosts", with("host: proxy\r\nHost: other\r\n", "1.1")),
        Case::refused("two Hosts in HTTP/1.0", with("host: proxy\r\nhost: other\r\n", "1.0")),
        Case::refused("a bad Host in HTTP/1.0", with("host: a b\r\n", "1.0")),
        Case::served("no Host in HTTP/1.0", with("", "1.0")).then(Closed),
        Case::served("a Host in HTTP/1.0", with("host: proxy\r\n", "1.0")).then(Closed),
    ];
    let bad = [
        "a b",
        "a,b",
        "a, b",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "a\\b",
        "a:b",
        "a:1:2",
        "a:123456",
        "[::1",
        "[::1]x",
        "::1",
        "a\tb",
        "<a>",
        "\"a\"",
        "a|b",
        "\u{e9}",
        "http://proxy",
        "a:-1",
        "a:+1",
        "{a}",
    ];
    cases.extend(
        bad.iter().map(|h| Case::refused(format!("Host {}", shown(h)), with(&format!("host: {h}\r\n"), "1.1"))),
    );
    let good = ["", "proxy:80", "proxy:", "127.0.0.1:8549", "[::1]:80", "[::1]", "a_b.c-d", "xn--e1afmkfd"];
    cases.extend(good.iter().map(|h| Case::served(format!("Host {h:?}"), with(&format!("host: {h}\r\n"), "1.1"))));
    cases
}

/// RFC 9112, section 9.
fn connections() -> Vec<Case> {
    let closing = [
        "connection: close\r\n",
        "connection: Close\r\n",
        "connection: CLOSE\r\n",
        "connection: keep-alive, close\r\n",
        "connection: close, keep-alive\r\n",
        "connection: x,close\r\n",
        "connection: close,\r\n",
        "connection: ,close\r\n",
        "connection: x ,\tclose\t, y\r\n",
        "connection: keep-alive\r\nconnection: close\r\n",
        "connection: close\r\nconnection: keep-alive\r\n",
        "connection: x\r\nconnection: y\r\nconnection: close\r\n",
        "connection: \u{e9}, close\r\n",
        "connection:\r\nconnection: close\r\n",
    ];
    let keeping = [
        "connection: keep-alive\r\n",
        "connection: Keep-Alive\r\nkeep-alive: timeout=1\r\n",
        "connection: closed\r\n",
        "connection: not-close\r\n",
        "connection: close;q=0\r\n",
        "connection: \"close\"\r\n",
        "connection:\r\n",
        "proxy-connection: close\r\n",
        "x: close\r\n",
    ];
    let mut cases: Vec<Case> = closing
        .iter()
        .map(|line| Case::served(format!("closed by {}", shown(line)), with_lines(line)).then(Closed))
        .collect();
    cases.extend(keeping.iter().map(|line| Case::served(format!("kept with {}", shown(line)), with_lines(line))));
    let old = |line: &str| {
        let head = format!("POST /only HTTP/1.0\r\n{line}content-length: {}", json::READ.len());
        with_head(&head, json::READ)
    };
    for line in ["connection: keep-alive\r\n", "connection: close\r\nconnection: keep-alive\r\n"] {
        cases.push(Case::served(format!("HTTP/1.0 with {}", shown(line)), old(line)).then(Closed));
    }
    cases
}

/// RFC 9110, section 10.1.1. After an interim answer the connection is closed: the session decides
/// so before the body arrives.
fn expectations() -> Vec<Case> {
    let old = format!("POST /only HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: {}", json::READ.len());
    vec![
        Case::served("Expect", with_lines("expect: 100-continue\r\n")).with_interim().then(Closed),
        Case::served("Expect in capitals", with_lines("Expect: 100-Continue\r\n")).with_interim().then(Closed),
        Case::served("Expect in HTTP/1.0", with_head(&old, json::READ)).then(Closed),
        Case::served("an unknown expectation", with_lines("expect: 200-ok\r\n")),
        Case::served("an empty expectation", with_lines("expect:\r\n")),
    ]
}

/// Only POST has a body here; other methods are refused before it is read.
fn methods() -> Vec<Case> {
    let head = |method: &str, lines: &str| format!("{method} /only HTTP/1.1\r\nhost: proxy{lines}");
    let length = format!("\r\ncontent-length: {}", json::READ.len());
    let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", json::READ.len(), json::READ);
    let mut cases = Vec::new();
    for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "BREW", "post", "Post"] {
        let case = |what: &str, lines: &str, body: &str, after| {
            Case::answered(format!("{method} {what}"), with_head(&head(method, lines), body), 405, after)
        };
        cases.push(case("without a body", "", "", Kept));
        cases.push(case("with a body of length 0", "\r\ncontent-length: 0", "", Kept));
        cases.push(case("with a body", &length, json::READ, Closed));
        cases.push(case("with a body in chunks", "\r\ntransfer-encoding: chunked", &chunks, Closed));
    }
    cases
}
