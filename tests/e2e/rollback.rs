//! Restored and kept state of a rollback.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Conf, Guest, Origin, Proxy, Response, json, under_load, wait_until};

/// Rollbacks of the test under load, each of which reverts the previous one.
const ROLLBACKS: usize = 100;
/// Connections of the test under load.
const CONNECTIONS: usize = 16;

/// Rolls back, which must succeed, and returns the report.
#[track_caller]
fn roll_back(proxy: &Proxy) -> Value {
    let response = proxy.post_rollback();
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

#[track_caller]
fn reload(proxy: &Proxy, conf: &Conf) {
    proxy.rewrite_conf(conf);
    let response = proxy.post_reload();
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn endpoints_and_policies_come_back_together_and_the_report_names_them() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a, &b]).scored_by(&Guest::in_order("orderly", "1.0.0", false)));
    reload(&proxy, &Conf::of([&a, &c]).scored_by(&Guest::in_order("orderly", "1.1.0", true)));
    assert_eq!(proxy.post(json::READ).result(), "c");
    let on_disk = proxy.site().text();

    let report = roll_back(&proxy);
    assert_eq!(report["success"], true);
    assert_eq!(report["generation"], 3);
    let message = report["message"].as_str().unwrap();
    assert!(message.starts_with("generation 3: rolled back to generation 1 (1 endpoint added"), "{message}");
    assert!(message.ends_with("the conf on disk is still the newer one; a reload takes it again"), "{message}");
    let changes = &report["changes"];
    assert_eq!((&changes["endpoints_added"], &changes["endpoints_removed"]), (&json!(["b"]), &json!(["c"])));
    assert!(changes["plugins_changed"][0]["from"].as_str().unwrap().starts_with("1.1.0@sha256:"), "{changes}");
    assert!(changes["plugins_changed"][0]["to"].as_str().unwrap().starts_with("1.0.0@sha256:"), "{changes}");
    assert_eq!(changes["config_updated"], true);
    assert_eq!(proxy.post(json::READ).result(), "a");
    assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.0.0");
    assert_eq!(proxy.site().text(), on_disk, "the conf on disk is left alone");
    wait_until("the log tells it, too", || proxy.log().contains("rolled back"));
    assert_eq!((proxy.reloads("success"), proxy.reloads("failure")), (2.0, 0.0));

    assert_eq!(proxy.post_reload().json()["generation"], 4);
    assert_eq!(proxy.post(json::READ).result(), "c", "a reload takes what is on disk");
    roll_back(&proxy);
    assert_eq!(proxy.post(json::READ).result(), "a", "and can be rolled back again");
}

#[test]
fn a_second_rollback_undoes_the_first() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a]));
    reload(&proxy, &Conf::of([&b]));
    let answers = [(); 4].map(|()| {
        let message = roll_back(&proxy)["message"].as_str().unwrap().to_owned();
        let what = message.split(" (").next().unwrap().to_owned();
        (what, message.contains("undoes a rollback"), proxy.post(json::READ).result())
    });
    let expected =
        [(3, 1, false, "a"), (4, 2, true, "b"), (5, 3, true, "a"), (6, 4, true, "b")].map(|(to, of, undo, result)| {
            (format!("generation {to}: rolled back to generation {of}"), undo, result.into())
        });
    assert_eq!(answers, expected);
}

#[test]
fn there_may_be_nothing_to_go_back_to() {
    let a = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&a]));
    let expect_conflict = || {
        let response = proxy.post_rollback();
        let report = response.json();
        assert_eq!((response.status, &report["success"], &report["generation"]), (409, &json!(false), &json!(1)));
        assert!(report["error"].as_str().unwrap().contains("no previous generation"), "{report}");
    };
    expect_conflict();
    assert_eq!(proxy.reloads("failure"), 1.0);
    proxy.site().write_text("nonsense");
    assert_eq!(proxy.post_reload().status, 422);
    expect_conflict();
    assert_eq!(proxy.post(json::READ).result(), "a");
}

#[test]
fn neither_a_refused_reload_nor_one_that_changes_nothing_takes_the_place_of_what_is_kept() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a]));
    reload(&proxy, &Conf::of([&b]));
    assert_eq!(proxy.post_reload().json()["message"], "generation 3: nothing changed");
    let text = proxy.site().text();
    proxy.site().write_text("nonsense");
    assert_eq!(proxy.post_reload().status, 422);
    proxy.site().write_text(&text);
    let message = roll_back(&proxy)["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("generation 4: rolled back to generation 1 "), "{message}");
    assert_eq!(proxy.post(json::READ).result(), "a");
}

