//! Changed and kept state of a reload.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    Answer, Conf, Endpoint, Gate, Guest, Origin, Proxy, Response, Signal, json, under_load, wait_until,
};

/// Reloads of the test under load.
const RELOADS: usize = 200;
/// Connections of the test under load.
const CONNECTIONS: usize = 32;

#[test]
fn the_report_names_every_change() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::start);
    let first = Guest::in_order("orderly", "1.0.0", false);
    let proxy = Proxy::start(&Conf::of([&a, &b]).scored_by(&first));

    let second = Guest::in_order("orderly", "1.1.0", true);
    proxy.rewrite_conf(&Conf::of([&a, &c]).scored_by(&second).endpoint(0, |e| e.weight(7)).client("timeout", "'4s'"));
    let response = proxy.post_reload();
    assert_eq!(response.status, 200, "{}", response.text());
    let report = response.json();
    assert_eq!(report["success"], true);
    assert_eq!(report["generation"], 2);
    let changes = &report["changes"];
    assert_eq!(changes["endpoints_added"], json!(["c"]));
    assert_eq!(changes["endpoints_removed"], json!(["b"]));
    assert_eq!(changes["endpoints_modified"], json!(["a"]));
    assert_eq!(changes["plugins_changed"][0]["policy"], "orderly");
    assert!(changes["plugins_changed"][0]["from"].as_str().unwrap().starts_with("1.0.0@sha256:"), "{changes}");
    assert!(changes["plugins_changed"][0]["to"].as_str().unwrap().starts_with("1.1.0@sha256:"), "{changes}");
    assert_eq!(changes["config_updated"], true);
    assert_eq!(changes["client_rebuilt"], true);
    assert_eq!(changes["restart_required"], json!([]));
    assert_eq!(proxy.post(json::READ).result(), "c", "the new policy prefers the last endpoint");
    wait_until("the log tells it, too", || proxy.log().contains("endpoints_added"));
}

#[test]
fn a_reload_without_changes_says_so() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]));
    let report = proxy.post_reload().json();
    assert_eq!(report["message"], "generation 2: nothing changed");
    assert_eq!(report["changes"]["config_updated"], false);
}

#[test]
fn what_needs_a_restart_is_named_and_left_as_it_is() {
    let a = Origin::start("a");
    let conf = Conf::of([&a]);
    let proxy = Proxy::start(&conf);
    proxy.rewrite_conf(&conf.server("threads", "1"));
    assert_eq!(proxy.post_reload().json()["changes"]["restart_required"], json!(["server.threads"]));
    assert_eq!(proxy.post_reload().json()["changes"]["restart_required"], json!(["server.threads"]), "still");
    assert_eq!(proxy.post(json::READ).result(), "a");
}

#[test]
fn a_signal_reloads_and_the_next_request_sees_it() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a]));
    let mut client = proxy.client();
    assert_eq!(client.post(json::READ).result(), "a");
    proxy.rewrite_conf(&Conf::of([&b]));
    assert!(proxy.reload_by_signal());
    assert_eq!(client.post(json::READ).result(), "b");
}

#[test]
fn a_request_ends_on_the_generation_that_it_began_with() {
    let (gate, b) = (Gate::new(), Origin::start("b"));
    let a = Origin::always("a", Answer::result("a").held_by(&gate));
    let proxy = Proxy::start(&Conf::of([&a]));
    let mut client = proxy.client();
    client.send(crate::support::post("/", &[], json::READ));
    wait_until("the request has arrived", || a.hits() == 1);
    proxy.rewrite_conf(&Conf::of([&b]));
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.post(json::READ).result(), "b");
    assert_eq!(proxy.metrics().sum("generations_live", &[]), 2.0);
    assert!(proxy.metrics().has("attempts_total", &[("endpoint", "a")]), "its series live as long as it is in use");
    gate.open();
    assert_eq!(client.read().result(), "a");
    wait_until("the old generation is gone", || proxy.metrics().sum("generations_live", &[]) == 1.0);
    let has_series = || proxy.metrics().has("attempts_total", &[("endpoint", "a")]);
    wait_until("the removed endpoint's series are gone", || !has_series());
    wait_until("its connections are closed", || a.open_connections() == 0);
}

#[test]
fn an_endpoint_whose_url_stays_keeps_its_state() {
    let bad = Origin::always("bad", Answer::status(500));
    let good = Origin::start("good");
    let conf = Conf::of([&bad, &good]);
    let proxy = Proxy::start(&conf);
    assert_eq!(proxy.endpoint("good")["latency_ms"], 5_000.0 * 0.6, "a new endpoint starts at the timeout");
    assert_eq!(proxy.post(json::READ).result(), "good");
    let before = [proxy.endpoint("bad"), proxy.endpoint("good")];
    assert!(proxy.cooldown("bad") > 0.0);

    proxy.rewrite_conf(&conf.endpoint(0, |e| e.set("name", "'worse'").weight(3)));
    assert!(proxy.reload_by_signal());
    let after = [proxy.endpoint("worse"), proxy.endpoint("good")];
    for key in ["latency_ms", "penalty_ms", "success_rate", "consecutive_failures"] {
        assert_eq!(before[0][key], after[0][key], "{key}");
        assert_eq!(before[1][key], after[1][key], "{key}");
    }
    assert!(proxy.cooldown("worse") > 0.0);
    let has_series = || proxy.metrics().has("attempts_total", &[("endpoint", "bad")]);
    wait_until("the series under the old name are gone", || !has_series());
    assert_eq!(proxy.post(json::READ).result(), "good");
    assert_eq!(good.connections(), 1, "the connection is kept, too");
}

