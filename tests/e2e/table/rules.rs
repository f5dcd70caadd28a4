//! Effects of single rows beyond retries: preferences, corrected answers, remembered state.

use serde_json::{Value, json as value};

use super::BACKOFF;
use crate::support::{Answer, Conf, Origin, Proxy, json, wait_until};

/// Keccak-256 of "abc", from the Keccak team's test vectors.
const ABC: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0x616263"]}"#;
const HASH_OF_ABC: &str = "0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45";

/// An upstream with the shipped policies.
fn shipped<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Proxy {
    Proxy::start(&Conf::of(origins).with_shipped_policies())
}

fn with_message(name: &str, code: i64, message: &str) -> Origin {
    Origin::always(name, Answer::rpc_error(code, message))
}

fn all_hits(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::hits).collect()
}

#[test]
fn row_2_only_an_endpoint_with_a_larger_range_is_asked_next() {
    let too_large = |name| with_message(name, -32005, "query returned more than 10000 results");
    let logs = json::request("1", "eth_getLogs");
    let ranges = [Some("1000"), Some("1000"), Some("500"), Some("2000"), None];
    let conf = |origins: &[Origin]| {
        origins.iter().zip(ranges).enumerate().fold(Conf::of(origins), |conf, (n, (_, range))| match range {
            Some(range) => conf.endpoint(n, |endpoint| endpoint.set("max_block_range", range)),
            None => conf,
        })
    };
    let origins = ["a", "b", "c", "d", "unknown"].map(too_large);
    let proxy = Proxy::start(&conf(&origins).set("max_attempts", "9").with_shipped_policies());
    let response = proxy.post(&logs);
    assert_eq!((response.status, response.error_code()), (200, -32005), "row 2: the error is passed on");
    assert_eq!(all_hits(&origins), [1, 0, 0, 1, 1], "row 2");
    origins[3].answer(Answer::result("d"));
    assert_eq!(proxy.post(&logs).result(), "d", "row 2");
    assert_eq!(all_hits(&origins), [2, 0, 0, 2, 1], "row 2");

    // A failure of another kind in between has no effect on ranges.
    origins[3].answer(Answer::status(503));
    assert_eq!(proxy.post(&logs).error_code(), -32005, "row 2");
    assert_eq!(all_hits(&origins), [3, 0, 0, 3, 2], "row 2: the smaller ones are still of no use");

    let smaller = ["a", "b", "c"].map(too_large);
    let proxy = Proxy::start(&conf(&smaller).with_shipped_policies());
    assert_eq!(proxy.post(&logs).error_code(), -32005, "row 2: nobody allows more");
    assert_eq!(all_hits(&smaller), [1, 0, 0], "row 2");
}

#[test]
fn row_6_a_known_transaction_is_answered_with_its_hash() {
    for message in ["already known", "transaction already imported", "known transaction: 1a2b"] {
        let origins = [Origin::always("a", Answer::reset()), with_message("b", -32000, message), Origin::start("c")];
        let expected = value!({ "jsonrpc": "2.0", "id": 1, "result": HASH_OF_ABC });
        assert_eq!(shipped(&origins[1..]).post(ABC).json(), expected, "row 6, {message}");
        let proxy = shipped(&origins);
        assert_eq!(proxy.post(ABC).json(), expected, "row 6, {message}, after a reset");
        assert_eq!(all_hits(&origins), [1, 2, 0], "row 6, {message}");
        assert_eq!(proxy.endpoint("b")["consecutive_failures"], 0, "row 6, {message}");
    }
}

#[test]
fn row_7_a_nonce_that_was_used_meanwhile_is_told_as_it_is() {
    for prior in [Some(Answer::reset()), Some(Answer::close()), None] {
        let first = Origin::always("a", prior.clone().unwrap_or(Answer::rpc_error(-32000, "nonce too low")));
        let origins = [first, with_message("b", -32000, "nonce too low"), Origin::start("c")];
        let proxy = shipped(&origins);
        let error = value!({ "code": -32000, "message": "nonce too low" });
        assert_eq!(proxy.post(ABC).json()["error"], error, "row 7");
        assert_eq!(all_hits(&origins), [1, usize::from(prior.is_some()), 0], "row 7");
        assert_eq!(proxy.endpoint("b")["penalty_ms"], 0.0, "row 7");
    }
}

