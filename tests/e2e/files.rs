//! Paths in the conf to special files: none hangs a reload or fills the memory. And a reload that
//! hangs nevertheless.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;

use super::refusals::expect_refusal;
use crate::support::{Conf, Guest, Origin, Proxy, Signal, json, wait_until};

/// Targets of a path, and the error for each.
const ODD: [(&str, &str); 5] = [
    ("a folder", "is not a file but a folder"),
    ("a pipe", "is not a file but a pipe"),
    ("a socket", "is not a file but a socket"),
    ("/dev/zero", "is not a file but a device"),
    ("a terabyte", "larger than"),
];

fn make(kind: &str, path: &Path) {
    match kind {
        "a folder" => fs::create_dir(path).unwrap(),
        "a pipe" => nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap(),
        "a socket" => drop(UnixListener::bind(path).unwrap()),
        "/dev/zero" => symlink("/dev/zero", path).unwrap(),
        _ => fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
    }
}

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }.unwrap();
}

/// Allowed growth of the proxy in KiB after all of them.
const ROOM: u64 = 100 << 10;

#[test]
fn the_conf_and_what_it_names_must_be_files() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]).endpoint(0, |e| e.set("headers", "{ x-api-key = 'file:key' }"));
    let conf = conf.scored_by(&Guest::in_order("orderly", "1.0.0", false));
    // The start needs the key.
    let bare = Conf::of([&good]);
    let proxy = Proxy::start(&bare);
    let before = proxy.memory();
    let key = proxy.site().folder().join("key");
    fs::write(&key, "a-key\n").unwrap();
    proxy.rewrite_conf(&conf);
    assert_eq!(proxy.post_reload().status, 200);
    let plugin = proxy.plugins().join("orderly-1.0.0.wasm");
    for (path, name) in [(proxy.site().conf(), "pointsman.toml"), (key, "key"), (plugin, "orderly-1.0.0.wasm")] {
        let kept = fs::read(&path).unwrap();
        for (kind, said) in ODD {
            eprintln!("{name} is {kind}");
            fs::remove_file(&path).unwrap();
            make(kind, &path);
            let said = if name == "orderly-1.0.0.wasm" && kind == "/dev/zero" { "leads out of" } else { said };
            let said = if name == "orderly-1.0.0.wasm" && kind == "a terabyte" { "a module may have" } else { said };
            expect_refusal(&proxy, &[name, said]);
            remove(&path);
            fs::write(&path, &kept).unwrap();
        }
        assert_eq!(proxy.post_reload().status, 200, "{name} is a file again");
    }
    assert_eq!(proxy.post(json::READ).result(), "good");
    if let (Some(before), Some(after)) = (before, proxy.peak_memory()) {
        assert!(after < before + ROOM, "{before} KiB became {after}");
    }
}

#[test]
fn what_is_under_way_shows_only_while_it_is() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&Conf::of([&good]));
    assert_eq!(proxy.post_reload().status, 200);
    assert!(proxy.status().get("reload").is_none());
    assert_eq!(proxy.metrics().sum("reload_stuck", &[]), 0.0);
}

/// Its `configure` takes about a third of a second, with square roots that depend on each other.
fn slow_to_configure() -> Guest {
    let step = "(local.set $x (f64.sqrt (f64.add (local.get $x) (f64.const 1))))".repeat(8);
    let spin = format!(
        "(global $sink (mut f64) (f64.const 0))
         (func $spin (local $i i32) (local $x f64)
           (local.set $i (i32.const 8000000))
           (loop $next {step}
             (local.set $i (i32.sub (local.get $i) (i32.const 1)))
             (br_if $next (local.get $i)))
           (global.set $sink (local.get $x)))"
    );
    Guest::in_order("slow", "1.0.0", false).configure("(call $spin) (i64.const 0)").extra(&spin)
}

/// Each of many workers has its own instance, and one stage configures all: it exceeds the stage's
/// limit.
#[test]
fn a_stage_that_hangs_is_told_and_given_up_and_keeps_nobody_waiting() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]).server("threads", "200");
    let proxy = Proxy::start(&conf);
    proxy.rewrite_conf(&conf.scored_by(&slow_to_configure()));
    proxy.signal(Signal::SIGHUP);
    let stage = "instantiate and probe policy slow";
    let under_way = || proxy.status()["reload"].clone();
    let stuck = || proxy.metrics().sum("reload_stuck", &[]);
    wait_until("the stage is shown", || under_way()["stage"] == stage);
    assert_eq!((under_way()["stuck"].as_bool(), stuck()), (Some(false), 0.0));
    // In several waits, because each has a limit.
    for times in 1..=3 {
        wait_until("the log tells it", || proxy.lines("preparing a generation takes long") >= times);
        assert_eq!(proxy.post(json::READ).result(), "good");
    }
    assert!(proxy.log().lines().any(|line| line.contains("takes long") && line.contains(stage)), "{}", proxy.log());
    wait_until("it is given up", || stuck() == 1.0);
    wait_until("it is told", || proxy.log().contains("took too long and was given up"));
    let shown = under_way();
    assert_eq!((&shown["stage"], &shown["stuck"]), (&stage.into(), &true.into()));
    // Further requests are answered at once.
    let refused = proxy.post_reload();
    let error = refused.json()["error"].as_str().unwrap().to_owned();
    assert_eq!((refused.status, error.contains("of an earlier reload still hangs")), (503, true), "{error}");
    assert!(error.contains(stage), "{error}");
    assert_eq!((proxy.reloads("failure"), &proxy.status()["generation"]), (2.0, &1.into()));
    assert_eq!(proxy.post(json::READ).result(), "good");
}