#[test]
fn live_state_is_carried_over() {
    let bad = Origin::always("bad", Answer::status(500));
    let good = Origin::start("good");
    let conf = Conf::of([&bad, &good]);
    let proxy = Proxy::start(&conf);
    reload(&proxy, &conf.endpoint(0, |e| e.set("name", "'worse'")));
    assert_eq!(proxy.post(json::READ).result(), "good");
    let before = [proxy.endpoint("worse"), proxy.endpoint("good")];
    assert!(proxy.cooldown("worse") > 0.0);

    assert_eq!(roll_back(&proxy)["changes"]["endpoints_modified"], json!(["bad"]));
    let after = [proxy.endpoint("bad"), proxy.endpoint("good")];
    for key in ["latency_ms", "penalty_ms", "success_rate", "consecutive_failures"] {
        assert_eq!(before[0][key], after[0][key], "{key}");
        assert_eq!(before[1][key], after[1][key], "{key}");
    }
    assert!(proxy.cooldown("bad") > 0.0);
    assert_eq!(proxy.post(json::READ).result(), "good");
    assert_eq!((bad.hits(), good.connections()), (1, 1), "it cools, and the connection is kept");
}

#[test]
fn nothing_is_read_again() {
    let a = Origin::start("a");
    let conf = Conf::of([&a]).scored_by(&Guest::in_order("orderly", "1.0.0", false));
    let conf = conf.endpoint(0, |e| e.set("headers", "{ x-key = 'file:key' }"));
    // A conf with an unreadable file is refused, so the key must exist before the first start.
    let proxy = Proxy::start(&conf.clone().endpoint(0, |e| e.set("headers", "{}")));
    let key = proxy.site().folder().join("key");
    std::fs::write(&key, "old").unwrap();
    reload(&proxy, &conf);
    std::fs::write(&key, "new").unwrap();
    assert_eq!(proxy.post_reload().json()["changes"]["endpoints_modified"], json!(["a"]));
    let sent = || {
        assert_eq!(proxy.post(json::READ).result(), "a");
        a.last().head.get("x-key").map(str::to_owned)
    };
    assert_eq!(sent().as_deref(), Some("new"));

    std::fs::remove_file(&key).unwrap();
    std::fs::remove_dir_all(proxy.plugins()).unwrap();
    proxy.site().write_text("nonsense");
    roll_back(&proxy);
    assert_eq!(sent().as_deref(), Some("old"));
    let version = || proxy.status()["policies"]["orderly"]["version"].clone();
    assert_eq!(version(), "1.0.0");
    roll_back(&proxy);
    assert_eq!((sent().as_deref(), version()), (Some("new"), json!("1.0.0")));
}

#[test]
fn the_token_guards_it_and_other_methods_are_told_what_to_use() {
    let a = Origin::start("a");
    let conf = Conf::of([&a]).admin("token", "'open-sesame'");
    let proxy = Proxy::start(&conf);
    let with = |token: &str| proxy.admin_client().post_with("/rollback", &[("authorization", token)], "").status;
    assert_eq!((proxy.post_rollback().status, with("Bearer other"), with("Bearer open-sesame")), (401, 401, 409));
    let refused = || proxy.log().matches("rollback refused").count();
    wait_until("the log tells it", || refused() > 0);
    assert_eq!(refused(), 1, "those without the token asked for nothing");
    let open = Proxy::start(&Conf::of([&a]));
    assert_eq!(open.admin("GET", "/rollback").status, 405);
    assert!(open.admin("GET", "/nothing").text().contains("/rollback"));
}

#[test]
fn the_command_rolls_back_and_prints_the_report() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&Conf::of([&a]).admin("token", "'open-sesame'"));
    let admin = proxy.admin_address().to_string();
    let run = |command: &str, token: &str| proxy.site().run(&[command, "--admin", &admin, "--token", token]);
    let refused = run("rollback", "open-sesame");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert_eq!(refused.stdout, "", "the error stands once");
    assert!(refused.stderr.contains("there is no previous generation to roll back to"), "{}", refused.stderr);

    proxy.rewrite_conf(&Conf::of([&b]).admin("token", "'open-sesame'"));
    assert_eq!(run("reload", "open-sesame").code, Some(0));
    let done = run("rollback", "open-sesame");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["success"], &report["generation"]), (&json!(true), &json!(3)));
    assert_eq!(proxy.post(json::READ).result(), "a");
    let stranger = run("rollback", "other");
    assert_eq!((stranger.code, stranger.stderr.contains("401")), (Some(1), true), "{}", stranger.stderr);
}

