//! Good and bad decisions of modules.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::{Answer, Client, Conf, Guest, Origin, Proxy, json, wait_until};

#[test]
fn a_scoring_policy_decides_where_requests_go() {
    let (a, b, c) = (Origin::start("a"), Origin::start("b"), Origin::start("c"));
    for (last_first, expected) in [(false, "a"), (true, "c")] {
        let guest = Guest::in_order("orderly", "1.0.0", last_first);
        let proxy = Proxy::start(&Conf::of([&a, &b, &c]).scored_by(&guest));
        assert_eq!(proxy.post(json::READ).result(), expected);
        assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.0.0");
    }
}

#[test]
fn the_shipped_policies_serve() {
    let [a, b] = ["a", "b"].map(Origin::start);
    for plugin in ["tiers", "peak-ewma"] {
        let table = format!("[policies.p]\nplugin = '{plugin}'");
        let proxy = Proxy::start(&Conf::of([&a, &b]).shipped(plugin).extra(&table).set("scoring", "'p'"));
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_eq!(client.post(json::READ).status, 200);
        }
        assert_eq!(proxy.status()["policies"]["p"]["calls"], 20);
        assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0);
    }
}

#[test]
fn an_endpoint_that_the_policy_leaves_out_gets_nothing() {
    let [a, b] = ["a", "b"].map(Origin::start);
    for nothing in ["(f64.const nan)", "(f64.const -inf)"] {
        let score = format!("(select {nothing} (f64.const 0) (i32.eqz (i32.load (local.get $row))))");
        let proxy = Proxy::start(&Conf::of([&a, &b]).scored_by(&Guest::new("picky", "1.0.0").score_each(&score)));
        assert_eq!(proxy.post(json::READ).result(), "b");
    }
    assert_eq!(a.hits(), 0);
}

/// Bodies of `score` that misbehave in attempt 1 of requests whose method begins with `eth_g`; the
/// probe's doesn't.
fn faulty_scores() -> Vec<(&'static str, String)> {
    let when_asked = |then: &str| {
        format!(
            "(if (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)) (then {then}))
             (f64.store (local.get $scores) (f64.const 9))"
        )
    };
    vec![
        ("trap", when_asked("unreachable")),
        ("trap", when_asked("(drop (i32.load (i32.const -4)))")),
        ("trap", when_asked("(drop (i32.div_u (i32.const 1) (i32.const 0)))")),
        ("trap", when_asked("(call $deep)")),
        ("fuel", when_asked("(loop $forever (br $forever))")),
        ("fuel", when_asked("(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l))")),
    ]
}

#[test]
fn a_fault_costs_nobody_an_answer_and_the_instance_comes_back() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let bad = json::request("1", "eth_getLogs");
    for (kind, body) in faulty_scores() {
        let guest = Guest::new("faulty", "1.0.0").score(&body).extra("(func $deep (call $deep))");
        // The guest prefers the first endpoint; the native policy the second, whose weight is
        // higher.
        let conf = Conf::of([&a, &b]).endpoint(0, |e| e.weight(1)).scored_by(&guest);
        let proxy = Proxy::start(&conf);
        assert_eq!(proxy.post(json::READ).result(), "a", "{kind}: the policy decides");
        assert_eq!(proxy.post(&bad).result(), "b", "{kind}: the native policy answers that very request");
        let faults = |kind: &str| proxy.metrics().sum("policy_faults_total", &[("policy", "faulty"), ("kind", kind)]);
        assert_eq!(faults(kind), 1.0, "{kind}");
        wait_until("the instance is replaced", || proxy.post(json::READ).result() == "a");
        assert_eq!(proxy.status()["policies"]["faulty"]["faults"][kind], 1);
    }
}

#[test]
fn a_retry_policy_that_faults_is_replaced_by_the_native_one() {
    let bad = Origin::always("bad", Answer::status(500));
    let good = Origin::start("good");
    // Answers the probe, whose method isn't `eth_getLogs`.
    let body = "(if (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)) (then unreachable))";
    let guest = Guest::new("faulty", "1.0.0").retry(body);
    let proxy = Proxy::start(&Conf::of([&bad, &good]).retried_by(&guest));
    assert_eq!(proxy.post(json::READ).status, 502, "this policy never retries");
    assert_eq!(proxy.post(json::request("1", "eth_getLogs")).result(), "good", "the native one does");
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[("kind", "trap")]), 1.0);
}

#[test]
fn a_policy_can_not_override_the_hosts_rules() {
    let resets = Origin::always("resets", Answer::reset());
    let good = Origin::start("good");
    let guest = Guest::new("stubborn", "1.0.0").always_retries();
    let proxy = Proxy::start(&Conf::of([&resets, &good]).retried_by(&guest).set("max_attempts", "5"));
    assert_eq!(proxy.post(json::WRITE).status, 502, "a write's bytes are not sent twice");
    assert_eq!((resets.hits(), good.hits()), (1, 0));
    good.answer(Answer::reset());
    assert_eq!(proxy.post(json::READ).status, 502);
    assert_eq!((resets.hits(), good.hits()), (2, 1), "no endpoint is tried twice by one request");
    good.answer(Answer::result("good"));
    assert_eq!(proxy.post(json::READ).result(), "good");
}

