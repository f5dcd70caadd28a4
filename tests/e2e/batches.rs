//! Batches: each member gets its answer from any endpoint, in the client's order and with the
//! client's ids.

use serde_json::{Value, json as value};

use crate::support::{Answer, Conf, Origin, Proxy, Request, json};

/// An origin that answers each member by `field` of its id and method: `"result":…`, `"error":…`,
/// or nothing at all.
fn by_member(name: &str, field: impl Fn(&Value, &str) -> Option<String> + Send + Sync + 'static) -> Origin {
    Origin::scripted(name, move |request| Answer::body(answers(request, &field)))
}

fn answers(request: &Request, field: &impl Fn(&Value, &str) -> Option<String>) -> String {
    let members: Vec<Value> = serde_json::from_slice(&request.body).expect("a batch");
    let answer = |member: &Value| {
        let field = field(&member["id"], member["method"].as_str().unwrap_or_default())?;
        Some(format!(r#"{{"jsonrpc":"2.0","id":{},{field}}}"#, member["id"]))
    };
    format!("[{}]", members.iter().filter_map(answer).collect::<Vec<_>>().join(","))
}

fn result(name: &str) -> Option<String> {
    Some(format!(r#""result":"{name}""#))
}

fn error(code: i64, message: &str) -> Option<String> {
    Some(format!(r#""error":{{"code":{code},"message":"{message}"}}"#))
}

/// The ids of an origin's requests, by request.
fn asked(origin: &Origin) -> Vec<Vec<Value>> {
    let ids = |request: Request| {
        let members: Vec<Value> = serde_json::from_slice(&request.body).expect("a batch");
        members.iter().map(|member| member["id"].clone()).collect()
    };
    origin.requests().into_iter().map(ids).collect()
}

/// `[id, result or error code]` of each member.
fn members(answer: &Value) -> Value {
    let member = |m: &Value| if m["error"].is_null() { m["result"].clone() } else { m["error"]["code"].clone() };
    answer.as_array().expect("a batch").iter().map(|m| value!([m["id"], member(m)])).collect()
}

fn shipped(origins: &[&Origin]) -> Proxy {
    Proxy::start(&Conf::of(origins.iter().copied()).with_shipped_policies())
}

#[test]
fn only_the_members_that_failed_are_asked_elsewhere() {
    let first = by_member("first", |id, _| if id == 2 { error(-32603, "oops") } else { result("first") });
    let second = by_member("second", |_, _| result("second"));
    let proxy = shipped(&[&first, &second]);
    let response = proxy.post(json::batch(3));
    assert_eq!(response.status, 200);
    assert_eq!(members(&response.json()), value!([[1, "first"], [2, "second"], [3, "first"]]));
    assert_eq!(asked(&first), [vec![value!(1), value!(2), value!(3)]]);
    assert_eq!(asked(&second), [vec![value!(2)]]);
    assert_eq!(proxy.endpoint("first")["attempts"], value!({ "rpc_error": 1 }));
    assert_eq!(proxy.endpoint("second")["attempts"], value!({ "success": 1 }));
}

#[test]
fn each_attempt_may_answer_a_part() {
    let only = |name: &'static str, mine: i64| {
        by_member(name, move |id, _| if *id == mine { result(name) } else { error(-32603, name) })
    };
    let origins = [only("first", 3), only("second", 1), only("third", 2)];
    let proxy = shipped(&origins.each_ref());
    let response = proxy.post(json::batch(4));
    // No endpoint answers the last one: the last endpoint's own error is better than the proxy's.
    assert_eq!(members(&response.json()), value!([[1, "second"], [2, "third"], [3, "first"], [4, -32603]]));
    assert_eq!(response.json()[3]["error"]["message"], "third");
    assert_eq!(asked(&origins[2]), [vec![value!(2), value!(4)]]);
}

#[test]
fn an_error_that_is_an_answer_is_kept() {
    let first = by_member("first", |id, _| match id.as_i64() {
        Some(1) => error(3, "execution reverted"),
        Some(2) => error(-32005, "slow down"),
        _ => result("first"),
    });
    let second = by_member("second", |_, _| result("second"));
    let proxy = shipped(&[&first, &second]);
    assert_eq!(members(&proxy.post(json::batch(3)).json()), value!([[1, 3], [2, "second"], [3, "first"]]));
    assert!(proxy.cooldown("first") > 0.0, "the rate limit counts");
}

/// An endpoint's single error for a whole batch, and one without an id, reach the client with its
/// ids.
#[test]
fn an_error_without_an_id_is_given_to_each_request() {
    let refusal = |id: &str| format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":3,"message":"no"}}}}"#);
    for id in ["", r#""id":null,"#] {
        let origin = Origin::always("a", Answer::body(refusal(id)));
        let proxy = shipped(&[&origin]);
        assert_eq!(proxy.post(json::request("\"x\"", "eth_call")).text(), refusal("\"id\":\"x\","));
        let each = [1, 2].map(|id| refusal(&format!(r#""id":{id},"#))).join(",");
        assert_eq!(proxy.post(json::batch(2)).text(), format!("[{each}]"));
        origin.answer(Answer::body(format!("[{}]", refusal(id))));
        assert_eq!(proxy.post(json::batch(2)).text(), format!("[{each}]"), "in an array");
    }
}

#[test]
fn a_write_that_failed_is_asked_nobody_else() {
    let first = by_member("first", |id, _| if id == 1 { result("first") } else { error(-32603, "oops") });
    let second = by_member("second", |_, _| result("second"));
    let proxy = shipped(&[&first, &second]);
    let [read, write] = ["eth_call", "eth_sendTransaction"];
    let batch = format!("[{},{},{}]", json::request("1", read), json::request("2", write), json::request("3", read));
    assert_eq!(members(&proxy.post(batch).json()), value!([[1, "first"], [2, -32603], [3, "second"]]));
    assert_eq!(asked(&second), [vec![value!(3)]]);
}

#[test]
fn what_is_missing_doubled_or_out_of_order_is_put_right() {
    let [one, two, three] = [1, 2, 3].map(|id| format!(r#"{{"id":{id},"result":"first"}}"#));
    let other = r#"{"id":2,"result":"a lie"}"#;
    let stranger = r#"{"id":9,"result":"first"}"#;
    for (name, answer, elsewhere) in [
        ("reordered", format!("[{three},{one},{two}]"), None),
        ("with a stranger", format!("[{one},{stranger},{two},{three}]"), None),
        ("doubled alike", format!("[{one},{two},{two},{three}]"), None),
        ("missing", format!("[{one},{three}]"), Some(2)),
        ("doubled with another result", format!("[{one},{two},{other},{three}]"), Some(2)),
        ("a member that says nothing", format!(r#"[{one},{{"id":2}},{three}]"#), Some(2)),
        ("no JSON-RPC among them", format!("[{one},7,{three}]"), Some(2)),
    ] {
        let first = Origin::always("first", Answer::body(answer));
        let second = by_member("second", |_, _| result("second"));
        let proxy = shipped(&[&first, &second]);
        let second_is_asked = if elsewhere.is_some() { "second" } else { "first" };
        let expected = value!([[1, "first"], [2, second_is_asked], [3, "first"]]);
        assert_eq!(members(&proxy.post(json::batch(3)).json()), expected, "{name}");
        let expected: Vec<Vec<Value>> = elsewhere.map(|id| vec![value!(id)]).into_iter().collect();
        assert_eq!(asked(&second), expected, "{name}");
    }
}

#[test]
fn without_a_better_endpoint_every_id_is_answered_once() {
    let origin = by_member("only", |id, _| if id == 2 { None } else { result("only") });
    let proxy = shipped(&[&origin]);
    let response = proxy.post(json::batch(3));
    assert_eq!((response.status, members(&response.json())), (200, value!([[1, "only"], [2, -32000], [3, "only"]])));
}

#[test]
fn members_may_share_an_id_and_notifications_get_nothing() {
    let first = by_member("first", |id, method| match (id, method) {
        (Value::Null, _) => None,
        (_, "eth_gasPrice") => error(-32603, "oops"),
        _ => result("first"),
    });
    let second = by_member("second", |_, _| result("second"));
    let proxy = shipped(&[&first, &second]);
    let notification = r#"{"jsonrpc":"2.0","method":"eth_call"}"#;
    let (call, price) = (json::request("7", "eth_call"), json::request("7", "eth_gasPrice"));
    let response = proxy.post(format!("[{call},{notification},{price}]"));
    assert_eq!(members(&response.json()), value!([[7, "first"], [7, "second"]]));
}

#[test]
fn a_batch_is_split_for_an_endpoint_that_wants_it_smaller() {
    let origin = by_member("small", |_, _| result("small"));
    let conf = Conf::of([&origin]).endpoint(0, |endpoint| endpoint.set("max_batch_size", "2"));
    let proxy = Proxy::start(&conf);
    let response = proxy.post(json::batch(5));
    assert_eq!(
        members(&response.json()),
        value!([[1, "small"], [2, "small"], [3, "small"], [4, "small"], [5, "small"]])
    );
    let mut pieces = asked(&origin);
    pieces.sort_by_key(|ids| ids[0].as_i64());
    assert_eq!(pieces, [vec![value!(1), value!(2)], vec![value!(3), value!(4)], vec![value!(5)]]);
    assert_eq!(proxy.endpoint("small")["attempts"], value!({ "success": 1 }), "it is one attempt");
    assert_eq!(proxy.post(json::batch(2)).status, 200);
    assert_eq!(origin.hits(), 4);
}

#[test]
fn a_piece_that_fails_is_asked_elsewhere() {
    let small = Origin::scripted("small", |request| {
        let text = request.text();
        if text.contains(r#""id":3"#) { Answer::reset() } else { Answer::result("small") }
    });
    let second = by_member("second", |_, _| result("second"));
    let conf = Conf::of([&small, &second]).endpoint(0, |endpoint| endpoint.set("max_batch_size", "2"));
    let proxy = Proxy::start(&conf.with_shipped_policies());
    let expected = value!([[1, "small"], [2, "small"], [3, "second"], [4, "second"], [5, "small"]]);
    assert_eq!(members(&proxy.post(json::batch(5)).json()), expected);
    assert_eq!(asked(&second), [vec![value!(3), value!(4)]]);
    assert_eq!(proxy.endpoint("small")["attempts"], value!({ "reset": 1 }));
}

#[test]
fn a_transaction_that_is_known_already_has_landed() {
    // Keccak-256 of "abc", from the Keccak team's test vectors.
    let hash = "0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45";
    let known = || error(-32000, "already known");
    let origin = by_member("a", move |id, _| if id == 2 { known() } else { result("a") });
    let proxy = shipped(&[&origin]);
    let raw = r#"{"jsonrpc":"2.0","id":2,"method":"eth_sendRawTransaction","params":["0x616263"]}"#;
    let batch = format!("[{},{raw}]", json::request("1", "eth_call"));
    assert_eq!(members(&proxy.post(batch).json()), value!([[1, "a"], [2, hash]]));
    origin.answer(Answer::rpc_error(-32000, "already known"));
    assert_eq!(proxy.post(raw).json(), value!({ "jsonrpc": "2.0", "id": 2, "result": hash }));
    assert_eq!(proxy.endpoint("a")["consecutive_failures"], 0);
}
