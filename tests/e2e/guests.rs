//! Hostile and broken modules: each ends in a refusal at load, or in a counted fault with a good
//! answer to the client.
//!
//! A module misbehaves in requests for `eth_getLogs`. The policy prefers the endpoint `b`, the
//! native one `a`.

mod budget;
mod direct;
mod quarantine;
mod useless;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::refusals::expect_warning;
use crate::support::{
    Answer, Client, Conf, GENERATED, Origin, Proxy, harmless, hostile, hostile_files, json, wait_until,
};

/// Modules that are refused at load, and their errors.
const REFUSED: [(&str, &[&str]); 69] = [
    ("empty", &["stage compile: is empty"]),
    ("truncated", &["stage compile: is cut short"]),
    ("not-wasm", &["stage compile: is not a WebAssembly module"]),
    ("component", &["stage compile: is a component"]),
    ("many-functions", &["stage compile: has 1000", "functions; a module may have 20000"]),
    ("large-function", &["stage compile: has a function of", "one may have 65536"]),
    ("many-locals", &["stage compile: has a function of", "2000 locals and 0 loops, which takes too long"]),
    ("wide-blocks", &["stage compile: has a function of", " 0 locals and 0 loops, which takes too long"]),
    ("many-blocks", &["stage compile: has a function of 5000 blocks; one may have 4096"]),
    ("many-loops", &["stage compile: has a function of", "2000 loops, which takes too long to compile"]),
    ("many-heavy-functions", &["stage compile: has too many functions with many bytes, locals and loops"]),
    ("large-data-segment", &["stage read: has", "a module may have 8388608"]),
    ("memory-too-large", &["stage compile", "memory"]),
    ("memory-64", &["stage compile", "memory"]),
    ("memory-shared", &["stage compile", "threads"]),
    ("memory-wrong-type", &["stage instantiate: does not export a memory"]),
    ("no-memory", &["stage instantiate: does not export a memory"]),
    ("table-too-large", &["stage compile", "table"]),
    ("data-out-of-bounds", &["stage instantiate: start trapped: wasm trap: out of bounds memory access"]),
    ("import-unknown", &["stage instantiate: unknown import", "pointsman::now"]),
    ("import-wasi", &["stage instantiate: unknown import", "wasi_snapshot_preview1::fd_write"]),
    ("import-memory", &["stage instantiate: unknown import", "env::memory"]),
    ("import-escapes", &["stage instantiate: unknown import", "[31m"]),
    ("import-log-wrong-type", &["stage instantiate: incompatible import type", "pointsman::log"]),
    ("start-trap", &["stage instantiate: start trapped", "unreachable", "backtrace: "]),
    ("start-endless-loop", &["stage instantiate: start "]),
    ("initialize-trap", &["stage instantiate: _initialize trapped"]),
    ("initialize-wrong-type", &["stage instantiate: export `_initialize` has a wrong type"]),
    ("abi-version-trap", &["stage abi: abi_version trapped"]),
    ("abi-version-wrong-type", &["export `pointsman_abi_version` has a wrong type"]),
    ("no-abi-version", &["does not export `pointsman_abi_version`"]),
    ("abi-0", &["stage abi: is built for ABI 0.7; this proxy knows ABI 1"]),
    ("abi-99", &["stage abi: is built for ABI 99.2; this proxy knows ABI 1"]),
    ("describe-trap", &["stage describe: describe trapped"]),
    ("describe-endless-loop", &["stage describe: describe "]),
    ("describe-wrong-type", &["export `pointsman_describe` has a wrong type"]),
    ("describe-out-of-bounds", &["stage describe: describe breaks the ABI: returned a slice outside of its memory"]),
    ("describe-too-long", &["stage describe: describe breaks the ABI: returned a text of 4097 bytes"]),
    ("describe-broken-utf8", &["stage describe: describe is not valid"]),
    ("describe-escapes", &["stage describe: describe is not valid: unknown variant ` [31mred`"]),
    ("no-describe", &["does not export `pointsman_describe`"]),
    ("alloc-trap", &["stage configure: alloc trapped"]),
    ("alloc-wrong-type", &["export `pointsman_alloc` has a wrong type"]),
    ("alloc-nothing", &["stage configure: pointsman_alloc(", "gave 0, which is not such a place"]),
    ("alloc-out-of-bounds", &["stage configure: pointsman_alloc(", "gave 131008, which is not such a place"]),
    ("alloc-wraps-around", &["stage configure: pointsman_alloc(", "gave 4294967232, which is not such a place"]),
    ("alloc-unaligned", &["stage configure: pointsman_alloc(", "gave 65537, which is not such a place"]),
    ("alloc-grows-memory", &["stage configure: alloc was refused memory and trapped"]),
    ("no-alloc", &["does not export `pointsman_alloc`"]),
    ("configure-trap", &["stage configure: configure trapped"]),
    ("configure-endless-loop", &["stage configure: configure "]),
    ("configure-deep-recursion", &["stage configure: configure trapped", "call stack exhausted"]),
    ("configure-wrong-type", &["export `pointsman_configure` has a wrong type"]),
    ("configure-out-of-bounds", &["stage configure: configure breaks the ABI: returned a slice outside of its memory"]),
    ("configure-escapes", &["stage configure: refused its config: cleared  [2J"]),
    ("no-configure", &["does not export `pointsman_configure`"]),
    ("score-wrong-type", &["export `pointsman_score` has a wrong type"]),
    ("score-always-traps", &["stage probe: score trapped"]),
    ("score-nan-when-lag-unknown", &["stage probe: score gave", "scores of NaN", "head_lag_blocks"]),
    ("no-score", &["does not export `pointsman_score`"]),
    ("retry-wrong-type", &["export `pointsman_retry` has a wrong type"]),
    ("no-retry", &["does not export `pointsman_retry`"]),
    ("plan-wrong-type", &["export `pointsman_plan` has a wrong type"]),
    ("plan-always-traps", &["stage probe: plan trapped"]),
    // Not contents of files; `places_that_are_no_files_are_not_used` creates them.
    ("a-folder", &["stage read: is not a file"]),
    ("a-link-out", &["stage read: is a link that leads out of the plugin folder"]),
    ("a-link-to-nothing", &["stage read: can't be read"]),
    ("a-link-to-itself", &["stage read: can't be read"]),
    ("a-pipe", &["stage read: is not a file"]),
];

