//! Changes of the plugin folder without a signal.
//!
//! The *absence* of a reload is checked after evidence that the folder was scanned since.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::support::{Conf, Guest, Origin, Proxy, json, wait_until};

/// A conf whose policy prefers `a` until a version is added that prefers the last endpoint.
fn conf<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Conf {
    Conf::of(origins).scored_by(&first()).plugins("watch", "true")
}

fn first() -> Guest {
    Guest::in_order("orderly", "1.0.0", false)
}

fn last(version: &str) -> Guest {
    Guest::in_order("orderly", version, true)
}

fn generation(proxy: &Proxy) -> u64 {
    proxy.status()["generation"].as_u64().unwrap()
}

fn serves(proxy: &Proxy, version: &str) -> bool {
    proxy.status()["policies"]["orderly"]["version"] == version
}

/// Waits for a new scan of the folder, triggered by a file that is not a module.
#[track_caller]
fn await_a_look(proxy: &Proxy) {
    let looks = || proxy.log().matches("the modules in the plugin folder are the same").count();
    // Twice: the first line may be from an earlier scan.
    for _ in 0..2 {
        let before = looks();
        fs::write(proxy.plugins().join(format!("note-{before}.txt")), "no module").unwrap();
        wait_until("the folder was looked at", || looks() > before);
    }
}

#[test]
fn a_new_version_is_taken_without_a_signal() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]));
    assert_eq!(proxy.post(json::READ).result(), "a");
    proxy.site().add_guest(&last("1.1.0"));
    wait_until("it is taken", || serves(&proxy, "1.1.0"));
    assert_eq!(proxy.post(json::READ).result(), "b");
    await_a_look(&proxy);
    assert_eq!(generation(&proxy), 2, "the temporary file and its renaming are one change");
    assert_eq!((proxy.reloads("success"), proxy.reloads("failure")), (1.0, 0.0));
}

#[test]
fn what_is_written_in_pieces_is_taken_when_it_is_whole() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]));
    let wasm = last("1.1.0").wasm();
    let (head, tail) = wasm.split_at(wasm.len() / 2);
    let mut file = File::create(proxy.plugins().join("slow.wasm")).unwrap();
    file.write_all(head).unwrap();
    wait_until("the half is no plugin", || proxy.log().contains("plugin file slow.wasm is not used"));
    assert_eq!((proxy.reloads("failure"), proxy.post(json::READ).result()), (0.0, "a".to_owned()));
    file.write_all(tail).unwrap();
    drop(file);
    wait_until("the whole is taken", || serves(&proxy, "1.1.0"));
    assert_eq!(proxy.post(json::READ).result(), "b");
}

#[test]
fn a_broken_module_that_no_policy_needs_is_told_once() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]));
    proxy.site().add_plugin("broken", b"\0asm\x01\0\0\0 and nothing of use");
    wait_until("the log tells why", || proxy.log().contains("plugin file broken.wasm is not used"));
    await_a_look(&proxy);
    assert_eq!((generation(&proxy), proxy.reloads("failure")), (2, 0.0), "it isn't tried again until it changes");
    assert_eq!(proxy.post(json::READ).result(), "a");
    proxy.site().add_plugin("broken", &last("1.1.0").wasm());
    wait_until("the mended one is taken", || serves(&proxy, "1.1.0"));
}

#[test]
fn a_deleted_version_gives_way_and_the_last_one_is_missed() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]).guest(&last("1.1.0")).without_extra().extra(POLICY));
    assert_eq!(proxy.post(json::READ).result(), "b");
    fs::remove_file(proxy.plugins().join("orderly-1.1.0.wasm")).unwrap();
    wait_until("the other version serves", || serves(&proxy, "1.0.0"));
    assert_eq!(proxy.post(json::READ).result(), "a");
    fs::remove_file(proxy.plugins().join("orderly-1.0.0.wasm")).unwrap();
    wait_until("the last can't be missed", || proxy.reloads("failure") > 0.0);
    assert_eq!((generation(&proxy), proxy.post(json::READ).result()), (2, "a".to_owned()));
}

const POLICY: &str = "[policies.orderly]\nplugin = 'orderly'";