#[test]
fn a_guest_that_floods_the_log_is_cut_short() {
    let a = Origin::start("a");
    let body = "(loop $again
        (call $log (i32.const 3) (i32.const 1024) (i32.const 10))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))";
    let wat = Guest::new("chatty", "1.0.0").score(body).wat();
    let import = r#"(module (import "pointsman" "log" (func $log (param i32 i32 i32)))"#;
    let wasm = wat::parse_str(wat.replacen("(module", import, 1)).unwrap();
    let conf = Conf::of([&a]).extra("[policies.chatty]\nplugin = 'chatty'").set("scoring", "'chatty'");
    let proxy = Proxy::start(&Conf::of([&a]));
    proxy.site().add_plugin("chatty", &wasm);
    proxy.rewrite_conf(&conf);
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.post(json::READ).result(), "a");
    let lines = || proxy.log().lines().filter(|line| line.contains("pointsman::guest")).count();
    wait_until("a line is there", || lines() > 0);
    // A later request's log line follows all of the guest's earlier lines.
    proxy.post("rubbish");
    wait_until("the log has gone on", || proxy.log().contains("not_json"));
    assert!(lines() <= 50, "{} lines", lines());
}

#[test]
fn faults_under_load_are_nobodys_trouble() {
    let [a, b] = ["a", "b"].map(Origin::start);
    // Traps for about one request in eight, by the seed; the probe's seed is another one.
    let body = "(if (i32.eqz (i32.and (i32.load offset=16 (local.get $request)) (i32.const 7))) (then unreachable))";
    let proxy = Proxy::start(&Conf::of([&a, &b]).scored_by(&Guest::new("moody", "1.0.0").score(body)));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(proxy.address());
                while !stop.load(SeqCst) {
                    assert_eq!(client.post(json::READ).status, 200);
                }
            });
        }
        // Five at a time, because of the quarantine.
        wait_until("many faults", || proxy.metrics().sum("policy_faults_total", &[("kind", "trap")]) >= 10.0);
        stop.store(true, SeqCst);
    });
    let calls = proxy.status()["policies"]["moody"]["calls"].as_f64().unwrap();
    assert!(proxy.metrics().sum("policy_faults_total", &[]) < calls, "the policy also decided");
}

/// Ten endpoints, of which a decision considers two.
fn ten_endpoints(origins: &[Origin]) -> Conf {
    Conf::of(origins).set("candidates", "2").set("max_attempts", "10")
}

#[test]
fn of_a_large_pool_a_policy_is_shown_some_drawn_by_weight() {
    let origins: Vec<Origin> = (0..10).map(|n| Origin::start(&format!("n{n}"))).collect();
    // Traps if it gets another number of rows or a duplicate; otherwise takes the first.
    let first_of_two = Guest::new("two", "1.0.0").score(
        "(if (i32.and (i32.or (i32.ne (local.get $count) (i32.const 2))
                              (i32.eq (i32.load (local.get $rows)) (i32.load offset=64 (local.get $rows))))
                      (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)))
           (then unreachable))
         (f64.store (local.get $scores) (f64.const 1))",
    );
    let proxy = Proxy::start(&ten_endpoints(&origins).scored_by(&first_of_two));
    let mut client = proxy.client();
    for _ in 0..500 {
        assert_eq!(client.post(json::request("1", "eth_getLogs")).status, 200);
    }
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0);
    // The weights are 100, 90 and so on down to 10.
    let hits: Vec<usize> = origins.iter().map(Origin::hits).collect();
    assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
    assert!(hits[..3].iter().sum::<usize>() > 2 * hits[7..].iter().sum::<usize>(), "{hits:?}");
    let explained = proxy.admin("GET", "/explain?method=eth_getLogs").json();
    let endpoints = explained["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.iter().filter(|e| e["excluded"] == "not drawn").count(), 8, "{explained:#}");
}

#[test]
fn who_is_seldom_drawn_is_found_when_nobody_else_is_fit() {
    let mut origins: Vec<Origin> = (0..9).map(|n| Origin::always(&format!("n{n}"), Answer::status(503))).collect();
    origins.push(Origin::start("good"));
    let proxy = Proxy::start(&ten_endpoints(&origins).set("retry_budget", "{ share = 10, floor_per_sec = 1000 }"));
    let mut client = proxy.client();
    wait_until("all others cool", || {
        client.post(json::READ);
        origins[..9].iter().all(|origin| proxy.cooldown(origin.name()) > 0.0)
    });
    let before: usize = origins[..9].iter().map(Origin::hits).sum();
    for _ in 0..100 {
        assert_eq!(client.post(json::READ).result(), "good");
    }
    assert_eq!(origins[..9].iter().map(Origin::hits).sum::<usize>(), before);
}
