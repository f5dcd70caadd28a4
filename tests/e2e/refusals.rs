//! Refused confs and plugins: `check` and a reload report each with its location or stage, and the
//! old generation continues to serve.

use crate::support::{Conf, Guest, Origin, Proxy, Site, json, wait_until};

/// Expects the same refusal from a reload and from `check`.
#[track_caller]
pub(super) fn expect_refusal(proxy: &Proxy, parts: &[&str]) {
    let generation = proxy.status()["generation"].clone();
    let response = proxy.post_reload();
    let report = response.json();
    assert_eq!(response.status, 422, "{report}");
    assert_eq!(report["success"], false);
    assert_eq!(report["generation"], generation);
    let error = report["error"].as_str().expect("an error");
    assert!(!proxy.reload_by_signal());

    let checked = check(proxy.site());
    assert_eq!(checked.0, Some(1), "{}", checked.1);
    assert_eq!(checked.1.matches(error).count(), 1, "told once, and with the same words: {}", checked.1);
    for part in parts {
        assert!(error.contains(part), "no {part:?} in {error:?}");
        assert!(checked.1.contains(part), "no {part:?} in {:?}", checked.1);
        wait_until(&format!("the log tells {part:?}"), || proxy.log().contains(part));
    }
    assert_eq!(proxy.post(json::READ).result(), "good", "the old generation serves on");
}

fn check(site: &Site) -> (Option<i32>, String) {
    let conf = site.conf();
    let output = site.run(&["check", "--config", conf.to_str().expect("a path in UTF-8")]);
    (output.code, output.stderr)
}

/// Expects a warning from a reload, `check` and the log about a file that no policy needs.
#[track_caller]
pub(super) fn expect_warning(proxy: &Proxy, parts: &[&str]) {
    let response = proxy.post_reload();
    let report = response.json();
    assert_eq!((response.status, &report["success"]), (200, &true.into()), "{report}");
    let warnings = report["warnings"].as_array().expect("warnings");
    let fits = |warning: &str| parts.iter().all(|part| warning.contains(part));
    assert!(warnings.iter().filter_map(|warning| warning.as_str()).any(fits), "no {parts:?} in {report}");
    let (code, printed) = check(proxy.site());
    assert_eq!((code, printed.lines().any(fits)), (Some(0), true), "{printed}");
    wait_until("the log has it", || proxy.log().lines().any(fits));
}

#[test]
fn a_broken_conf_is_told_with_line_and_column() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]);
    let proxy = Proxy::start(&conf);
    let text = proxy.site().text();
    let cases = [
        (text.replace("[admin]", "[admin"), "expected"),
        (text.replace("threads", "treads"), "treads"),
        (text.replace("url = 'http://", "url = 'ftp://"), "must begin with http:// or https://"),
        (text.replace("weight = 100", "rate_limit_per_sec = 0"), "rate_limit_per_sec"),
        (text.replace("weight = 100", "weight = -1"), "weight"),
        (text.replace("weight = 100", "weight = 'much'"), "weight"),
        (text.replace("deadline = '8s'", "deadline = '8'"), "deadline"),
        (text.replace("health_check = 'off'", "health_check = { interval = '1ms' }"), "must be at least 100ms"),
        (text.replace("deadline = '8s'", "protocol = 'htp'"), "must be \"json-rpc\" or"),
        (text.replace("deadline = '8s'", "scoring = 'nobody'"), "isn't in [policies]"),
    ];
    for (broken, part) in cases {
        assert_ne!(broken, text, "{part}");
        let line = 1 + broken.lines().zip(text.lines()).take_while(|(new, old)| new == old).count();
        proxy.site().write_text(&broken);
        expect_refusal(&proxy, &[&format!("pointsman.toml:{line}:"), part]);
    }
    proxy.site().write_text(&text);
    assert_eq!(proxy.post_reload().status, 200);
}

