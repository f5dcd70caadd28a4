//! Ids that JSON libraries rewrite: endpoints get the proxy's own numbers, and clients get their
//! ids back byte by byte.

use serde_json::{Value, json as value};

use crate::support::{Answer, Conf, Origin, Proxy, Request, json};

/// Ids that some or all libraries rewrite.
const ODD: [&str; 14] = [
    "-0",
    "1e400",
    "9007199254740993",
    r#""\uD800""#,
    "123456789012345678901234567890",
    "1.50",
    "-7",
    r#""a\u0062""#,
    r#""\/""#,
    r#""<a&b>""#,
    "\"é\"",
    r#""""#,
    "null",
    "1E2",
];

/// An endpoint that parses a request like a library and writes the ids as parsed. It refuses
/// invalid requests.
fn rewriting(request: &Request, answer: impl Fn(&Value) -> Value) -> Answer {
    let Ok(read) = serde_json::from_slice::<Value>(&request.body) else { return Answer::status(400) };
    let body = match read.as_array() {
        Some(members) => Value::Array(members.iter().rev().map(answer).collect()),
        None => answer(&read),
    };
    Answer::body(body.to_string())
}

fn result_of(request: &Value) -> Value {
    value!({ "jsonrpc": "2.0", "id": request["id"], "result": request["params"].get(0).unwrap_or(&request["method"]) })
}

#[test]
fn a_client_gets_its_own_id_back() {
    let origin = Origin::scripted("a", |request: &Request| rewriting(request, result_of));
    let proxy = Proxy::start(&Conf::of([&origin]));
    let mut client = proxy.client();
    for id in ODD {
        let response = client.post(json::request(id, "eth_call"));
        let expected = format!(r#"{{"id":{id},"jsonrpc":"2.0","result":"eth_call"}}"#);
        assert_eq!((response.status, response.text()), (200, expected));
        assert_eq!(origin.last().text(), json::request("1", "eth_call"));
    }
    assert_eq!(proxy.endpoint("a")["attempts"], value!({ "success": ODD.len() }));
}

#[test]
fn so_does_it_with_errors_of_every_status() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).with_shipped_policies());
    for status in [200, 400, 500] {
        origin.script(move |request: &Request| {
            let error = value!({ "code": 3, "message": "reverted" });
            rewriting(request, |asked| value!({ "id": asked["id"], "error": error })).with_status(status)
        });
        for id in ODD {
            let response = proxy.post(json::request(id, "eth_call"));
            assert!(response.text().contains(&format!(r#""id":{id}}}"#)), "{status}: {}", response.text());
            assert!(response.text().contains(r#""code":3"#), "{}", response.text());
        }
    }
}

/// In a different order, with duplicates, in pieces, and split by retries.
#[test]
fn so_does_it_in_batches() {
    let ids: Vec<&str> = ODD.into_iter().chain(["1", "1", "\"x\"", "2", "null"]).collect();
    let members: Vec<String> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| format!(r#"{{"id":{id},"method":"eth_call","params":["{n}"]}}"#))
        .collect();
    let batch = format!("[{}]", members.join(","));
    let results = ids.iter().enumerate().map(|(n, id)| format!(r#"{{"id":{id},"jsonrpc":"2.0","result":"{n}"}}"#));
    let expected = format!("[{}]", results.collect::<Vec<_>>().join(","));
    for most in ["100", "3"] {
        let (bad, good) = (Origin::start("bad"), Origin::start("good"));
        // It omits every other one.
        bad.script(|request: &Request| {
            let Ok(Value::Array(members)) = serde_json::from_slice(&request.body) else { return Answer::status(400) };
            Answer::body(Value::Array(members.iter().step_by(2).map(result_of).collect()).to_string())
        });
        good.script(|request: &Request| rewriting(request, result_of));
        let conf = Conf::of([&bad, &good]).with_shipped_policies();
        let conf = conf
            .endpoint(0, |bad| bad.set("max_batch_size", most))
            .endpoint(1, |good| good.set("max_batch_size", most));
        let proxy = Proxy::start(&conf);
        assert_eq!(proxy.post(&batch).text(), expected, "{most} at once");
        assert!(good.hits() > 0);
    }
}

#[test]
fn so_does_it_with_long_answers() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]));
    let long = "7".repeat(3_000_000);
    let first = ("{\"id\":".to_owned(), format!(r#","result":"{long}"}}"#));
    let last = (format!(r#"{{"result":"{long}","id":"#), "}".to_owned());
    for (before, after) in [first, last] {
        for chunked in [false, true] {
            let answer = Answer::body(format!("{before}1{after}"));
            origin.answer(if chunked { answer.chunked(50_000) } else { answer });
            for id in ["-0", "1e400", r#""\uD800""#, "1"] {
                let response = proxy.post(json::request(id, "eth_call"));
                assert!(response.text() == format!("{before}{id}{after}"), "{id}, chunked: {chunked}");
            }
        }
    }
}
