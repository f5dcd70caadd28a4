//! Compiled code on disk: filling, use, and damaged files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::refusals::expect_refusal;
use crate::support::{Conf, Guest, Origin, Proxy, Site, json, wait_until};

/// A folder that proxies may share as their cache.
struct Cache(TempDir);

impl Cache {
    fn new() -> Self {
        Cache(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    /// The conf with this cache.
    fn of(&self, conf: Conf) -> Conf {
        conf.plugins("cache_dir", &format!("{:?}", self.dir()))
    }

    /// The files with compiled code.
    fn code(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "code")).collect()
    }
}

/// A conf whose policy prefers the last endpoint, which no native policy does.
fn last_first<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> Conf {
    Conf::of(origins).scored_by(&Guest::in_order("orderly", "1.0.0", true))
}

/// Hits, misses, rejected, errors.
fn counts(proxy: &Proxy) -> [f64; 4] {
    let metrics = proxy.metrics();
    ["hit", "miss", "rejected", "error"].map(|result| {
        assert!(metrics.has("plugin_cache_total", &[("result", result)]), "{result}");
        metrics.sum("plugin_cache_total", &[("result", result)])
    })
}

fn check(site: &Site) -> Option<i32> {
    site.run(&["check", "--config", site.conf().to_str().unwrap()]).code
}

#[test]
fn a_start_fills_it_and_a_restart_uses_it() {
    let ([a, b], cache) = (["a", "b"].map(Origin::start), Cache::new());
    let conf = cache.of(last_first([&a, &b]).shipped("tiers").shipped("json-rpc-retry"));
    let first = Proxy::start(&conf);
    assert_eq!(counts(&first), [0.0, 3.0, 0.0, 0.0]);
    assert_eq!(first.post(json::READ).result(), "b");
    assert_eq!(first.post_reload().status, 200);
    assert_eq!(counts(&first), [0.0, 3.0, 0.0, 0.0], "what is in memory isn't looked for");
    drop(first);

    let second = Proxy::start(&conf);
    assert_eq!(counts(&second), [3.0, 0.0, 0.0, 0.0]);
    assert_eq!(second.post(json::READ).result(), "b");
    second.site().add_guest(&Guest::in_order("orderly", "1.1.0", false));
    assert_eq!(second.post_reload().status, 200);
    assert_eq!(counts(&second), [3.0, 1.0, 0.0, 0.0]);
    assert_eq!(second.post(json::READ).result(), "a");
    assert_eq!(second.metrics().sum("policy_faults_total", &[]), 0.0);
    assert_eq!(cache.code().len(), 4);
}

#[test]
fn a_check_fills_it_for_the_start_and_removes_what_a_writer_has_left() {
    let ([a, b], cache) = (["a", "b"].map(Origin::start), Cache::new());
    let conf = cache.of(last_first([&a, &b]));
    fs::create_dir(cache.dir()).unwrap();
    fs::set_permissions(cache.dir(), Permissions::from_mode(0o700)).unwrap();
    let left = cache.dir().join("left.tmp");
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    fs::File::create(&left).unwrap().set_modified(yesterday).unwrap();
    assert_eq!(check(&Site::new(&conf)), Some(0));
    assert!(!left.exists());
    let proxy = Proxy::start(&conf);
    assert_eq!(counts(&proxy), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(proxy.post(json::READ).result(), "b");
}

#[test]
fn what_was_changed_is_never_loaded_and_made_anew() {
    let ([a, b], cache) = (["a", "b"].map(Origin::start), Cache::new());
    let conf = cache.of(last_first([&a, &b]));
    assert_eq!(check(&Site::new(&conf)), Some(0));
    let file = cache.code().remove(0);
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 3] = [
        ("a flipped bit", &|| flip(&file)),
        ("a half", &|| fs::write(&file, &fs::read(&file).unwrap()[..100]).unwrap()),
        ("another key", &|| flip(&cache.dir().join("key"))),
    ];
    for (what, damage) in damages {
        eprintln!("{what}");
        damage();
        let proxy = Proxy::start(&conf);
        assert_eq!(counts(&proxy), [0.0, 0.0, 1.0, 0.0]);
        let warned = |line: &str| line.contains("WARN") && line.contains(&*file.file_name().unwrap().to_string_lossy());
        wait_until("it is warned of by its name", || proxy.log().lines().any(warned));
        assert_eq!(proxy.post(json::READ).result(), "b", "the policy decides all the same");
        assert_eq!(counts(&Proxy::start(&conf)), [1.0, 0.0, 0.0, 0.0], "it was replaced");
    }
}

#[test]
fn a_folder_that_others_can_get_at_is_refused() {
    let (good, cache) = (Origin::start("good"), Cache::new());
    let conf = Conf::of([&good]).scored_by(&Guest::in_order("orderly", "1.0.0", false));
    let proxy = Proxy::start(&conf);
    fs::create_dir(cache.dir()).unwrap();
    fs::set_permissions(cache.dir(), Permissions::from_mode(0o750)).unwrap();
    proxy.rewrite_conf(&cache.of(conf.clone()));
    expect_refusal(&proxy, &["plugins.cache_dir", "stage cache", "mode 0750", "chmod 0700"]);
    let site = Site::new(&cache.of(conf));
    assert_eq!(site.run(&["--config", site.conf().to_str().unwrap()]).code, Some(1));

    fs::set_permissions(cache.dir(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(proxy.post_reload().status, 200, "a reload takes it when it is mended");
    proxy.site().add_guest(&Guest::in_order("orderly", "1.1.0", false));
    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!(counts(&proxy), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(cache.code().len(), 1);
}

#[test]
fn a_folder_that_the_system_refuses_is_no_reason_to_refuse() {
    let [a, b] = ["a", "b"].map(Origin::start);
    let proxy = Proxy::start(&last_first([&a, &b]).plugins("cache_dir", "'no/such/folder'"));
    assert_eq!(counts(&proxy), [0.0, 0.0, 0.0, 1.0]);
    assert!(proxy.log().contains("plugins.cache_dir: can't be used, so modules are compiled"));
    assert_eq!(proxy.post(json::READ).result(), "b");
    proxy.rewrite_conf(&last_first([&a, &b]).plugins("cache_dir", "'cache'"));
    assert_eq!(proxy.post_reload().status, 200);
    let beside_the_conf = proxy.site().folder().join("cache");
    assert_eq!(fs::metadata(beside_the_conf).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn proxies_may_share_it() {
    let ([a, b], cache) = (["a", "b"].map(Origin::start), Cache::new());
    let conf = cache.of(last_first([&a, &b]).shipped("tiers"));
    let together = std::thread::scope(|scope| {
        let starts = [(); 3].map(|()| scope.spawn(|| Proxy::start(&conf)));
        starts.map(|start| start.join().unwrap())
    });
    for proxy in &together {
        let [hits, misses, rejected, errors] = counts(proxy);
        assert_eq!((hits + misses, rejected, errors), (2.0, 0.0, 0.0), "neither half a file nor half a key is seen");
        assert_eq!(proxy.post(json::READ).result(), "b");
    }
    assert_eq!(counts(&Proxy::start(&conf)), [2.0, 0.0, 0.0, 0.0]);
}