#[test]
fn every_mistake_is_told_at_once() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&Conf::of([&good]));
    let text = proxy.site().text();
    let broken =
        text.replace("deadline = '8s'", "deadline = '0s'\nmax_attempts = 0").replace("weight = 100", "weight = 99999");
    proxy.site().write_text(&broken);
    expect_refusal(&proxy, &["deadline", "max_attempts", "weight"]);
}

#[test]
fn a_missing_conf_is_an_error() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&Conf::of([&good]));
    std::fs::remove_file(proxy.site().conf()).unwrap();
    expect_refusal(&proxy, &["pointsman.toml", "can't"]);
}

/// A loop whose iterations use much fuel and little time: its fuel ends long before its processor
/// time on any machine.
fn endless() -> String {
    format!("(loop $l {} (br $l)) i64.const 0", "(drop (i32.const 0))".repeat(1_000))
}

/// Contents of `bad.wasm` in the plugin folder, and the texts of the refusal.
fn bad_modules() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let guest = || Guest::in_order("bad", "1.0.0", false);
    let whole = guest().wasm();
    vec![
        ("empty", Vec::new(), vec!["stage compile", "is empty"]),
        ("not wasm", b"#!/bin/sh\n".to_vec(), vec!["stage compile", "not a WebAssembly module"]),
        ("a component", b"\0asm\x0d\0\x01\0".to_vec(), vec!["stage compile", "component"]),
        ("truncated", whole[..whole.len() / 2].to_vec(), vec!["stage compile", "is cut short"]),
        ("abi 0", guest().abi(0, 7).wasm(), vec!["stage abi", "ABI 0.7", "knows ABI 1"]),
        ("abi 99", guest().abi(99, 0).wasm(), vec!["stage abi", "ABI 99.0"]),
        ("no json", guest().describe("hello").wasm(), vec!["stage describe"]),
        ("bad name", guest().describe(r#"{"name":"Bad!","version":"1.0.0","kinds":["scoring"]}"#).wasm(), vec!["name"]),
        ("no kinds", guest().describe(r#"{"name":"bad","version":"1.0.0","kinds":[]}"#).wasm(), vec!["neither"]),
        ("traps in configure", guest().configure("unreachable").wasm(), vec!["stage configure", "policies.bad", "trap"]),
        ("refuses its config", guest().refuses_config("no bias").wasm(), vec!["stage configure", "no bias"]),
        ("loops in configure", guest().configure(&endless()).wasm(), vec!["configure", "fuel"]),
        ("a text out of memory", guest().configure("i64.const -1").wasm(), vec!["stage configure"]),
        ("traps in score", Guest::new("bad", "1.0.0").score("unreachable").wasm(), vec!["stage probe", "score"]),
        ("retry without sense", Guest::new("bad", "1.0.0").score("nop").retry("(i32.store offset=4 (local.get $decision) (i32.const 7))").wasm(), vec!["stage probe", "no such action"]),
        ("the wrong kind", Guest::new("bad", "1.0.0").always_retries().wasm(), vec!["no scoring policy"]),
        ("kind not exported", guest().describe(r#"{"name":"bad","version":"1.0.0","kinds":["scoring","retry"]}"#).wasm(), vec!["pointsman_retry"]),
        ("another plugin", Guest::in_order("other", "1.0.0", false).wasm(), vec!["stage match", "no plugin named \"bad\"", "other"]),
        ("another version", Guest::in_order("bad", "2.0.0", false).wasm(), vec!["stage match", "^1", "2.0.0"]),
        ("wasi", wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))) (memory (export "memory") 1))"#).unwrap(), vec!["stage instantiate", "wasi_snapshot_preview1"]),
        ("no memory", wat::parse_str("(module)").unwrap(), vec!["stage instantiate", "memory"]),
    ]
}

#[test]
fn a_broken_plugin_is_told_with_its_stage() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]);
    let proxy = Proxy::start(&conf);
    proxy.rewrite_conf(&conf.extra("[policies.bad]\nplugin = 'bad'\nversion = '^1'").set("scoring", "'bad'"));
    for (what, wasm, parts) in bad_modules() {
        eprintln!("a module that is: {what}");
        proxy.site().add_plugin("bad", &wasm);
        expect_refusal(&proxy, &parts);
    }
    proxy.site().add_plugin("bad", &Guest::in_order("bad", "1.0.0", false).wasm());
    let response = proxy.post_reload();
    assert_eq!(response.status, 200, "{}", response.text());
}

