//! Canary policies, their promotion and removal.

use std::time::Duration;

use serde_json::{Value, json as value};

use crate::support::{Answer, Conf, Guest, Origin, Proxy, json, under_load, wait_until};

/// Clients of the tests under load.
const CLIENTS: usize = 8;
/// Requests of each policy that are compared.
const MIN_REQUESTS: u64 = 50;

/// The conf with `guest` as the canary, and these keys beside `policy` and `min_requests`.
fn with_canary(conf: Conf, guest: &Guest, keys: &str) -> Conf {
    let canary = format!("{{ policy = '{}', min_requests = {MIN_REQUESTS}, {keys} }}", guest.name());
    conf.guest(guest).set("canary", &canary)
}

/// Failed endpoints are eligible again at once, so only the guard rails protect against a bad
/// policy.
fn without_cooldown(conf: Conf) -> Conf {
    conf.cooldown("base", "'1ms'").cooldown("max", "'1ms'")
}

fn live() -> Guest {
    Guest::in_order("live", "1.0.0", false)
}

/// Prefers the last endpoint.
fn next() -> Guest {
    Guest::in_order("next", "2.0.0", true)
}

fn canary(proxy: &Proxy) -> Value {
    proxy.status()["upstreams"]["main"]["canary"].clone()
}

/// Loads the proxy, which must answer every request well, until the canary is taken out. Returns
/// its status and the number of answers.
fn until_taken_out(proxy: &Proxy) -> (Value, u64) {
    let answers = under_load(
        proxy,
        CLIENTS,
        Duration::ZERO,
        |response| assert!(response.json().get("result").is_some(), "{}", response.text()),
        |load| wait_until("it is taken out", || load.has_failed() || canary(proxy)["state"] == "taken_out"),
    );
    (canary(proxy), answers as u64)
}

#[test]
fn a_canary_that_chooses_badly_is_taken_out_and_clients_get_good_answers() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let bad = Origin::always("bad", Answer::status(503));
    let conf = without_cooldown(Conf::of([&a, &b, &bad]).scored_by(&live()));
    let proxy = Proxy::start(&with_canary(conf.clone(), &next(), "percent = 10"));
    let before = canary(&proxy);
    assert_eq!(
        (&before["state"], &before["percent"], &before["version"]),
        (&value!("running"), &value!(10.0), &value!("2.0.0"))
    );
    assert_eq!(proxy.metrics().sum("canary_running", &[("upstream", "main"), ("policy", "next")]), 1.0);

    let (after, answers) = until_taken_out(&proxy);
    let reason = after["reason"].as_str().unwrap();
    assert!(reason.contains("attempts in the mean"), "{reason}");
    let decided = after["requests"].as_u64().unwrap();
    assert!(decided >= MIN_REQUESTS && decided <= answers / 5, "{decided} of {answers}");
    let status = proxy.status();
    assert_eq!(status["generation"], 2);
    assert!(status["cause"].as_str().unwrap().starts_with("canary next of upstream main is taken out: "), "{status}");
    let metrics = proxy.metrics();
    let main = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, &[&[("upstream", "main")], labels].concat());
    assert_eq!(main("canary_verdicts_total", &[("policy", "next"), ("verdict", "taken_out")]), 1.0);
    assert_eq!(main("canary_running", &[("policy", "next")]), 0.0);
    assert_eq!(main("canary_requests_total", &[("arm", "canary"), ("version", "2.0.0")]), decided as f64);
    assert_eq!(main("canary_requests_total", &[("arm", "live"), ("result", "failure")]), 0.0);
    wait_until("the log tells it", || proxy.log().contains("canary is taken out"));
    let output = proxy.site().run(&["status", "--admin", &proxy.admin_address().to_string()]);
    assert!(output.stdout.contains("canary next 2.0.0: taken out: its requests took"), "{}", output.stdout);

    let hits = bad.hits();
    for _ in 0..100 {
        assert_eq!(proxy.post(json::READ).result(), "a", "the live policy decides everything");
    }
    assert_eq!(bad.hits(), hits);
    assert_eq!(proxy.post_reload().json()["message"], "generation 3: nothing changed");
    assert_eq!(canary(&proxy)["state"], "taken_out", "a reload doesn't bring it back");
    assert_eq!(proxy.status()["generation"], 3, "not even for a moment");
    proxy.rewrite_conf(&with_canary(conf, &next(), "percent = 20"));
    assert_eq!(proxy.post_reload().status, 200);
    let again = canary(&proxy);
    assert_eq!((&again["state"], &again["requests"]), (&value!("running"), &value!(0)), "other settings do");
}

