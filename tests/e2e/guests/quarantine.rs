//! Policies that fault repeatedly, and policies that exceed their limits.

use super::{HARM, faults, load, proxy_with};
use crate::support::{Conf, Origin, json, wait_until};

#[test]
fn a_flood_of_lines_is_cut_short_even_if_every_call_faults() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    load(&proxy, "log-flood-with-faults");
    // Within the second before the quarantine.
    (0..4).for_each(|_| {
        assert_eq!(proxy.post(HARM).status, 200);
        wait_until("the instance is replaced", || proxy.post(json::READ).result() == "b");
    });
    proxy.post("rubbish");
    wait_until("the log has gone on", || proxy.log().contains("not_json"));
    let lines = proxy.log().lines().filter(|line| line.contains("pointsman::guest")).count();
    assert!((1..=20).contains(&lines), "{lines} lines");
}

#[test]
fn a_policy_that_faults_again_and_again_is_in_quarantine_and_comes_back() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    load(&proxy, "score-trap");
    wait_until("it is in quarantine", || {
        assert_eq!(proxy.post(HARM).result(), "a");
        proxy.status()["policies"]["hostile"]["quarantined"] == true
    });
    let policy = proxy.status()["policies"]["hostile"].clone();
    assert_eq!((&policy["quarantines"], &policy["faults"]["trap"]), (&1.into(), &5.into()), "{policy}");
    assert!((0.0..=1.0).contains(&policy["quarantined_seconds"].as_f64().unwrap()), "{policy}");
    assert_eq!(proxy.metrics().sum("policy_quarantined", &[("policy", "hostile")]), 1.0);
    assert_eq!(proxy.metrics().sum("policy_quarantines_total", &[("policy", "hostile")]), 1.0);
    let health = proxy.admin("GET", "/health");
    assert_eq!((health.status, &health.json()["policies_quarantined"][0]), (200, &"hostile".into()));
    let output = proxy.site().run(&["status", "--admin", &proxy.admin_address().to_string()]);
    assert!(output.stdout.contains("in quarantine for"), "{}", output.stdout);

    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!(proxy.status()["policies"]["hostile"]["quarantined"], true, "nothing about it has changed");
    // Good requests don't reach the policy until a half-open call, which ends the quarantine.
    wait_until("it is back", || proxy.post(json::READ).result() == "b");
    assert_eq!(proxy.metrics().sum("policy_quarantined", &[]), 0.0);
    assert!(proxy.admin("GET", "/health").json()["policies_quarantined"].is_null());
    let told = |what: &str| proxy.log().lines().filter(|line| line.contains(what)).count();
    wait_until("the log tells it", || told("policy is out of quarantine") == 1);
    assert_eq!(told("policy is in quarantine"), 1, "once");
    assert_eq!(proxy.log().lines().filter(|l| l.contains("WARN") && l.contains("policy faults")).count(), 1, "once");
}

#[test]
fn a_trial_that_faults_doubles_the_quarantine_and_a_mended_module_ends_it() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    load(&proxy, "score-trap");
    wait_until("a trial has faulted, too", || {
        assert_eq!(proxy.post(HARM).result(), "a");
        faults(&proxy, "trap") == 6.0
    });
    assert!(proxy.status()["policies"]["hostile"]["quarantined_seconds"].as_f64().unwrap() > 1.0);
    assert_eq!(proxy.post(json::READ).result(), "a", "nobody calls it");
    load(&proxy, "score-endless-loop");
    assert_eq!(proxy.status()["policies"]["hostile"]["quarantined"], false, "another module starts fresh");
    assert_eq!(proxy.post(json::READ).result(), "b");
}

#[test]
fn more_fuel_is_another_policy_and_lets_a_long_call_end() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    load(&proxy, "score-takes-long");
    assert_eq!(proxy.post(HARM).result(), "a", "100,000 are not enough");
    let table = "[policies.hostile]\nplugin = 'hostile'\nfuel = 1_000_000";
    proxy.rewrite_conf(&Conf::of([&a, &b]).extra(table).set("scoring", "'hostile'"));
    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!(proxy.post(HARM).result(), "b", "1,000,000 are");
}
