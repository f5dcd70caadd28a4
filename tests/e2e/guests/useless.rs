//! Policies that exclude every endpoint: by mistake, which is always a fault, or explicitly.

use serde_json::json as value;

use super::{HARM, OTHERS, faults, load, proxy_with};
use crate::support::{Conf, Guest, Origin, Proxy, hostile, json, wait_until};

/// Scores that exclude both endpoints if the method begins with `eth_g`; the probe's doesn't.
fn useless(version: &str, score: &str) -> Guest {
    let body = format!(
        "(if (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)) (then
           (f64.store (local.get $scores) (f64.const {score}))
           (f64.store offset=8 (local.get $scores) (f64.const {score})) (return)))
         (f64.store offset=8 (local.get $scores) (f64.const 9))"
    );
    Guest::new("useless", version).score(&body)
}

#[test]
fn it_is_quarantined_and_every_request_has_an_answer() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    load(&proxy, "score-nan-for-all");
    wait_until("it is in quarantine", || {
        assert_eq!(proxy.post(HARM).result(), "a", "the native policy answers");
        proxy.status()["policies"]["hostile"]["quarantined"] == true
    });
    assert_eq!(faults(&proxy, "output"), 5.0);
    assert_eq!(proxy.admin("GET", "/health").json()["policies_quarantined"], value!(["hostile"]));
    wait_until("the log tells it", || proxy.log().contains("scores of NaN that leave out every endpoint"));
}

#[test]
fn it_is_rolled_back_within_the_grace() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let conf = Conf::of([&a, &b]).plugins("rollback_grace", "'1m'");
    let proxy = Proxy::start(&conf.clone().scored_by(&Guest::in_order("useless", "1.0.0", true)));
    proxy.rewrite_conf(&conf.scored_by(&useless("1.1.0", "nan")));
    assert_eq!(proxy.post_reload().status, 200);
    wait_until("it is rolled back", || {
        assert_eq!(proxy.post(json::request("1", "eth_getLogs")).status, 200);
        proxy.status()["generation"] == 3
    });
    assert_eq!(proxy.status()["policies"]["useless"]["version"], "1.0.0");
}

#[test]
fn a_shadow_of_that_kind_faults_too() {
    let [a, b] = ["a", "b"].map(Origin::start);
    for score in ["nan", "-inf"] {
        let conf = Conf::of([&a, &b]).guest(&useless("1.0.0", score));
        let proxy = Proxy::start(&conf.set("shadow", "{ policy = 'useless', share = 1.0 }"));
        assert_eq!(proxy.post(HARM).result(), "a");
        wait_until("it is counted", || {
            proxy.metrics().sum("policy_faults_total", &[("policy", "useless"), ("kind", "output")]) == 1.0
        });
    }
}

/// Health checks are off, so every lag is unknown: such a module fails before any request.
#[test]
fn what_would_leave_out_an_unknown_pool_is_refused_or_warned_of() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a, &b]));
    let conf = |guest: &Guest| Conf::of([&a, &b]).scored_by(guest);
    let lag = "(f32.load offset=52 (local.get $row))";
    let guest = |score: &str| Guest::new("picky", "1.0.0").score_each(score);
    proxy.rewrite_conf(&conf(&guest(&format!("(f64.promote_f32 {lag})"))));
    let response = proxy.post_reload();
    assert_eq!(response.status, 422, "{}", response.text());
    assert!(response.text().contains("score gave an answer that is out of range"), "{}", response.text());
    assert!(response.text().contains("policy \\\"picky\\\""), "{}", response.text());

    let only_known = format!("(select (f64.const 1) (f64.const -inf) (f32.eq {lag} {lag}))");
    proxy.rewrite_conf(&conf(&guest(&only_known)));
    assert_eq!(proxy.post_reload().status, 200, "negative infinity is a choice");
    wait_until("the log warns", || {
        proxy
            .log()
            .lines()
            .any(|line| line.contains("WARN") && line.contains("leaves out every endpoint of a pool without health"))
    });
    assert_eq!(proxy.post(json::READ).status, 200, "the native policy answers");
}

#[test]
fn an_explicit_refusal_is_told_to_the_client_counted_and_no_fault() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    load(&proxy, OTHERS[0]);
    for _ in 0..6 {
        let response = proxy.post(HARM);
        let expected = value!({"code": -32002, "message": "the scoring policy refuses this request"});
        assert_eq!((response.status, &response.json()["error"]), (503, &expected));
    }
    assert_eq!(proxy.post(json::READ).result(), "b", "it goes on");
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("policy_refusals_total", &[("policy", "hostile")]), 6.0);
    assert_eq!(metrics.sum("policy_faults_total", &[]), 0.0);
    wait_until("the access log has it", || proxy.lines("refused_by_policy") == 6);
    assert_eq!(a.hits(), 0);
}

/// A refusal is a valid decision, and the guard rails count it as a request without a good answer.
#[test]
fn a_canary_that_refuses_is_obeyed_and_taken_out() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let live = Guest::in_order("live", "1.0.0", false);
    let conf = Conf::of([&a, &b]).scored_by(&live).extra("[policies.hostile]\nplugin = 'hostile'");
    let proxy = Proxy::start(&Conf::of([&a, &b]));
    proxy.site().add_plugin("hostile", &hostile(OTHERS[0]));
    proxy.rewrite_conf(&conf.set("canary", "{ policy = 'hostile', percent = 50, min_requests = 20 }"));
    assert_eq!(proxy.post_reload().status, 200);
    let mut client = proxy.client();
    let mut statuses = std::collections::BTreeSet::new();
    wait_until("it is taken out", || {
        statuses.insert(client.post(HARM).status);
        proxy.status()["upstreams"]["main"]["canary"]["state"] == "taken_out"
    });
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 503]);
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0);
}