/// Another proxy watches the folder; its reloads show that there was enough time.
#[test]
fn nobody_watches_unless_the_conf_says_so() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let unaware = Proxy::start(&conf([&a, &b]).plugins("watch", "false"));
    let folder = format!("{:?}", unaware.plugins());
    let aware = Proxy::start(&conf([&a, &b]).plugins("dir", &folder));
    for version in ["1.1.0", "1.2.0"] {
        unaware.site().add_guest(&last(version));
        wait_until("the other one takes it", || serves(&aware, version));
    }
    assert_eq!((generation(&unaware), unaware.reloads("success")), (1, 0.0));
    assert_eq!(unaware.post(json::READ).result(), "a");
    assert!(unaware.reload_by_signal());
    assert!(serves(&unaware, "1.2.0"));
}

#[test]
fn a_reload_switches_it_on_and_moves_it() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]).plugins("watch", "false"));
    proxy.rewrite_conf(&conf([&a, &b]));
    assert_eq!(proxy.post_reload().status, 200);
    // At once: the folder may not be watched yet.
    proxy.site().add_guest(&last("1.1.0"));
    wait_until("it is taken", || serves(&proxy, "1.1.0"));

    let elsewhere = proxy.site().folder().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    lay(&elsewhere, &first());
    proxy.rewrite_conf(&conf([&a, &b]).plugins("dir", "'elsewhere'"));
    assert_eq!(proxy.post_reload().status, 200);
    assert!(serves(&proxy, "1.0.0"));
    proxy.site().add_guest(&last("1.2.0"));
    lay(&elsewhere, &last("1.3.0"));
    wait_until("the other folder's is taken", || serves(&proxy, "1.3.0"));
}

#[test]
fn a_folder_that_vanishes_is_watched_again_when_it_is_back() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]));
    let (folder, aside) = (proxy.plugins(), proxy.site().folder().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    wait_until("it is missed", || proxy.log().contains("can't be watched"));
    assert_eq!(proxy.post(json::READ).result(), "a");
    lay(&aside, &last("1.1.0"));
    fs::rename(&aside, &folder).unwrap();
    wait_until("it is found again", || serves(&proxy, "1.1.0"));
    proxy.site().add_guest(&Guest::in_order("orderly", "1.2.0", false));
    wait_until("it is watched again", || serves(&proxy, "1.2.0"));
    assert_eq!(proxy.log().matches("can't be watched").count(), 1, "trouble is told once");
}

#[test]
fn a_link_that_is_switched_to_another_folder_is_followed() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]));
    let path = |name: &str| proxy.site().folder().join(name);
    fs::rename(path("plugins"), path("release-1")).unwrap();
    fs::create_dir(path("release-2")).unwrap();
    lay(&path("release-2"), &last("2.0.0"));
    symlink("release-1", path("plugins")).unwrap();
    await_a_look(&proxy);
    symlink("release-2", path("next")).unwrap();
    fs::rename(path("next"), path("plugins")).unwrap();
    wait_until("the second serves", || serves(&proxy, "2.0.0"));
}

#[test]
fn a_rollback_is_not_undone_until_the_next_change() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]));
    proxy.site().add_guest(&last("1.1.0"));
    wait_until("it is taken", || serves(&proxy, "1.1.0"));
    let report = proxy.post_rollback().json();
    assert_eq!((&report["success"], &report["generation"]), (&json!(true), &json!(3)));
    await_a_look(&proxy);
    assert_eq!(generation(&proxy), 3);
    assert!(serves(&proxy, "1.0.0"));
    proxy.site().add_guest(&last("1.2.0"));
    wait_until("the next one is taken", || serves(&proxy, "1.2.0"));
}

#[test]
fn what_a_signal_has_taken_is_not_taken_twice() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&conf([&a, &b]));
    // On a busy machine the watcher may be faster than the signal.
    for version in ["1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0"] {
        let before = generation(&proxy);
        proxy.site().add_guest(&last(version));
        assert!(proxy.reload_by_signal());
        await_a_look(&proxy);
        assert!(serves(&proxy, version));
        if generation(&proxy) == before + 1 {
            return;
        }
    }
    panic!("each was taken twice");
}

/// Writes a guest into any folder, atomically.
fn lay(folder: &Path, guest: &Guest) {
    let unfinished = folder.join("unfinished");
    fs::write(&unfinished, guest.wasm()).unwrap();
    fs::rename(&unfinished, folder.join(format!("{}.wasm", guest.version()))).unwrap();
}
