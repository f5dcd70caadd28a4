//! Paths in the conf that lead to anything but a file: none hangs a reload, or fills the memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::stat::Mode;

use super::refusals::expect_refusal;
use crate::support::{Conf, Guest, Origin, Proxy, json};

/// What a path may lead to, and what is said of it.
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

/// KiB that a proxy may take more for having met all of it.
const ROOM: u64 = 100 << 10;

#[test]
fn the_conf_and_what_it_names_must_be_files() {
    let good = Origin::start("good");
    let conf = Conf::of([&good]).endpoint(0, |e| e.set("headers", "{ x-api-key = 'file:key' }"));
    let conf = conf.scored_by(&Guest::in_order("orderly", "1.0.0", false));
    // Without the key there is no start.
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
