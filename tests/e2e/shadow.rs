//! Shadow policies.

use serde_json::{Value, json as value};

use crate::support::{Conf, Guest, Origin, Proxy, json, wait_until};

/// The conf with `guest` as the shadow, for this share of the requests.
fn shadowed(conf: Conf, guest: &Guest, share: f64) -> Conf {
    let shadow = format!("{{ policy = '{}', share = {share} }}", guest.name());
    conf.guest(guest).set("shadow", &shadow)
}

/// The result of `GET /shadow` for the upstream `main`; null if it has no shadow.
#[track_caller]
fn shadow(proxy: &Proxy) -> Value {
    let response = proxy.admin("GET", "/shadow");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()["upstreams"]["main"].clone()
}

/// Sampled requests with any result.
fn seen(shadow: &Value) -> u64 {
    ["compared", "faults", "dropped"].map(|count| shadow[count].as_u64().expect("a number")).iter().sum()
}

#[track_caller]
fn wait_until_seen(proxy: &Proxy, requests: u64) {
    wait_until("the shadow has seen them", || seen(&shadow(proxy)) == requests);
}

fn first_is_live() -> Guest {
    Guest::in_order("live", "1.0.0", false)
}

fn no_faults(proxy: &Proxy, policy: &str) {
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[("policy", policy)]), 0.0, "{policy}");
}

#[test]
fn a_policy_agrees_with_itself_under_another_name() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::start);
    let live = "[policies.old]\nplugin = 'peak-ewma'\n[policies.new]\nplugin = 'peak-ewma'";
    let conf = Conf::of([&a, &b, &c]).shipped("peak-ewma").extra(live).set("scoring", "'old'");
    let proxy = Proxy::start(&conf.set("shadow", "{ policy = 'new', share = 1 }"));
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.post(json::READ).status, 200);
    }
    wait_until_seen(&proxy, 50);
    let found = shadow(&proxy);
    assert_eq!((&found["compared"], &found["agreed"], &found["dropped"]), (&value!(50), &value!(50), &value!(0)));
    assert_eq!((&found["agreement_rate"], &found["disagreements"]), (&value!(1.0), &value!([])));
    assert!(found["mean_correlation"].as_f64() > Some(0.999_999), "{found:#}");
    assert_eq!((&found["scoring"], &found["policy"]), (&value!("old"), &value!("new")));
    assert_eq!(found["plugin"], "peak-ewma");
    let status = proxy.status()["policies"]["new"].clone();
    assert_eq!((&found["version"], &found["sha256"]), (&status["version"], &status["sha256"]));
    assert_eq!(status["calls"], 50);

    let metrics = proxy.metrics();
    let count = |name| metrics.sum(name, &[("upstream", "main"), ("policy", "new")]);
    assert_eq!(["shadow_compared_total", "shadow_agreed_total"].map(count), [50.0, 50.0]);
    assert_eq!(["shadow_faults_total", "shadow_dropped_total"].map(count), [0.0, 0.0]);
    // For the first request all endpoints may be equal.
    assert!(count("shadow_rank_correlation_count") >= 49.0);
    assert_eq!(count("shadow_call_duration_seconds_count"), 50.0);
    no_faults(&proxy, "old");
}

#[test]
fn a_disagreement_is_shown_with_its_inputs_and_changes_nothing() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let candidate = Guest::in_order("candidate", "2.0.0", true);
    let proxy = Proxy::start(&shadowed(Conf::of([&a, &b]).scored_by(&first_is_live()), &candidate, 1.0));
    assert_eq!(proxy.post(json::request("1", "eth_getLogs")).result(), "a");
    for _ in 0..19 {
        assert_eq!(proxy.post(json::READ).result(), "a", "the live policy decides");
    }
    proxy.post(json::batch(3));
    wait_until_seen(&proxy, 21);
    assert_eq!((a.hits(), b.hits()), (21, 0));

    let found = shadow(&proxy);
    assert_eq!((&found["compared"], &found["agreed"]), (&value!(21), &value!(0)));
    assert_eq!((&found["agreement_rate"], &found["mean_correlation"]), (&value!(0.0), &value!(-1.0)));
    let disagreements = found["disagreements"].as_array().expect("a list");
    assert_eq!(disagreements.len(), 16, "the last ones are kept");
    assert!(disagreements.iter().all(|d| d["method"] != "eth_getLogs"), "the oldest is gone");
    assert_eq!((&disagreements[0]["batch"], &disagreements[1]["batch"]), (&value!(3), &value!(1)), "the latest first");

    let one = &disagreements[1];
    assert_eq!((&one["method"], &one["attempt"]), (&value!("eth_blockNumber"), &value!(1)));
    assert_eq!((&one["live"], &one["shadow"]), (&value!("a"), &value!("b")));
    assert!(one["unix_ms"].as_u64() > Some(1_600_000_000_000), "{one:#}");
    let endpoints = one["endpoints"].as_array().expect("a list");
    let scores = |n: usize| (endpoints[n]["live_score"].clone(), endpoints[n]["shadow_score"].clone());
    assert_eq!((scores(0), scores(1)), ((value!(-0.0), value!(0.0)), (value!(-1.0), value!(1.0))));
    assert_eq!((&endpoints[0]["name"], &endpoints[1]["name"]), (&value!("a"), &value!("b")));
    assert_eq!((&endpoints[0]["inputs"]["weight"], &endpoints[1]["inputs"]["weight"]), (&value!(100), &value!(90)));
    assert!(endpoints[0]["inputs"]["latency_ms"].as_f64() > Some(0.0), "{one:#}");
    no_faults(&proxy, "live");
    no_faults(&proxy, "candidate");
}