#[test]
fn a_canary_that_chooses_slow_endpoints_is_taken_out() {
    let [a, slow] = ["a", "slow"].map(Origin::start);
    slow.answer(Answer::result("slow").after(Duration::from_millis(100)));
    let conf = Conf::of([&a, &slow]).scored_by(&live());
    let proxy = Proxy::start(&with_canary(conf, &next(), "percent = 20, max_p99_ratio = 1.2"));
    let (after, _) = until_taken_out(&proxy);
    assert!(after["reason"].as_str().unwrap().contains("99th percentile"), "{after}");
    assert!(after["canary"]["latency_p99_ms"].as_f64() > Some(80.0), "{after}");
}

/// The live policy decides the request if the canary doesn't.
#[test]
fn a_canary_that_gives_no_answer_costs_nobody_one() {
    let [a, b] = ["a", "b"].map(Origin::start);
    // The probe's method doesn't begin with `eth_g`.
    let when_asked = |then: &str| {
        format!(
            "(if (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)) (then {then}))
             (f64.store (local.get $scores) (f64.const 9))"
        )
    };
    let none = "(f64.store (local.get $scores) (f64.const -inf))
                (f64.store offset=8 (local.get $scores) (f64.const -inf)) (return)";
    for (what, then) in [("traps", "unreachable"), ("leaves out all", none)] {
        let bad = Guest::new("bad", "1.0.0").score(&when_asked(then));
        let proxy = Proxy::start(&with_canary(Conf::of([&a, &b]).scored_by(&live()), &bad, "percent = 50"));
        let mut client = proxy.client();
        wait_until("it is taken out", || {
            assert_eq!(client.post(json::request("1", "eth_getLogs")).result(), "a", "{what}");
            canary(&proxy)["state"] == "taken_out"
        });
        let reason = canary(&proxy)["reason"].as_str().unwrap().to_owned();
        assert!(reason.ends_with("calls gave no answer"), "{what}: {reason}");
        assert_eq!(b.hits(), 0, "{what}: the built-in policy was not asked");
        assert_eq!(proxy.metrics().sum("canary_requests_total", &[("result", "failure")]), 0.0, "{what}");
    }
}

#[test]
fn all_attempts_of_a_request_are_decided_by_the_same_policy() {
    let [a, b, c] = ["a", "b", "c"].map(|name| Origin::always(name, Answer::rpc_error(-32603, "no")));
    let conf = without_cooldown(Conf::of([&a, &b, &c]).set("retry_budget", "{ share = 10, floor_per_sec = 1000 }"));
    // One returns every response, the other retries as long as it is allowed to.
    let never = Guest::new("never", "1.0.0").retry("");
    let always = Guest::new("always", "1.0.0").always_retries();
    let rails = "percent = 50, max_attempts_increase = 16, max_error_rate_increase = 1, max_p99_ratio = 1000";
    let proxy = Proxy::start(&with_canary(conf.retried_by(&never), &always, rails));
    let mut client = proxy.client();
    for _ in 0..200 {
        client.post(json::READ);
    }
    let metrics = proxy.metrics();
    let of = |arm| ["canary_requests_total", "canary_attempts_total"].map(|name| metrics.sum(name, &[("arm", arm)]));
    let ([live, live_attempts], [canary, canary_attempts]) = (of("live"), of("canary"));
    assert_eq!(live + canary, 200.0);
    assert!((60.0..140.0).contains(&canary), "{canary}");
    assert_eq!((live_attempts, canary_attempts), (live, 3.0 * canary));
    assert_eq!((a.hits() + b.hits() + c.hits()) as f64, live_attempts + canary_attempts);
    assert_eq!(metrics.sum("canary_requests_total", &[("result", "failure")]), 200.0, "an error is no good answer");
}

/// A live policy that chooses slow endpoints, and a canary that chooses the fast one.
fn promotable(slow: &Origin, fast: &Origin) -> Conf {
    slow.answer(Answer::result("slow").after(Duration::from_millis(20)));
    let conf = Conf::of([slow, fast]).scored_by(&live());
    with_canary(conf, &next(), "percent = 30, promote_after = '200ms'")
}