/// Modules that fault when they score, and the possible kinds of fault.
const BAD_SCORES: [(&str, &[&str]); 17] = [
    ("score-endless-loop", &["fuel"]),
    ("score-trap", &["trap"]),
    ("score-divides-by-zero", &["trap"]),
    ("score-out-of-bounds", &["trap"]),
    // The fuel may end before the stack.
    ("score-deep-recursion", &["trap", "fuel"]),
    ("score-grows-memory", &["memory"]),
    ("score-grows-a-table", &["memory"]),
    // Table entries cost no fuel; the limit of processor time ends the call.
    ("score-fills-a-table", &["epoch", "fuel"]),
    ("score-fills-memory", &["fuel"]),
    ("log-flood-with-faults", &["trap"]),
    ("log-flood", &["fuel", "epoch"]),
    ("score-takes-long", &["fuel"]),
    ("score-nan-for-all", &["output"]),
    ("score-infinite-for-all", &["output"]),
    ("score-changes-flags", &["output"]),
    ("log-flood-of-short-lines", &["fuel"]),
    ("log-of-megabytes", &["fuel"]),
];

/// Modules with odd but valid scores, and the endpoint that answers.
const ODD_SCORES: [(&str, &str); 7] = [
    ("score-grows-and-goes-on", "b"),
    ("score-scribbles", "a"),
    ("score-runs-over", "b"),
    ("score-nan-and-denormal", "b"),
    ("score-infinities", "b"),
    ("log-out-of-bounds", "b"),
    ("score-refuses-too-early", "b"),
];

/// Modules with their own tests.
const OTHERS: [&str; 3] = ["score-refuses", "retry-takes-long", "retry-takes-longer"];

/// Modules that fault in `retry` or `plan`.
const BAD_DECISIONS: [(&str, &str); 10] = [
    ("retry-endless-loop", "fuel"),
    ("retry-trap", "trap"),
    ("retry-no-such-action", "output"),
    ("retry-no-such-cooldown", "output"),
    ("retry-nan-penalty", "output"),
    ("plan-endless-loop", "fuel"),
    ("plan-trap", "trap"),
    ("plan-no-attempt", "output"),
    ("plan-nan-timeout", "output"),
    ("plan-negative-hedge", "output"),
];

/// Modules with extreme but valid decisions. The client gets an answer nevertheless.
const ODD_DECISIONS: [&str; 5] = [
    "retry-no-delay",
    "retry-largest-delay",
    "retry-largest-everything",
    "retry-other-size",
    "plan-largest-everything",
];

/// Entries of the folder that are special files.
const PLACES: [&str; 5] = ["a-folder", "a-link-out", "a-link-to-nothing", "a-link-to-itself", "a-pipe"];

const HARM: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{}]}"#;