/// Endpoint sets and plugin versions alternate together, as in the test of reloads: a request with
/// the policy of one generation and the endpoints of another would reach `a2` or `b1`.
#[test]
fn no_request_fails_or_goes_astray_under_rollbacks() {
    let [a1, a2, b1, b2] = ["a1", "a2", "b1", "b2"].map(Origin::start);
    let (first, last) = (Guest::in_order("orderly", "1.0.0", false), Guest::in_order("orderly", "2.0.0", true));
    let proxy = Proxy::start(&Conf::of([&a1, &a2]).scored_by(&first).set("max_attempts", "1"));
    reload(&proxy, &Conf::of([&b1, &b2]).scored_by(&last).set("max_attempts", "1"));

    let check = |response: &Response| {
        let result = response.result();
        assert!(result == "a1" || result == "b2", "misrouted to {result}");
    };
    under_load(&proxy, CONNECTIONS, Duration::ZERO, check, |load| {
        for _ in 0..ROLLBACKS {
            let asked_before = load.answered();
            let response = proxy.post_rollback();
            assert!(
                response.status == 200 && !load.has_failed(),
                "a client failed, or the rollback did: {}",
                response.text()
            );
            wait_until("requests go on", || load.answered() > asked_before || load.has_failed());
        }
    });
    assert!(a1.hits() > 0 && b2.hits() > 0);
    assert_eq!((a2.hits(), b1.hits()), (0, 0));
    assert_eq!(proxy.status()["generation"], ROLLBACKS + 2);
    wait_until("one generation lives", || proxy.metrics().sum("generations_live", &[]) == 1.0);
    wait_until("what doesn't serve has no connections", || a1.open_connections() == 0);
    assert_eq!((proxy.reloads("success"), proxy.reloads("failure")), (ROLLBACKS as f64 + 1.0, 0.0));
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0, "every decision was the policy's own");
}

/// Faults on every request whose method begins with `eth_g`; the probe's doesn't.
fn faulty() -> Guest {
    let body = "(if (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)) (then unreachable))
                (f64.store (local.get $scores) (f64.const 9))";
    Guest::new("orderly", "1.1.0").score(body)
}

/// Makes the reload thread check the policies on probation: it does so after each answered reload,
/// so the second answer follows a check.
fn have_it_looked_at(proxy: &Proxy) {
    for _ in 0..2 {
        assert_eq!(proxy.post_reload().json()["changes"]["config_updated"], false);
    }
}

/// A proxy whose conf has this grace, and whose policy was replaced by a faulty one.
fn with_faulty_policy(origins: [&Origin; 2], grace: Option<&str>) -> Proxy {
    let conf = Conf::of(origins);
    let conf = grace.map_or(conf.clone(), |grace| conf.plugins("rollback_grace", grace));
    let proxy = Proxy::start(&conf.clone().scored_by(&Guest::in_order("orderly", "1.0.0", true)));
    assert_eq!(proxy.post(json::READ).result(), "b");
    reload(&proxy, &conf.scored_by(&faulty()));
    proxy
}

#[test]
fn a_reload_whose_policy_is_quarantined_is_rolled_back_by_itself() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = with_faulty_policy([&a, &b], Some("'1m'"));
    wait_until("it is rolled back", || {
        let answer = proxy.post(json::request("1", "eth_getLogs"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        proxy.status()["generation"] == 3
    });
    let status = proxy.status();
    let cause = "policy orderly was quarantined soon after the reload: rolled back to generation 1";
    assert_eq!((&status["cause"], &status["policies"]["orderly"]["version"]), (&json!(cause), &json!("1.0.0")));
    assert_eq!(proxy.post(json::READ).result(), "b");
    assert_eq!(proxy.metrics().sum("automatic_rollbacks_total", &[]), 1.0);
    wait_until("the log tells it", || proxy.log().contains(cause));
    // The files on disk are the rejected ones, which an explicit reload loads.
    assert_eq!(proxy.post_reload().json()["generation"], 4);
    assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.1.0");
}

#[test]
fn without_a_grace_or_after_it_nothing_is_rolled_back_by_itself() {
    let [a, b] = ["a", "b"].map(Origin::start);
    const GRACE: Duration = Duration::from_millis(1);
    for grace in [None, Some("'1ms'")] {
        let proxy = with_faulty_policy([&a, &b], grace);
        let reloaded = Instant::now();
        wait_until("the grace is over", || reloaded.elapsed() > GRACE);
        have_it_looked_at(&proxy);
        wait_until("it is quarantined", || {
            proxy.post(json::request("1", "eth_getLogs"));
            proxy.status()["policies"]["orderly"]["quarantined"] == true
        });
        have_it_looked_at(&proxy);
        assert_eq!(proxy.status()["generation"], 6, "{grace:?}: the reloads above and no other generation");
        assert_eq!(proxy.status()["policies"]["orderly"]["version"], "1.1.0");
        assert_eq!(proxy.metrics().sum("automatic_rollbacks_total", &[]), 0.0);
    }
}
