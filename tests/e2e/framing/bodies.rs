//! Content types, ambiguous bodies, and forwarded headers.

use super::After::{Closed, Kept};
use super::{Case, with_head, with_lines};

pub(super) fn cases() -> Vec<Case> {
    [types(), readings(), forwarded()].into_iter().flatten().collect()
}

/// A page of another site can send these types without a preflight, and no type is accepted with an
/// `Origin`.
fn types() -> Vec<Case> {
    let good = [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=utf-8",
        "application/json-rpc",
        "application/jsonrequest",
        "application/vnd.api+json",
    ];
    let bad = [
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "text/html",
        "application/octet-stream",
        "application/jsonp",
        "application/+json",
        "application/json, text/plain",
        "text/plain, application/json",
        "application/x, application/y+json",
        "*/*",
        "json",
        "",
    ];
    let line = |value: &&str| with_lines(&format!("content-type: {value}\r\n"));
    let mut cases: Vec<Case> = good.iter().map(|value| Case::served(format!("type {value:?}"), line(value))).collect();
    cases.extend(bad.iter().map(|value| Case::answered(format!("type {value:?}"), line(value), 415, Closed)));
    let page = "origin: https://example.com\r\n";
    let json = "content-type: application/json\r\n";
    cases.push(Case::served("no type", with_lines("")));
    cases.push(Case::answered("a page without a type", with_lines(page), 415, Closed));
    cases.push(Case::answered(
        "a page without an origin's name or a type",
        with_lines("origin: null\r\n"),
        415,
        Closed,
    ));
    cases.push(Case::served("a page with JSON's type", with_lines(&format!("{page}{json}"))));
    let plain = "content-type: text/plain\r\n";
    for (what, lines) in
        [("JSON's first", [json, plain]), ("JSON's last", [plain, json]), ("both JSON's", [json, json])]
    {
        cases.push(Case::answered(format!("two types, {what}"), with_lines(&lines.concat()), 415, Closed));
    }
    cases
}

/// Bodies that a node may read differently: the body was read, so the connection stays open.
fn readings() -> Vec<Case> {
    let sent =
        |body: &str| with_head(&format!("POST /only HTTP/1.1\r\nhost: proxy\r\ncontent-length: {}", body.len()), body);
    let object = |rest: &str| format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_call\",\"params\":[]{rest}}}");
    let bad = [
        r#","Method":"eth_sendTransaction""#,
        r#","METHOD":"eth_sendTransaction""#,
        r#","method":"eth_sendTransaction""#,
        r#","method":"eth_call""#,
        r#","m\u0065thod":"eth_sendTransaction""#,
        r#","m\u0045thod":"eth_sendTransaction""#,
        r#","\u004dethod":"eth_sendTransaction""#,
        r#","Params":[{}]"#,
        r#","params":[{}]"#,
        ",\"param\u{17f}\":[{}]",
        r#","param\u017f":[{}]"#,
        r#","PARAM\u017F":[{}]"#,
        r#","ID":2"#,
        r#","Id":1"#,
        r#","id":2"#,
        ",\"\u{131}d\":2",
        r#","\u0130d":2"#,
        r#","JSONRPC":"1.0""#,
        r#","jsonrpc":"2.0""#,
        r#","j\u017fonrpc":"1.0""#,
        r#","x":NaN"#,
        r#","x":Infinity"#,
        r#","\ud800":1"#,
        r#","method\udc00":"eth_sendTransaction""#,
        r#","x":01"#,
        ",",
        r#"/*,"method":"eth_sendTransaction"*/"#,
    ];
    let good = [
        "",
        r#","x":1,"x":2"#,
        r#","X":1,"x":2"#,
        r#","methods":"eth_sendTransaction""#,
        r#","metho":"eth_sendTransaction""#,
        r#","method ":"eth_sendTransaction""#,
        r#","method\u0000":"eth_sendTransaction""#,
        r#","":0"#,
        r#","x":{"method":"eth_sendTransaction","Method":1,"method":2}"#,
        r#","x":123456789012345678901234567890"#,
        r#","x":1e400"#,
        ",\"\u{212a}\":1",
    ];
    let mut cases = Vec::new();
    for rest in bad {
        let single = object(rest);
        cases.push(Case::answered(format!("keys {rest}"), sent(&single), 400, Kept));
        let batch = format!("[{},{single}]", object(""));
        cases.push(Case::answered(format!("keys in a batch {rest}"), sent(&batch), 400, Kept));
    }
    cases.extend(good.iter().map(|rest| Case::served(format!("keys {rest}"), sent(&object(rest)))));
    let escaped = r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"eth_call","params":[]}"#;
    cases.push(Case::served("a key that is escaped, once", sent(escaped)));
    cases.push(Case::answered("only another case of the key", sent(r#"{"id":1,"Method":"eth_call"}"#), 400, Kept));
    cases.push(Case::answered("a byte order mark", sent(&format!("\u{feff}{}", object(""))), 400, Kept));
    cases
}

fn forwarded() -> Vec<Case> {
    let long = |name: &str, length: usize| with_lines(&format!("{name}: {}\r\n", "a".repeat(length)));
    let mut cases = Vec::new();
    for name in ["user-agent", "tracestate", "traceparent", "x-request-id"] {
        cases.push(Case::served(format!("{name} of 7,000 bytes"), long(name, 7_000)));
        cases.push(Case::answered(format!("{name} of 12,000 bytes"), long(name, 12_000), 431, Closed));
    }
    let half = "a".repeat(4_096);
    let both = with_lines(&format!("user-agent: {half}\r\ntracestate: {half}\r\n"));
    cases.push(Case::answered("8 KiB in two headers", both, 431, Closed));
    cases.push(Case::served("a cookie of 12,000 bytes", long("cookie", 12_000)));
    cases
}