#[test]
fn row_8_an_archive_comes_next_whatever_its_weight() {
    let [lacking, plain, archive] = ["lacking", "plain", "archive"].map(Origin::start);
    lacking.answer(Answer::rpc_error(-32000, "missing trie node"));
    let conf = Conf::of([&lacking, &plain, &archive]).endpoint(2, |e| e.weight(1).set("tags", "['archive']"));
    let proxy = Proxy::start(&conf.with_shipped_policies());
    assert_eq!(proxy.post(json::READ).result(), "archive", "row 8");
    assert_eq!(proxy.post(json::batch(2)).json()[1]["result"], "archive", "row 8, a batch");
    archive.answer(Answer::rpc_error(-32000, "header not found"));
    assert_eq!(proxy.post(json::READ).result(), "plain", "row 8: then the others");
    assert_eq!((lacking.hits(), plain.hits(), archive.hits()), (3, 1, 3));
}

#[test]
fn row_8_a_solana_node_that_is_behind_is_no_rate_limit() {
    for (chain, cools) in [("'solana'", false), ("'ethereum'", true)] {
        let (behind, good) = (with_message("behind", -32005, "Node is behind by 42 slots"), Origin::start("good"));
        let conf = Conf::of([&behind, &good]).set("chain", chain).set("read_methods", "['getSlot']");
        let proxy = Proxy::start(&conf.with_shipped_policies());
        assert_eq!(proxy.post(json::request("1", "getSlot")).result(), "good", "row 8, {chain}");
        assert_eq!(proxy.cooldown("behind") > 0.0, cools, "row 8, {chain}");
        assert_eq!(proxy.endpoint("behind")["penalty_ms"], 0.0, "row 8, {chain}");
    }
}

#[test]
fn rows_10_and_17_three_failures_in_a_row_cool_and_a_revert_ends_the_row() {
    let (bad, good) = (Origin::start("bad"), Origin::start("good"));
    let conf = Conf::of([&bad, &good]).with_shipped_policies();
    let conf = conf.set("retry_budget", "{ share = 10, floor_per_sec = 1000 }").set("exclude_outliers", "false");
    let proxy = Proxy::start(&conf);
    let failures = || proxy.endpoint("bad")["consecutive_failures"].as_u64();
    for message in ["execution timeout", "something else"] {
        for n in 1..=2 {
            bad.answer(Answer::rpc_error(-32000, message));
            assert_eq!(proxy.post(json::READ).result(), "good", "row 17, {message}");
            assert_eq!((failures(), proxy.cooldown("bad")), (Some(n), 0.0), "row 17, {message}");
        }
        bad.answer(Answer::rpc_error(3, "execution reverted"));
        assert_eq!((proxy.post(json::READ).error_code(), failures()), (3, Some(0)), "row 10");
    }
    bad.answer(Answer::body("no JSON"));
    // Not within a second after a good answer.
    wait_until("row 17, the third", || {
        assert_eq!(proxy.post(json::READ).result(), "good", "row 17");
        proxy.cooldown("bad") > BACKOFF
    });
    assert!(failures() >= Some(3));
}

#[test]
fn row_11_a_replay_may_differ_from_node_to_node() {
    for (method, moves) in [("debug_traceTransaction", true), ("trace_call", true), ("eth_estimateGas", false)] {
        let (bad, good) = (with_message("bad", -32000, "insufficient funds for transfer"), Origin::start("good"));
        let response = shipped([&bad, &good]).post(json::request("1", method));
        assert_eq!(response.json()["result"] == "good", moves, "row 11, {method}");
        assert_eq!(response.json()["error"]["code"] == -32000, !moves, "row 11, {method}");
    }
}

