use std::fs;
use std::path::PathBuf;

use super::*;
use crate::policy::{Limits, PolicyRuntime};
use crate::upstream::fixture::resources;

const A: &str = "[[upstreams.u.endpoints]]\nurl = 'http://127.0.0.1:1'\nname = 'a'";
const B: &str = "[[upstreams.u.endpoints]]\nurl = 'http://127.0.0.1:2'\nname = 'b'";

/// A conf file, and the reload thread that works on it.
struct Process {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
    published: Arc<Published>,
    handle: ReloadHandle,
}

fn conf_of(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("pointsman.toml")
}

impl Process {
    fn start(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(conf_of(&folder), text).unwrap();
        let runtime = PolicyRuntime::new(1, Limits::DEFAULT).unwrap();
        let builder = GenerationBuilder { conf: conf_of(&folder), runtime, resources: resources() };
        let config = config::load(&builder.conf).unwrap();
        let started = RestartSettings::of(&config);
        let first = builder.prepare(config, None, &Progress::default()).unwrap();
        let metrics = Arc::clone(&builder.resources.metrics);
        let published = Arc::new(Published::new(first, Arc::clone(&metrics)));
        let (handle, requests) = queue();
        let reloader = Reloader { builder, started, published: Arc::clone(&published) };
        std::thread::spawn(move || reloader.run(requests));
        Process { folder, metrics, published, handle }
    }

    fn write(&self, text: &str) {
        fs::write(conf_of(&self.folder), text).unwrap();
    }

    async fn ask(&self, trigger: Trigger) -> ReloadReport {
        self.handle.request_and_wait(trigger).await.unwrap()
    }

    /// The generation that serves: its number, why it does, and its endpoints.
    fn serving(&self) -> (u64, String, Vec<String>) {
        let snapshot = self.published.load();
        let endpoints = snapshot.upstreams().flat_map(|upstream| upstream.endpoints());
        (snapshot.generation, snapshot.cause.clone(), endpoints.map(|endpoint| endpoint.name().to_string()).collect())
    }
}

fn serves(generation: u64, cause: &str, endpoint: &str) -> (u64, String, Vec<String>) {
    (generation, cause.to_owned(), vec![endpoint.to_owned()])
}

#[tokio::test]
async fn a_reload_publishes_what_is_on_disk_and_a_rollback_what_was_there_before() {
    let process = Process::start(A);
    assert_eq!(process.serving(), serves(1, "start", "a"));
    process.write(B);
    let report = process.ask(Trigger::Reload).await;
    assert!(report.success && report.generation == 2, "{report:?}");
    assert_eq!(process.serving(), serves(2, "reload", "b"));
    // The conf on disk isn't read again.
    process.write("nonsense");
    assert!(process.ask(Trigger::Rollback).await.success);
    assert_eq!(process.serving(), serves(3, "rollback to generation 1", "a"));
    assert!(process.ask(Trigger::Rollback).await.success);
    assert_eq!(process.serving(), serves(4, "rollback to generation 2", "b"));
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_says_where_it_is_wrong() {
    let process = Process::start(A);
    for (text, expected) in [
        ("nonsense", "pointsman.toml:1:9: isn't TOML"),
        (&format!("{A}\n[upstreams.u]\nscoring = 'absent'"), "upstreams.u.scoring: isn't in [policies]"),
        (&format!("[policies.p]\nplugin = 'absent'\n[plugins]\ndir = '.'\n{A}\n"), "policies.p: "),
    ] {
        process.write(text);
        let report = process.ask(Trigger::Reload).await;
        let error = report.error.unwrap();
        assert!(!report.success && error.contains(expected), "{error}");
        assert_eq!(process.serving(), serves(1, "start", "a"));
    }
    let report = process.ask(Trigger::Rollback).await;
    assert!(report.nothing_kept && report.error.is_some(), "{report:?}");
}

#[tokio::test]
async fn a_reload_without_changes_is_nothing_to_go_back_from() {
    let process = Process::start(A);
    process.write(B);
    assert!(process.ask(Trigger::Reload).await.success);
    assert!(process.ask(Trigger::Reload).await.success);
    assert!(process.ask(Trigger::Rollback).await.success);
    assert_eq!(process.serving(), serves(4, "rollback to generation 1", "a"));
}

/// A request that holds the generation keeps its series, and nobody else does.
#[tokio::test]
async fn a_removed_endpoint_keeps_its_series_until_the_last_request_lets_it_go() {
    let process = Process::start(A);
    let has_a = || String::from_utf8(process.metrics.render()).unwrap().contains(r#"endpoint="a""#);
    let request = process.published.load();
    process.write(B);
    assert!(process.ask(Trigger::Reload).await.success);
    // What can be rolled back to has no series.
    assert!(has_a());
    drop(request);
    let gone = async {
        while has_a() {
            tokio::time::sleep(RETIRE_PERIOD).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), gone).await.is_ok(), "its series stay");
}