#[test]
fn more_instances_than_there_may_be_are_refused() {
    let good = Origin::start("good");
    let one = Conf::of([&good]).scored_by(&Guest::in_order("one", "1.0.0", false));
    let few = |conf: Conf| conf.plugins("max_instances", "16");
    let proxy = Proxy::start(&few(one.clone()));
    // Each policy has an instance for each of two worker threads, and three more.
    let many = ["two", "three", "four", "five"].map(|name| Guest::in_order(name, "1.0.0", false));
    proxy.rewrite_conf(&few(many.iter().fold(one, |conf, guest| conf.guest(guest))));
    let generation = proxy.status()["generation"].clone();
    let report = proxy.post_reload().json();
    let error = report["error"].as_str().expect("an error");
    assert!(error.contains("all 16 instances are in use; plugins.max_instances may be raised"), "{error}");
    assert_eq!((&report["generation"], proxy.post(json::READ).result()), (&generation, "good".into()));
}

#[test]
fn two_files_of_one_name_and_version_must_be_the_same() {
    let good = Origin::start("good");
    let one = Guest::in_order("twin", "1.0.0", false);
    let proxy = Proxy::start(&Conf::of([&good]).scored_by(&one));
    proxy.site().add_plugin("copy", &one.wasm());
    assert_eq!(proxy.post_reload().status, 200, "a copy does no harm");
    proxy.site().add_plugin("copy", &Guest::in_order("twin", "1.0.0", true).wasm());
    expect_refusal(&proxy, &["twin 1.0.0", "different contents"]);
}

#[test]
fn a_pinned_digest_must_match() {
    let good = Origin::start("good");
    let guest = Guest::in_order("pinned", "1.0.0", false);
    let proxy = Proxy::start(&Conf::of([&good]).scored_by(&guest));
    let digest = proxy.status()["policies"]["pinned"]["sha256"].as_str().unwrap().to_owned();
    let pin = |digest: &str| {
        let table = format!("[policies.pinned]\nplugin = 'pinned'\nsha256 = '{digest}'");
        Conf::of([&good]).scored_by(&guest).without_extra().extra(&table)
    };
    proxy.rewrite_conf(&pin(&digest));
    assert_eq!(proxy.post_reload().status, 200);
    proxy.rewrite_conf(&pin(&"0".repeat(64)));
    expect_refusal(&proxy, &["stage match", "with sha256 000000"]);
}

#[test]
fn folders_and_links_out_of_the_plugin_folder_are_not_used() {
    let good = Origin::start("good");
    let guest = Guest::in_order("g", "1.0.0", false);
    let proxy = Proxy::start(&Conf::of([&good]).scored_by(&guest));
    let odd = proxy.plugins().join("odd.wasm");
    std::fs::create_dir(&odd).unwrap();
    expect_warning(&proxy, &["odd.wasm", "is not a file"]);
    std::fs::remove_dir(&odd).unwrap();
    let outside = proxy.site().folder().join("outside.wasm");
    std::fs::write(&outside, guest.wasm()).unwrap();
    std::os::unix::fs::symlink(&outside, &odd).unwrap();
    expect_warning(&proxy, &["odd.wasm", "leads out of the plugin folder"]);
    std::fs::remove_file(&odd).unwrap();
    std::fs::write(proxy.plugins().join(".half-written.wasm"), "half").unwrap();
    assert_eq!(proxy.post_reload().status, 200, "a hidden file is somebody's unfinished work");
}