#[test]
fn row_13_another_pool_is_tried_once_and_no_more() {
    let origins =
        [with_message("a", -32003, "rejected by a"), with_message("b", -32003, "rejected by b"), Origin::start("c")];
    assert_eq!(shipped(&origins).post(ABC).json()["error"]["message"], "rejected by b", "row 13");
    assert_eq!(all_hits(&origins), [1, 1, 0], "row 13");
}

#[test]
fn row_14_the_method_goes_elsewhere_from_now_on_and_all_else_stays() {
    let (bad, good) = (Origin::start("bad"), Origin::start("good"));
    bad.script(|request| match request.text().contains("trace_block") {
        true => Answer::rpc_error(-32601, "the method trace_block does not exist"),
        false => Answer::result("bad"),
    });
    let proxy = shipped([&bad, &good]);
    let (trace, call) = (json::request("1", "trace_block"), json::request("2", "eth_call"));
    for n in 1..=3 {
        assert_eq!(proxy.post(&trace).result(), "good", "row 14");
        assert_eq!((bad.hits(), good.hits()), (1, n), "row 14: it is asked for the method once");
    }
    assert_eq!(proxy.endpoint("bad")["banned_methods"], value!(["trace_block"]), "row 14");
    assert_eq!(proxy.endpoint("bad")["available"], true, "row 14");
    assert_eq!(proxy.post(&call).result(), "bad", "row 14: other methods");
    assert_eq!(proxy.post(json::batch(2)).json()[0]["result"], "bad", "row 14: other batches");
    let batch = proxy.post(format!("[{call},{trace}]")).json();
    assert_eq!(batch[0]["result"], "good", "row 14: a batch with that method: {batch}");
    // The endpoint is the only one left and may support the method by now.
    good.stop();
    bad.answer(Answer::result("bad"));
    assert_eq!(proxy.post(&trace).result(), "bad", "row 14: nobody else");
}

#[test]
fn row_14_a_member_of_a_batch_names_the_method_and_a_whole_batch_does_not() {
    let (bad, good) = (Origin::start("bad"), Origin::start("good"));
    let proxy = shipped([&bad, &good]);
    let banned = || proxy.endpoint("bad")["banned_methods"].clone();
    bad.answer(Answer::status(405));
    assert_eq!(proxy.post(json::batch(2)).json()[1]["result"], "good", "row 14");
    assert!(banned().is_null(), "row 14: batches may be what it doesn't take");
    let members = r#"[{"id":1,"result":"bad"},{"id":2,"error":{"code":-32601,"message":"no such method"}}]"#;
    bad.answer(Answer::body(members));
    let batch = format!("[{},{}]", json::request("1", "eth_call"), json::request("2", "trace_block"));
    let answer: Value = proxy.post(batch).json();
    assert_eq!((&answer[0]["result"], &answer[1]["result"]), (&value!("bad"), &value!("good")), "row 14");
    assert_eq!(banned(), value!(["trace_block"]), "row 14");
}

#[test]
fn row_15_the_operator_is_told() {
    let (bad, good) = (Origin::always("bad", Answer::status(401)), Origin::start("good"));
    let proxy = shipped([&bad, &good]);
    assert_eq!(proxy.post(json::READ).result(), "good", "row 15");
    let warning = |line: &str| line.contains("WARN") && line.contains("refuses its credentials");
    wait_until("row 15: the log has a warning", || proxy.log().lines().any(warning));
}

#[test]
fn row_18_what_may_have_been_done_is_not_done_again() {
    for (chain, method, moves) in [
        ("'ethereum'", "eth_newFilter", false),
        ("'ethereum'", "eth_getLogs", true),
        ("'solana'", "sendTransaction", false),
        ("'solana'", "getBalance", true),
    ] {
        for answer in [Answer::reset(), Answer::hang()] {
            let (bad, good) = (Origin::always("bad", answer), Origin::start("good"));
            let conf = Conf::of([&bad, &good]).set("chain", chain).client("timeout", "'300ms'");
            let response = Proxy::start(&conf.with_shipped_policies()).post(json::request("1", method));
            assert_eq!((response.status == 200, good.hits() == 1), (moves, moves), "row 18, {method}");
        }
    }
}