#[test]
fn a_limiter_is_kept_until_its_rate_or_burst_changes() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let limited = |burst: &str| {
        let burst = burst.to_owned();
        Conf::of([&a, &b]).endpoint(0, move |e| e.set("rate_limit_per_sec", "1").set("burst_size", &burst))
    };
    let proxy = Proxy::start(&limited("2"));
    let first_two = [(); 2].map(|()| proxy.post(json::READ).result());
    assert_eq!(first_two, ["a", "a"]);
    proxy.rewrite_conf(&limited("2").endpoint(1, |e| e.weight(5)));
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.post(json::READ).result(), "b", "the bucket is as empty as before");
    proxy.rewrite_conf(&limited("3"));
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.post(json::READ).result(), "a", "another burst is another bucket");
}

#[test]
fn a_dropped_plugin_of_a_higher_version_takes_over() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a, &b]).scored_by(&Guest::in_order("orderly", "1.0.0", false)));
    assert_eq!(proxy.post(json::READ).result(), "a");
    proxy.site().add_guest(&Guest::in_order("orderly", "1.10.0", true));
    proxy.site().add_guest(&Guest::in_order("orderly", "1.9.0", false));
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.post(json::READ).result(), "b", "1.10.0 is higher than 1.9.0");
    assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.10.0");
}

#[test]
fn a_burst_of_signals_becomes_few_reloads() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]));
    (0..50).for_each(|_| proxy.signal(Signal::SIGHUP));
    assert!(proxy.reload_by_signal());
    let done = proxy.metrics().sum("reloads_total", &[("result", "success")]);
    assert!((1.0..=51.0).contains(&done), "{done}");
    assert_eq!(proxy.post(json::READ).result(), "a");
}

/// Endpoint sets and plugin versions alternate together. A request with the policy of one
/// generation and the endpoints of another would reach `a2` or `b1`, which no generation prefers.
#[test]
fn no_request_fails_or_goes_astray_while_generations_come_and_go() {
    let [a1, a2, b1, b2] = ["a1", "a2", "b1", "b2"].map(Origin::start);
    let (first, last) = (Guest::in_order("orderly", "1.0.0", false), Guest::in_order("orderly", "2.0.0", true));
    let both = |conf: Conf| conf.guest(&first).guest(&last);
    let pick = |conf: Conf, version: &str| {
        let table = format!("[policies.chosen]\nplugin = 'orderly'\nversion = '={version}'");
        conf.extra(&table).set("scoring", "'chosen'").set("max_attempts", "1")
    };
    let a = pick(plugins_only(both, Conf::of([&a1, &a2])), "1.0.0");
    let b = pick(plugins_only(both, Conf::of([&b1, &b2])), "2.0.0");
    let proxy = Proxy::start(&a);

    let check = |response: &Response| {
        let result = response.result();
        assert!(result == "a1" || result == "b2", "misrouted to {result}");
    };
    let answered = under_load(&proxy, CONNECTIONS, Duration::ZERO, check, |load| {
        for reload in 0..RELOADS {
            proxy.rewrite_conf(if reload % 2 == 0 { &b } else { &a });
            assert!(proxy.reload_by_signal(), "reload {reload} failed");
            if load.has_failed() {
                break;
            }
        }
    });
    assert!(answered > RELOADS, "the load was no load: {answered:?}");
    assert!(a1.hits() > 0 && b2.hits() > 0);
    assert_eq!((a2.hits(), b1.hits()), (0, 0));
    assert!(proxy.status()["generation"].as_u64().unwrap() > RELOADS as u64);
    wait_until("one generation lives", || proxy.metrics().sum("generations_live", &[]) == 1.0);
    assert_eq!(proxy.metrics().sum("reloads_total", &[("result", "failure")]), 0.0);
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0, "every decision was the policy's own");
}

/// The guests' files without the policies that `Conf::guest` declares for them.
fn plugins_only(add: impl Fn(Conf) -> Conf, conf: Conf) -> Conf {
    add(conf).without_extra()
}

#[test]
fn an_endpoint_that_is_added_starts_at_the_timeout() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a]).client("timeout", "'1500ms'"));
    assert_eq!(proxy.post(json::READ).result(), "a");
    proxy.rewrite_conf(&Conf::of([&a]).client("timeout", "'1500ms'").and(Endpoint::of(&b).weight(1)));
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.endpoint("b")["latency_ms"], Duration::from_millis(1_500).as_secs_f64() * 1e3);
    assert!(proxy.endpoint("a")["latency_ms"].as_f64().unwrap() < 1_000.0);
}
