//! Hedges of slow attempts, and the retry budget, which limits retries and hedges together.

use std::time::{Duration, Instant};

use serde_json::json as value;

use crate::support::{Answer, Conf, Gate, Guest, Origin, Proxy, json, wait_until};

/// A retry policy that always retries, and hedges after `ms` milliseconds.
fn hedges_after(ms: u32) -> Guest {
    let plan = format!(
        r#"(func (export "pointsman_plan") (param $request i32) (param $row i32) (param $plan i32)
             (f32.store offset=12 (local.get $plan) (f32.const {ms})))"#
    );
    Guest::new("hedger", "1.0.0").always_retries().extra(&plan)
}

fn total(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().sum(name, &[("upstream", "main")])
}

#[test]
fn a_read_that_takes_long_is_sent_to_a_second_endpoint() {
    let (slow, fast) = (Origin::always("slow", Answer::hang()), Origin::start("fast"));
    let proxy = Proxy::start(&Conf::of([&slow, &fast]).retried_by(&hedges_after(50)));
    let began = Instant::now();
    assert_eq!(proxy.post(json::READ).result(), "fast");
    assert!(began.elapsed() >= Duration::from_millis(50));
    wait_until("the loser is canceled", || slow.abandoned() == 1);
    assert_eq!(proxy.endpoint("slow")["attempts"], value!({ "canceled": 1 }));
    assert_eq!(proxy.endpoint("fast")["attempts"], value!({ "success": 1 }));
    for endpoint in ["slow", "fast"] {
        assert_eq!(proxy.endpoint(endpoint)["in_flight"], 0);
    }
    assert!(proxy.endpoint("slow")["latency_ms"].as_f64() >= Some(50.0), "its time counts");
    assert_eq!((total(&proxy, "hedges_total"), total(&proxy, "hedges_won_total")), (1.0, 1.0));
    let winner = r#"endpoint="fast" attempts=2 outcome="success""#;
    wait_until("the access log names the winner", || proxy.log().contains(winner));
}

#[test]
fn the_first_attempt_may_still_win() {
    let gate = Gate::new();
    let first = Origin::always("first", Answer::result("first").held_by(&gate));
    let second = Origin::always("second", Answer::hang());
    let proxy = Proxy::start(&Conf::of([&first, &second]).retried_by(&hedges_after(10)));
    let mut client = proxy.client();
    client.send(crate::support::post("/", &[], json::READ));
    wait_until("both are asked", || second.hits() == 1);
    gate.open();
    assert_eq!(client.read().result(), "first");
    assert_eq!((total(&proxy, "hedges_total"), total(&proxy, "hedges_won_total")), (1.0, 0.0));
    assert_eq!(proxy.endpoint("second")["attempts"], value!({ "canceled": 1 }));
}

#[test]
fn a_hedge_that_fails_is_no_answer() {
    let gate = Gate::new();
    let first = Origin::always("first", Answer::result("first").held_by(&gate));
    let second = Origin::always("second", Answer::status(500));
    let proxy = Proxy::start(&Conf::of([&first, &second]).retried_by(&hedges_after(10)));
    let mut client = proxy.client();
    client.send(crate::support::post("/", &[], json::READ));
    wait_until("the hedge has failed", || proxy.endpoint("second")["attempts"] == value!({ "http_error": 1 }));
    gate.open();
    assert_eq!(client.read().result(), "first");
}

#[test]
fn when_both_fail_a_third_endpoint_is_asked() {
    let slow_failure = Answer::status(503).after(Duration::from_millis(100));
    let origins = [Origin::always("a", slow_failure), Origin::always("b", Answer::status(500)), Origin::start("c")];
    let proxy = Proxy::start(&Conf::of(&origins).retried_by(&hedges_after(10)));
    assert_eq!(proxy.post(json::READ).result(), "c");
    assert_eq!(origins.each_ref().map(Origin::hits), [1, 1, 1]);
    assert_eq!((total(&proxy, "hedges_total"), total(&proxy, "retries_total")), (1.0, 1.0));
}

#[test]
fn writes_are_never_hedged() {
    let (slow, fast) =
        (Origin::always("slow", Answer::result("slow").after(Duration::from_millis(150))), Origin::start("fast"));
    let proxy = Proxy::start(&Conf::of([&slow, &fast]).retried_by(&hedges_after(10)));
    for write in [json::WRITE, json::RAW_WRITE] {
        assert_eq!(proxy.post(write).result(), "slow");
    }
    let batch = format!("[{},{}]", json::READ, json::request("2", "eth_sendTransaction"));
    assert_eq!(proxy.post(batch).json()[0]["result"], "slow");
    assert_eq!((fast.hits(), total(&proxy, "hedges_total")), (0, 0.0));
}

#[test]
fn a_hedge_counts_as_an_attempt() {
    let origins = [Origin::always("a", Answer::hang()), Origin::start("b")];
    let conf = Conf::of(&origins).set("max_attempts", "1").client("timeout", "'300ms'").retried_by(&hedges_after(10));
    let proxy = Proxy::start(&conf);
    assert_eq!(proxy.post(json::READ).status, 504);
    assert_eq!(origins[1].hits(), 0);
}

#[test]
fn the_shipped_policy_hedges_by_what_it_has_seen() {
    let (first, second) = (Origin::start("first"), Origin::start("second"));
    let proxy = Proxy::start(&Conf::of([&first, &second]).with_shipped_policies());
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.post(json::READ).result(), "first");
    }
    let hits = second.hits();
    first.answer(Answer::hang());
    assert_eq!(client.post(json::READ).result(), "second");
    assert_eq!(second.hits(), hits + 1);
    assert!(total(&proxy, "hedges_won_total") >= 1.0);
}

#[test]
fn an_outage_is_not_amplified() {
    let origins: Vec<Origin> = ["a", "b", "c", "d"].map(|name| Origin::always(name, Answer::status(503))).into();
    let conf = Conf::of(&origins)
        .set("max_attempts", "4")
        .set("retry_budget", "{ share = 0.1, floor_per_sec = 1 }")
        .with_shipped_policies();
    let proxy = Proxy::start(&conf);
    let mut client = proxy.client();
    for _ in 0..500 {
        assert_eq!(client.post(json::READ).status, 502);
    }
    let attempts: usize = origins.iter().map(Origin::hits).sum();
    let retries = total(&proxy, "retries_total");
    assert_eq!(attempts as f64, 500.0 + retries);
    // A tenth of the requests and ten per window. If the window changed in between, the floor is
    // granted again.
    assert!((50.0..=80.0).contains(&retries), "{retries} retries");
    assert!(total(&proxy, "retry_budget_exhausted_total") > 0.0);
}

#[test]
fn without_a_budget_there_is_one_attempt() {
    let origins: Vec<Origin> = ["a", "b"].map(|name| Origin::always(name, Answer::status(503))).into();
    let conf = Conf::of(&origins).set("retry_budget", "{ share = 0, floor_per_sec = 0 }").with_shipped_policies();
    let proxy = Proxy::start(&conf);
    assert_eq!(proxy.post(json::READ).status, 502);
    assert_eq!(origins.iter().map(Origin::hits).sum::<usize>(), 1);
}
