//! Endpoint failures are hidden from clients.
//!
//! Each case runs with the native policies and with the shipped ones, `tiers` and `json-rpc-retry`.

use std::time::{Duration, Instant};

use serde_json::json as value;

use crate::support::{Answer, Conf, Greeting, Guest, Origin, Proxy, json, wait_until};

/// Timeout of an attempt if a test has to wait for it.
const SHORT: &str = "'300ms'";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policies {
    Native,
    Shipped,
}

const BOTH: [Policies; 2] = [Policies::Native, Policies::Shipped];

/// Both concurrently: a test mostly waits.
fn with_both(test: impl Fn(Policies) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for policies in BOTH {
            scope.spawn(move || test(policies));
        }
    });
}

impl Policies {
    fn of(self, conf: Conf) -> Conf {
        match self {
            Policies::Native => conf,
            Policies::Shipped => conf.with_shipped_policies(),
        }
    }
}

/// A fault of an origin and the outcome of its attempts.
struct Fault {
    name: &'static str,
    make: fn() -> Origin,
    outcome: &'static str,
    /// Nothing was sent, or the origin certainly executed nothing.
    nothing_sent: bool,
    /// The shipped policy cools the endpoint; the native one always does.
    cools: bool,
    /// Another endpoint gets an idempotent write.
    raw_write_moves: bool,
    /// The shipped policy penalises the endpoint; the native one always does.
    penalised: bool,
}

const fn fault(name: &'static str, outcome: &'static str, make: fn() -> Origin) -> Fault {
    Fault { name, make, outcome, nothing_sent: false, cools: true, raw_write_moves: true, penalised: true }
}

fn bad(answer: Answer) -> Origin {
    Origin::always("bad", answer)
}