#[test]
fn every_guest_has_a_test() {
    let mut there: BTreeSet<String> = hostile_files().into_iter().collect();
    there.extend(GENERATED.into_iter().chain(PLACES).map(str::to_owned));
    let tested = REFUSED.iter().chain(&BAD_SCORES).map(|(name, _)| *name);
    let tested =
        tested.chain(ODD_SCORES.iter().chain(&BAD_DECISIONS).map(|(name, _)| *name)).chain(ODD_DECISIONS).chain(OTHERS);
    let tested: BTreeSet<String> = tested.map(str::to_owned).collect();
    assert_eq!(tested, there);
}

/// A proxy with a good policy as `hostile.wasm`, used for `kind`.
fn proxy_with(kind: &str, conf: Conf) -> Proxy {
    let proxy = Proxy::start(&conf);
    proxy.site().add_plugin("hostile", &harmless());
    proxy.rewrite_conf(&conf.extra("[policies.hostile]\nplugin = 'hostile'").set(kind, "'hostile'"));
    let response = proxy.post_reload();
    assert_eq!(response.status, 200, "{}", response.text());
    proxy
}

/// Replaces the module.
#[track_caller]
fn load(proxy: &Proxy, name: &str) {
    proxy.site().add_plugin("hostile", &hostile(name));
    let response = proxy.post_reload();
    assert_eq!(response.status, 200, "{name}: {}", response.text());
}

fn faults(proxy: &Proxy, kind: &str) -> f64 {
    proxy.metrics().sum("policy_faults_total", &[("policy", "hostile"), ("kind", kind)])
}

#[track_caller]
fn expect_refusal(proxy: &Proxy, name: &str, parts: &[&str]) {
    let before = proxy.status()["generation"].clone();
    let response = proxy.post_reload();
    let report = response.json();
    assert_eq!((response.status, &report["generation"]), (422, &before), "{name}: {report}");
    let error = report["error"].as_str().expect("an error");
    for part in parts.iter().chain(&["hostile"]) {
        assert!(error.contains(part), "{name}: no {part:?} in {error:?}");
    }
    assert!(!error.contains(char::is_control), "{name}: {error:?} isn't fit to print");
    assert_eq!(proxy.post(json::READ).result(), "b", "{name}: the old generation serves on");
}

#[test]
fn a_broken_module_is_refused_and_the_old_generation_serves_on() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    for (name, parts) in REFUSED.iter().filter(|(name, _)| !PLACES.contains(name)) {
        proxy.site().add_plugin("hostile", &hostile(name));
        expect_refusal(&proxy, name, parts);
    }
    proxy.site().add_plugin("hostile", &harmless());
    assert_eq!(proxy.post_reload().status, 200);
    assert!(!proxy.log().contains('\u{1b}'), "an escape sequence in the log");
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0);
}

#[test]
fn places_that_are_no_files_are_not_used() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    let outside = proxy.site().folder().join("outside.wasm");
    std::fs::write(&outside, harmless()).unwrap();
    let place = proxy.plugins().join("hostile-place.wasm");
    for name in PLACES {
        match name {
            "a-folder" => std::fs::create_dir(&place).unwrap(),
            "a-link-out" => symlink(&outside, &place).unwrap(),
            "a-link-to-nothing" => symlink("nothing", &place).unwrap(),
            "a-link-to-itself" => symlink(&place, &place).unwrap(),
            _ => nix::unistd::mkfifo(&place, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        }
        let (_, parts) = REFUSED.iter().find(|(refused, _)| *refused == name).expect("what is said");
        expect_warning(&proxy, &[parts, &["hostile-place.wasm"][..]].concat());
        if name == "a-folder" { std::fs::remove_dir(&place) } else { std::fs::remove_file(&place) }.unwrap();
    }
    assert_eq!(proxy.post_reload().status, 200);
}

#[test]
fn a_bad_score_is_a_fault_and_the_native_policy_answers() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    for (name, kinds) in BAD_SCORES {
        load(&proxy, name);
        assert_eq!(proxy.post(json::READ).result(), "b", "{name}: it is harmless so far");
        let sum = || kinds.iter().map(|kind| faults(&proxy, kind)).sum::<f64>();
        let (before, all) = (sum(), proxy.metrics().sum("policy_faults_total", &[]));
        assert_eq!(proxy.post(HARM).result(), "a", "{name}: the native policy answers");
        assert_eq!(sum() - before, 1.0, "{name} is none of {kinds:?}: {}", proxy.status()["policies"]);
        assert_eq!(proxy.metrics().sum("policy_faults_total", &[]) - all, 1.0, "{name}");
        wait_until("the instance is replaced", || proxy.post(json::READ).result() == "b");
    }
    wait_until("a fault is told with its place", || {
        proxy.log().lines().any(|line| line.contains("WARN") && line.contains("backtrace=0x"))
    });
}