fn until_promoted(proxy: &Proxy) {
    under_load(
        proxy,
        CLIENTS,
        Duration::ZERO,
        |_| {},
        |load| wait_until("it is promoted", || load.has_failed() || canary(proxy)["state"] == "promoted"),
    );
}

#[test]
fn a_canary_that_does_better_is_promoted_and_stays() {
    let [slow, fast] = ["slow", "fast"].map(Origin::start);
    let conf = promotable(&slow, &fast);
    let proxy = Proxy::start(&conf);
    until_promoted(&proxy);
    let status = proxy.status();
    assert_eq!(status["cause"], "canary next of upstream main is promoted");
    assert_eq!(status["upstreams"]["main"]["scoring"], "next");
    assert!(canary(&proxy)["requests"].as_u64() >= Some(MIN_REQUESTS));
    let verdicts = [("upstream", "main"), ("policy", "next"), ("verdict", "promoted")];
    assert_eq!(proxy.metrics().sum("canary_verdicts_total", &verdicts), 1.0);
    let hits = slow.hits();
    let mut client = proxy.client();
    let mut all_fast = || (0..50).for_each(|_| assert_eq!(client.post(json::READ).result(), "fast"));
    all_fast();
    wait_until("the log says what to do", || proxy.log().contains("name it as scoring in the conf"));
    assert_eq!(proxy.post_reload().json()["message"], "generation 3: nothing changed");
    all_fast();
    proxy.rewrite_conf(&conf.endpoint(0, |e| e.weight(50)));
    assert_eq!(proxy.post_reload().status, 200);
    all_fast();
    assert_eq!(slow.hits(), hits);
    assert_eq!(canary(&proxy)["state"], "promoted");
    assert_eq!(proxy.status()["generation"], 4, "it wasn't promoted again");
}

#[test]
fn a_rollback_takes_a_promotion_back_and_another_one_gives_it_again() {
    let [slow, fast] = ["slow", "fast"].map(Origin::start);
    let proxy = Proxy::start(&promotable(&slow, &fast));
    until_promoted(&proxy);
    let message = proxy.post_rollback().json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("generation 3: rolled back to generation 1 ("), "{message}");
    assert!(message.contains("this undoes a promotion"), "{message}");
    let after = canary(&proxy);
    assert_eq!((&after["state"], &after["reason"]), (&value!("taken_out"), &value!("its promotion was rolled back")));
    assert_eq!(proxy.status()["upstreams"]["main"]["scoring"], "live");
    assert_eq!(proxy.post(json::READ).result(), "slow");
    assert_eq!(proxy.post_rollback().status, 200);
    assert_eq!(canary(&proxy)["state"], "promoted");
    assert_eq!(proxy.post(json::READ).result(), "fast");
}

#[test]
fn the_generation_without_a_bad_canary_is_not_what_a_rollback_comes_from() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let bad = Origin::always("bad", Answer::status(503));
    let without = without_cooldown(Conf::of([&a, &bad]).scored_by(&live()));
    let proxy = Proxy::start(&without);
    let with = with_canary(without_cooldown(Conf::of([&a, &b, &bad]).scored_by(&live())), &next(), "percent = 20");
    proxy.rewrite_conf(&with);
    assert_eq!(proxy.post_reload().status, 200);
    until_taken_out(&proxy);
    let message = proxy.post_rollback().json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("generation 4: rolled back to generation 1 ("), "{message}");
    assert_eq!(canary(&proxy), Value::Null);
}

#[test]
fn a_reload_keeps_the_counts_while_both_policies_stay() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let conf = |live: &Guest| with_canary(Conf::of([&a, &b]).scored_by(live), &next(), "percent = 50");
    let proxy = Proxy::start(&conf(&live()));
    let mut client = proxy.client();
    for _ in 0..40 {
        client.post(json::READ);
    }
    let counted = canary(&proxy)["requests"].as_u64();
    assert!(counted > Some(5), "{counted:?}");
    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!(canary(&proxy)["requests"].as_u64(), counted);
    proxy.rewrite_conf(&conf(&Guest::in_order("live", "1.1.0", false)));
    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!(canary(&proxy)["requests"], 0, "with another live policy the comparison begins anew");
    let versions = |version| proxy.metrics().has("canary_requests_total", &[("arm", "live"), ("version", version)]);
    wait_until("the old series is gone", || !versions("1.0.0"));
    assert!(versions("1.1.0"));
}