fn faults() -> Vec<Fault> {
    vec![
        Fault { nothing_sent: true, ..fault("connection refused", "connect_failed", || Origin::refusing("bad")) },
        fault("reset before the request is read", "reset", || {
            let origin = Origin::start("bad");
            origin.greet(Greeting::Reset);
            origin
        }),
        fault("reset after the request", "reset", || bad(Answer::reset())),
        fault("closed after the request", "reset", || bad(Answer::close())),
        fault("reset in the head", "reset", || bad(Answer::raw("HTTP/1.1 200 OK\r\ncontent-le").then_reset())),
        fault("reset in the body", "reset", || bad(Answer::result("bad").cut_after(10).then_reset())),
        fault("closed in a chunked body", "reset", || bad(Answer::result("bad").chunked(5).cut_after(12).then_close())),
        fault("a body shorter than announced", "reset", || bad(Answer::result("bad").announcing(1_000).then_close())),
        fault("no answer", "timeout", || bad(Answer::hang())),
        fault("never reads", "timeout", || {
            let origin = Origin::start("bad");
            origin.greet(Greeting::Ignore);
            origin
        }),
        fault("half an answer", "timeout", || bad(Answer::result("bad").cut_after(10).then_hang())),
        Fault { raw_write_moves: false, ..fault("500", "http_error", || bad(Answer::status(500))) },
        Fault { raw_write_moves: false, ..fault("503", "http_error", || bad(Answer::status(503).chunked(7))) },
        limited("429", "http_error", || bad(Answer::status(429))),
        limited("limit exceeded", "rpc_error", || bad(Answer::rpc_error(-32005, "slow down"))),
        limited("429 and limit exceeded", "http_error", || bad(Answer::rpc_error(-32005, "slow").with_status(429))),
        Fault {
            raw_write_moves: false,
            ..fault("internal error", "rpc_error", || bad(Answer::rpc_error(-32603, "oops")))
        },
        no_json_rpc("a page for people", || bad(Answer::status(200))),
        no_json_rpc("JSON that is no answer", || bad(Answer::body(r#"{"status":"ok"}"#))),
        no_json_rpc("half a JSON text", || bad(Answer::body(r#"{"id":1,"result":"bad"#))),
        no_json_rpc("gzip", || bad(Answer::result("bad").header("content-encoding", "gzip"))),
        no_json_rpc("no HTTP", || bad(Answer::raw("220 mail.example ESMTP\r\n\r\n").then_close())),
    ]
}

const fn no_json_rpc(name: &'static str, make: fn() -> Origin) -> Fault {
    Fault { cools: false, raw_write_moves: false, ..fault(name, "bad_response", make) }
}

/// Reaching a limit is not a failure: a cooldown is the only effect.
const fn limited(name: &'static str, outcome: &'static str, make: fn() -> Origin) -> Fault {
    Fault { penalised: false, ..fault(name, outcome, make) }
}

/// The bad origin is preferred.
fn start(fault: &Fault, policies: Policies) -> (Origin, Origin, Proxy) {
    let (bad, good) = ((fault.make)(), Origin::start("good"));
    let proxy = Proxy::start(&policies.of(Conf::of([&bad, &good]).client("timeout", SHORT)));
    (bad, good, proxy)
}

#[test]
fn reads_are_answered_by_the_good_endpoint_and_the_bad_one_is_left_alone() {
    with_both(|policies| {
        for fault in faults() {
            let name = fault.name;
            let (_bad, good, proxy) = start(&fault, policies);
            let mut client = proxy.client();
            assert_eq!(client.post(json::READ).result(), "good", "{name}, {policies:?}");
            let endpoint = proxy.endpoint("bad");
            assert_eq!(endpoint["attempts"], value!({ fault.outcome: 1 }), "{name}, {policies:?}");
            let penalised = fault.penalised || policies == Policies::Native;
            assert_eq!(endpoint["consecutive_failures"], u32::from(penalised), "{name}, {policies:?}");
            assert_eq!(endpoint["penalty_ms"].as_f64() > Some(1_000.0), penalised, "{name}, {policies:?}: {endpoint}");
            let cools = fault.cools || policies == Policies::Native;
            assert_eq!(endpoint["available"], !cools, "{name}, {policies:?}: {endpoint}");
            if cools {
                assert_eq!(client.post(json::batch(2)).json()[1]["result"], "good", "{name}, {policies:?}");
                assert_eq!(proxy.endpoint("bad")["attempts"], value!({ fault.outcome: 1 }), "{name}, {policies:?}");
            }
            assert_eq!(proxy.endpoint("good")["attempts"]["success"], good.hits(), "{name}, {policies:?}");
        }
    });
}

#[test]
fn a_write_that_was_sent_goes_to_no_other_endpoint() {
    with_both(|policies| {
        for fault in faults() {
            let (bad, good, proxy) = start(&fault, policies);
            let response = proxy.post(json::WRITE);
            if fault.nothing_sent {
                assert_eq!(response.result(), "good", "{}, {policies:?}", fault.name);
                continue;
            }
            assert_eq!(good.hits(), 0, "{}, {policies:?}", fault.name);
            assert!(bad.hits() <= 1, "{}, {policies:?}: sent {} times", fault.name, bad.hits());
            assert!(response.json()["error"]["code"].is_i64(), "{}, {policies:?}", fault.name);
            assert_eq!(response.json()["id"], 1, "{}, {policies:?}", fault.name);
        }
    });
}

#[test]
fn a_write_that_may_be_repeated_goes_to_another_endpoint() {
    with_both(|policies| {
        for fault in faults() {
            if policies == Policies::Shipped && !fault.raw_write_moves {
                continue;
            }
            // A node that answers with an error has seen the transaction: the native policy retries
            // only broken attempts.
            if fault.name == "internal error" {
                continue;
            }
            let (_bad, good, proxy) = start(&fault, policies);
            assert_eq!(proxy.post(json::RAW_WRITE).result(), "good", "{}, {policies:?}", fault.name);
            assert_eq!(good.hits(), 1);
        }
    });
}

#[test]
fn a_batch_with_a_write_is_a_write() {
    with_both(|policies| {
        let (bad, good) = (bad(Answer::reset()), Origin::start("good"));
        let proxy = Proxy::start(&policies.of(Conf::of([&bad, &good])));
        let batch = format!("[{},{}]", json::READ, json::request("2", "eth_sendTransaction"));
        let response = proxy.post(&batch);
        assert_eq!((bad.hits(), good.hits()), (1, 0));
        assert_eq!(response.status, 502);
        assert_eq!(response.json()[1]["id"], 2);
        // An unknown method may be a write, too.
        wait_until("the answer is settled", || proxy.endpoint("bad")["in_flight"] == 0);
        assert_eq!(proxy.post(json::request("3", "admin_addPeer")).result(), "good");
        assert_eq!(proxy.post(json::request("4", "eth_call")).result(), "good");
    });
}

#[test]
fn an_endpoint_cools_as_long_as_retry_after_says() {
    with_both(|policies| {
        for answer in [Answer::status(429), Answer::rpc_error(-32005, "slow down")] {
            let (bad, good) = (bad(answer.header("retry-after", "7")), Origin::start("good"));
            let proxy = Proxy::start(&policies.of(Conf::of([&bad, &good])));
            assert_eq!(proxy.post(json::READ).result(), "good");
            let seconds = proxy.cooldown("bad");
            assert!(seconds > 4.0 && seconds <= 7.0, "{policies:?}: {seconds}");
        }
    });
}

#[test]
fn cooldowns_grow_and_end_with_a_success() {
    let origin = bad(Answer::status(500));
    let conf = Conf::of([&origin]).cooldown("base", "'10s'").cooldown("max", "'60s'");
    let proxy = Proxy::start(&conf);
    let cooldowns = || proxy.metrics().sum("endpoint_cooldowns_total", &[("endpoint", "bad")]);
    for _ in 0..3 {
        assert_eq!(proxy.post(json::READ).status, 502);
    }
    // Failures during a cooldown count as one event.
    assert!(proxy.cooldown("bad") > 15.0 && proxy.cooldown("bad") <= 20.0);
    assert_eq!(cooldowns(), 1.0);
    assert_eq!(proxy.admin("GET", "/health").json()["status"], "degraded");
    origin.answer(Answer::result("bad"));
    assert_eq!(proxy.post(json::READ).result(), "bad");
    assert_eq!(proxy.cooldown("bad"), 0.0);
    assert_eq!(proxy.admin("GET", "/health").json()["status"], "ok");
}

#[test]
fn attempts_are_no_more_than_max_attempts_each_at_another_endpoint() {
    with_both(|policies| {
        for max in [1, 2, 4] {
            let origins: Vec<Origin> = ["a", "b", "c", "d", "e"].map(|n| Origin::always(n, Answer::status(503))).into();
            let proxy = Proxy::start(&policies.of(Conf::of(&origins).set("max_attempts", &max.to_string())));
            assert_eq!(proxy.post(json::READ).status, 502);
            let hits: Vec<usize> = origins.iter().map(Origin::hits).collect();
            assert_eq!(hits.iter().sum::<usize>(), max, "{policies:?}");
            assert!(hits.iter().all(|&hits| hits <= 1), "{policies:?}: {hits:?}");
        }
    });
}

#[test]
fn a_policy_that_always_wants_to_retry_gets_no_more_than_is_safe() {
    let origins: Vec<Origin> = ["a", "b", "c", "d"].map(|n| Origin::always(n, Answer::status(503))).into();
    let guest = Guest::new("stubborn", "1.0.0").always_retries();
    let proxy = Proxy::start(&Conf::of(&origins).retried_by(&guest));
    let hits = || origins.iter().map(Origin::hits).sum::<usize>();
    assert_eq!(proxy.post(json::WRITE).status, 502);
    assert_eq!(hits(), 1);
    assert_eq!(proxy.post(json::READ).status, 502);
    assert_eq!(hits(), 1 + 3);
}

#[test]
fn an_endpoints_own_error_is_passed_on() {
    let reverted = r#"{"jsonrpc":"2.0", "id":1,"error":{"code":3,"message":"execution reverted","data":"0x08c3"}}"#;
    with_both(|policies| {
        let (first, second) = (Origin::start("first"), Origin::start("second"));
        first.answer(Answer::body(reverted));
        let proxy = Proxy::start(&policies.of(Conf::of([&first, &second])));
        // The error is the answer: no other endpoint is tried, and the endpoint isn't penalised.
        let response = proxy.post(json::READ);
        assert_eq!((response.status, response.text().as_str()), (200, reverted), "{policies:?}");
        assert_eq!(second.hits(), 0);
        assert_eq!(proxy.endpoint("first")["consecutive_failures"], 0, "{policies:?}");

        // If all fail, the last one's own error is better than the proxy's.
        first.answer(Answer::status(500));
        second.answer(Answer::rpc_error(-32603, "disk full"));
        let response = proxy.post(json::READ);
        assert_eq!((response.status, response.error_code()), (200, -32603), "{policies:?}");
        assert_eq!(response.json()["error"]["message"], "disk full");
    });
}

#[test]
fn the_deadline_ends_it_all() {
    with_both(|policies| {
        let origins: Vec<Origin> = ["a", "b", "c"].map(|name| Origin::always(name, Answer::hang())).into();
        let conf = Conf::of(&origins).set("deadline", "'500ms'").client("timeout", SHORT);
        let proxy = Proxy::start(&policies.of(conf));
        let began = Instant::now();
        let response = proxy.post(json::batch(2));
        let took = began.elapsed();
        assert_eq!(response.status, 504, "{policies:?}");
        assert_eq!(response.json()[1]["error"]["code"], -32000);
        assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(3), "{policies:?}: {took:?}");
        let hits: Vec<usize> = origins.iter().map(Origin::hits).collect();
        assert_eq!(hits, [1, 1, 0], "{policies:?}");
    });
}

#[test]
fn an_endpoint_is_not_blamed_for_the_deadline() {
    let fails_late = Answer::status(503).after(Duration::from_millis(700));
    let slow = Answer::result("slow").after(Duration::from_millis(600));
    let origins = [Origin::always("late", fails_late), Origin::always("slow", slow)];
    let proxy = Proxy::start(&Conf::of(&origins).set("deadline", "'800ms'"));
    assert_eq!(proxy.post(json::READ).status, 504);
    wait_until("the second attempt is given up", || origins[1].abandoned() == 1);
    let slow = proxy.endpoint("slow");
    assert_eq!((&slow["attempts"], &slow["available"]), (&value!({ "canceled": 1 }), &value!(true)), "{slow}");
    assert_eq!(proxy.endpoint("late")["available"], false);
}

#[test]
fn when_all_are_dead_every_id_is_told_and_recovery_is_instant() {
    with_both(|policies| {
        let origins = [Origin::refusing("a"), Origin::refusing("b")];
        let proxy = Proxy::start(&policies.of(Conf::of(&origins)));
        let batch = r#"[{"id":"x","method":"eth_call"},{"method":"eth_call"},{"id":2.50,"method":"eth_call"}]"#;
        // The second time all are in cooldown and are tried nevertheless.
        for _ in 0..2 {
            let response = proxy.post(batch);
            assert_eq!(response.status, 502, "{policies:?}");
            let error = r#""error":{"code":-32000,"message":"the endpoints that were tried failed"}"#;
            let expected = format!(r#"[{{"jsonrpc":"2.0","id":"x",{error}}},{{"jsonrpc":"2.0","id":2.50,{error}}}]"#);
            assert_eq!(response.text(), expected, "{policies:?}");
        }
        assert!(proxy.cooldown("a") > 0.0 && proxy.cooldown("b") > 0.0, "{policies:?}");
        assert_eq!(proxy.admin("GET", "/health").json()["degraded"], value!(["main"]));

        origins.iter().for_each(Origin::restart);
        assert_eq!(proxy.post(json::READ).status, 200, "{policies:?}");
        wait_until("health is back", || proxy.admin("GET", "/health").json()["status"] == "ok");
    });
}

/// Since version 1.2; excluding all endpoints otherwise is a fault.
#[test]
fn a_policy_that_refuses_a_request_is_obeyed() {
    let origin = Origin::start("a");
    let refuse = "(i32.store offset=32 (local.get $request)
                    (i32.or (i32.load offset=32 (local.get $request)) (i32.const 0x80000000)))";
    let guest = Guest::new("picky", "1.0.0").abi(1, 2).score(refuse);
    let proxy = Proxy::start(&Conf::of([&origin]).scored_by(&guest));
    let response = proxy.post(json::batch(2));
    assert_eq!(response.status, 503);
    let error = &response.json()[1]["error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (&value!(-32002), &value!("the scoring policy refuses this request"))
    );
    assert_eq!(origin.hits(), 0);
}

#[test]
fn an_endpoint_of_weight_0_is_never_asked() {
    let (first, second) = (Origin::refusing("first"), Origin::start("second"));
    let conf = Conf::of([&first, &second]).endpoint(1, |endpoint| endpoint.weight(0));
    let proxy = Proxy::start(&conf);
    for _ in 0..2 {
        assert_eq!(proxy.post(json::READ).status, 502);
    }
    assert_eq!(second.hits(), 0);
}