#[test]
fn an_odd_score_is_no_fault() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = proxy_with("scoring", Conf::of([&a, &b]));
    for (name, expected) in ODD_SCORES {
        load(&proxy, name);
        for _ in 0..3 {
            assert_eq!(proxy.post(HARM).result(), expected, "{name}");
            assert_eq!(proxy.post(json::READ).result(), "b", "{name}: another request is none the wiser");
        }
    }
    assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0);
}

/// The first endpoint fails and has a short cooldown.
fn failing_first(bad: &Origin, good: &Origin) -> Conf {
    Conf::of([bad, good]).cooldown("base", "'1ms'").cooldown("max", "'1ms'").set("deadline", "'1s'")
}

#[test]
fn a_bad_decision_is_a_fault_and_the_native_policy_decides() {
    let (bad, good) = (Origin::always("bad", Answer::status(500)), Origin::start("good"));
    let proxy = proxy_with("retry", failing_first(&bad, &good));
    for (name, kind) in BAD_DECISIONS {
        load(&proxy, name);
        let before = faults(&proxy, kind);
        wait_until("the bad endpoint is asked first", || {
            let hits = bad.hits();
            assert_eq!(proxy.post(HARM).result(), "good", "{name}");
            bad.hits() > hits
        });
        assert!(faults(&proxy, kind) > before, "{name} is no {kind}: {}", proxy.status()["policies"]);
    }
}

#[test]
fn an_odd_decision_is_no_fault_and_is_clamped() {
    for name in ODD_DECISIONS {
        let (bad, good) = (Origin::always("bad", Answer::status(500)), Origin::start("good"));
        let proxy = proxy_with("retry", failing_first(&bad, &good));
        load(&proxy, name);
        let response = proxy.post(HARM);
        match name {
            // The retry is sent at the deadline, so the endpoint may or may not answer in time.
            "retry-largest-delay" => assert!([200, 502, 504].contains(&response.status), "{}", response.text()),
            _ => assert_eq!(response.result(), "good", "{name}"),
        }
        assert!(proxy.cooldown("bad") <= 86_400.0, "{name}");
        assert!(proxy.endpoint("bad")["penalty_ms"].as_f64().unwrap() <= 86_400_000.0, "{name}");
        assert_eq!(proxy.post(json::READ).result(), "good", "{name}");
        assert_eq!(proxy.metrics().sum("policy_faults_total", &[]), 0.0, "{name}");
    }
}

/// While all workers call a hostile policy, another upstream's requests follow its own policy.
#[test]
fn nobody_else_notices() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let other = format!(
        "[policies.good]\nplugin = 'good'\n[policies.hostile]\nplugin = 'hostile'\n\
         [upstreams.other]\nscoring = 'good'\n[[upstreams.other.endpoints]]\nurl = '{}'\nname = 'a'\nweight = 9\n\
         [[upstreams.other.endpoints]]\nurl = '{}'\nname = 'b'\n\
         [[routes]]\npath_prefix = '/'\nupstream = 'main'\n[[routes]]\npath_prefix = '/other'\nupstream = 'other'",
        a.url(),
        b.url()
    );
    let conf = Conf::of([&a, &b]).extra(&other).set("scoring", "'hostile'");
    let plain = Conf::of([&a, &b]);
    for name in ["score-endless-loop", "score-fills-a-table", "score-deep-recursion"] {
        let proxy = Proxy::start(&plain);
        proxy.site().add_plugin("hostile", &hostile(name));
        let good = crate::support::Guest::in_order("good", "1.0.0", true);
        proxy.site().add_guest(&good);
        proxy.rewrite_conf(&conf);
        assert_eq!(proxy.post_reload().status, 200);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(proxy.address());
                    while !stop.load(SeqCst) {
                        assert_eq!(client.post(HARM).result(), "a");
                    }
                });
            }
            let mut client = Client::connect(proxy.address());
            for _ in 0..500 {
                assert_eq!(client.post_with("/other", &[], HARM).result(), "b", "{name}");
            }
            stop.store(true, SeqCst);
        });
        assert!(proxy.metrics().sum("policy_faults_total", &[("policy", "hostile")]) >= 5.0, "{name}");
        assert_eq!(proxy.metrics().sum("policy_faults_total", &[("policy", "good")]), 0.0, "{name}");
    }
}