/// A body of `score` that answers the probe, whose method doesn't begin with `eth_g`.
fn when_asked(then: &str) -> String {
    format!(
        "(if (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)) (then {then}))
         (f64.store (local.get $scores) (f64.const 9))"
    )
}

#[test]
fn a_shadow_that_faults_costs_nobody_anything() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let bad = json::request("1", "eth_getLogs");
    for (kind, body) in [("trap", "unreachable"), ("fuel", "(loop $forever (br $forever))")] {
        let faulty = Guest::new("faulty", "1.0.0").score(&when_asked(body));
        let proxy = Proxy::start(&shadowed(Conf::of([&a, &b]).scored_by(&first_is_live()), &faulty, 1.0));
        let mut client = proxy.client();
        for _ in 0..30 {
            assert_eq!(client.post(&bad).result(), "a", "{kind}");
        }
        wait_until_seen(&proxy, 30);
        // Samples are dropped while an instance is replaced.
        let found = shadow(&proxy);
        assert_eq!(found["compared"], 0, "{found:#}");
        let faults = found["faults"].as_f64().expect("a number");
        assert!(faults >= 1.0, "{found:#}");
        let metrics = proxy.metrics();
        assert_eq!(metrics.sum("policy_faults_total", &[("policy", "faulty"), ("kind", kind)]), faults);
        assert_eq!(metrics.sum("shadow_faults_total", &[("upstream", "main"), ("policy", "faulty")]), faults);
        no_faults(&proxy, "live");
        wait_until("its instance comes back", || {
            client.post(json::READ);
            shadow(&proxy)["compared"].as_u64() > Some(0)
        });
    }
}

/// The policy that faults as a shadow is another upstream's live policy.
#[test]
fn a_shadow_that_faults_takes_no_instance_from_those_whom_it_serves() {
    let [a, b, other] = ["a", "b", "other"].map(Origin::start);
    // Prefers the last endpoint, and traps for the upstream of two.
    let body = "(if (i32.and (i32.eq (local.get $count) (i32.const 2))
                             (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)))
                 (then unreachable))
                (f64.store (local.get $scores) (f64.const 9))";
    let faulty = Guest::new("faulty", "1.0.0").score(body);
    let second = format!(
        "[upstreams.second]\nscoring = 'faulty'\n[[upstreams.second.endpoints]]\nurl = '{}'\nname = 'other'\n\
         [[routes]]\npath_prefix = '/second'\nupstream = 'second'\n[[routes]]\npath_prefix = '/'\nupstream = 'main'",
        other.url()
    );
    let conf = shadowed(Conf::of([&a, &b]).scored_by(&first_is_live()), &faulty, 1.0).extra(&second);
    let proxy = Proxy::start(&conf);
    let bad = json::request("1", "eth_getLogs");
    // Separate connections, so that all threads take part.
    wait_until("the shadow has faulted often", || {
        assert_eq!(proxy.post(&bad).result(), "a");
        assert_eq!(proxy.client().post_with("/second", &[], &bad).result(), "other");
        shadow(&proxy)["faults"].as_u64() > Some(100)
    });
    let faults = |kind: &str| proxy.metrics().sum("policy_faults_total", &[("policy", "faulty"), ("kind", kind)]);
    assert_eq!(faults("not_ready"), 0.0, "each live call found its instance");
    wait_until("all faults were the shadow's", || shadow(&proxy)["faults"].as_f64() == Some(faults("trap")));
}

#[test]
fn it_sees_about_the_share_that_the_conf_says() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let candidate = Guest::in_order("candidate", "1.0.0", false);
    let proxy = Proxy::start(&shadowed(Conf::of([&a, &b]).scored_by(&first_is_live()), &candidate, 0.25));
    let mut client = proxy.client();
    for _ in 0..1_000 {
        client.post(json::READ);
    }
    // 250 are expected, with a standard deviation of 14.
    let about = |seen: u64| (150..350).contains(&seen);
    wait_until("some 250 were seen", || about(seen(&shadow(&proxy))));
    assert_eq!(shadow(&proxy)["share"], 0.25);
    let calls = proxy.status()["policies"]["candidate"]["calls"].as_u64().expect("a number");
    assert!(about(calls), "{calls} calls of 1,000 requests");
}

#[test]
fn a_reload_keeps_what_was_found_while_the_policy_stays() {
    let [a, b, c] = ["a", "b", "c"].map(Origin::start);
    let last = Guest::in_order("candidate", "1.0.0", true);
    let conf = Conf::of([&a, &b]).scored_by(&first_is_live());
    let proxy = Proxy::start(&shadowed(conf.clone(), &last, 1.0));
    proxy.post(json::READ);
    wait_until_seen(&proxy, 1);

    let more = Conf::of([&a, &b, &c]).scored_by(&first_is_live());
    proxy.rewrite_conf(&shadowed(more, &last, 0.5).endpoint(0, |e| e.set("name", "'renamed'")));
    assert!(proxy.reload_by_signal());
    let found = shadow(&proxy);
    assert_eq!((&found["compared"], &found["share"]), (&value!(1), &value!(0.5)), "it is the same policy");
    assert_eq!(found["disagreements"][0]["live"], "a", "as it was called then");

    proxy.rewrite_conf(&shadowed(conf.clone(), &Guest::in_order("candidate", "1.1.0", true), 1.0));
    assert!(proxy.reload_by_signal());
    let found = shadow(&proxy);
    assert_eq!((&found["compared"], &found["version"]), (&value!(0), &value!("1.1.0")), "another module starts anew");
    assert_eq!((&found["agreement_rate"], &found["mean_correlation"]), (&value!(null), &value!(null)));
    proxy.post(json::READ);
    wait_until_seen(&proxy, 1);

    proxy.rewrite_conf(&conf);
    assert!(proxy.reload_by_signal());
    assert_eq!(shadow(&proxy), value!(null), "without the key there is none");
    assert_eq!(proxy.post(json::READ).result(), "a");
    let names = ["compared_total", "dropped_total", "rank_correlation_count", "call_duration_seconds_count"];
    wait_until("its series are gone", || {
        let metrics = proxy.metrics();
        names.iter().all(|name| !metrics.has(&format!("shadow_{name}"), &[]))
    });
}

#[test]
fn a_conf_that_makes_no_sense_is_refused_with_its_place() {
    let a = Origin::start("a");
    let conf = Conf::of([&a]).scored_by(&first_is_live()).guest(&Guest::new("retries", "1.0.0").always_retries());
    let proxy = Proxy::start(&conf);
    for (shadow, parts) in [
        ("'lvie'", ["upstreams.main.shadow", "did you mean \"live\"?"]),
        ("'live'", ["upstreams.main.shadow", "is the upstream's scoring policy"]),
        ("{ policy = 'retries', share = 2 }", ["upstreams.main.shadow.share", "must be above 0 and at most 1"]),
        ("'retries'", ["upstreams.main.shadow names it", "its plugin is no scoring policy"]),
    ] {
        proxy.rewrite_conf(&conf.clone().set("shadow", shadow));
        let report = proxy.post_reload();
        assert_eq!(report.status, 422, "{shadow}");
        let error = report.json()["error"].as_str().expect("an error").to_owned();
        let has_place = error.contains("pointsman.toml:");
        assert!(has_place && parts.iter().all(|part| error.contains(part)), "{shadow}: {error}");
        assert_eq!(proxy.post(json::READ).result(), "a", "the old generation serves on");
    }
}

#[test]
fn the_admin_address_tells_of_one_upstream_or_of_all_and_asks_for_the_token() {
    let a = Origin::start("a");
    let conf = shadowed(Conf::of([&a]), &Guest::in_order("candidate", "1.0.0", false), 0.1);
    let proxy = Proxy::start(&conf);
    let get = |path: &str| proxy.admin("GET", path);
    assert_eq!(get("/shadow?upstream=main").json()["upstreams"]["main"]["scoring"], "native");
    assert_eq!(get("/shadow").json()["generation"], 1);
    let refused = |path: &str| (get(path).status, get(path).json()["error"].as_str().unwrap_or_default().to_owned());
    assert_eq!(refused("/shadow?upstream=mian"), (400, "there is no such upstream; there are: main".to_owned()));
    assert_eq!(refused("/shadow?upstreams=main"), (400, "the key is upstream".to_owned()));
    assert_eq!(proxy.admin("POST", "/shadow").status, 405);

    let proxy = Proxy::start(&conf.admin("token", "'open-sesame'"));
    assert_eq!(proxy.admin("GET", "/shadow").status, 401);
    let mut client = proxy.admin_client();
    client.send("GET /shadow HTTP/1.1\r\nhost: admin\r\nauthorization: Bearer open-sesame\r\n\r\n");
    assert_eq!(client.read().status, 200);
}
