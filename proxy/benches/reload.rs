//! Cost of a reload from its start to the publish: reading the conf, scanning the plugin folder,
//! matching the policies, building and swapping the snapshot. Run with `make bench-micro`.
//!
//! `few_plugins` has the shipped policies and an increasing number of endpoints. `50_plugins` has
//! 1,000 endpoints in 25 upstreams, each with its own scoring and retry policy. Their modules are
//! the shipped ones with other names in their description: 13 times `tiers`, 12 times `peak-ewma`,
//! 25 times `json-rpc-retry`. So all modules differ, and each is read, verified, compiled or loaded
//! from the cache, instantiated, configured and probed separately. The previous generation has the
//! same endpoints without policies, in a process that has loaded no module:
//! - `cold`: the cache on disk is empty. Its files are written.
//! - `cached`: the cache contains all modules.
//! - `cached_signed`: in addition, each module has a signature that is verified.
//! - `warm`: the process already uses all modules, and nothing has changed.
//!
//! The files are in the system's page cache: disk reads aren't measured.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use pointsman::config;
use pointsman::progress::Progress;
use pointsman::reload::GenerationBuilder;
use pointsman::server::{Prepared, prepare_first};
use pointsman::snapshot::{Published, Snapshot};

/// Upstreams, each with two policies.
const UPSTREAMS: usize = 25;
/// Endpoints of each.
const ENDPOINTS: usize = 40;

/// Resources of a process for reloads.
struct Process {
    builder: GenerationBuilder,
    published: Published,
}

impl Process {
    fn start(conf: &Path) -> Self {
        let Prepared { builder, snapshot, .. } = prepare_first(conf.to_owned()).expect("a good conf");
        let published = Published::new(snapshot, Arc::clone(&builder.resources.metrics));
        Process { builder, published }
    }

    /// The previous generation.
    fn reload(&self, conf: &Path) -> Arc<Snapshot> {
        let before = self.published.load();
        let config = config::load(conf).expect("a good conf");
        let next = self.builder.prepare(config, Some(&before), &Progress::default()).expect("a generation");
        self.published.publish(next).before
    }
}

fn few_plugins(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = c.benchmark_group("reload/few_plugins");
    group.sample_size(20);
    for endpoints in [10, 1_000] {
        let mut text = format!(
            "[plugins]\ndir = {:?}\n[policies.tiers]\nplugin = \"tiers\"\n[policies.retry]\nplugin = \"json-rpc-retry\"\n\
             [upstreams.u]\nscoring = \"tiers\"\nretry = \"retry\"\n",
            shipped_plugins()
        );
        write_endpoints(&mut text, "u", 0..endpoints);
        let conf = folder.path().join(format!("{endpoints}.toml"));
        fs::write(&conf, text).expect("a file");
        let process = Process::start(&conf);
        group.bench_with_input(BenchmarkId::new("warm", endpoints), &conf, |b, conf| b.iter(|| process.reload(conf)));
    }
    group.finish();
}

fn fifty_plugins(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let site = Site::write(folder.path());
    let mut group = c.benchmark_group("reload/50_plugins");
    group.sample_size(10);
    let mut first = |name: &str, conf: &Path, before: &dyn Fn()| {
        group.bench_function(name, |b| {
            let process = || {
                before();
                Process::start(&site.without_policies)
            };
            // The returned values are dropped outside the measured time.
            let reload = |process: Process| (process.reload(conf), process);
            b.iter_batched(process, reload, BatchSize::PerIteration);
        });
    };
    first("cold", &site.conf, &|| {
        let _ = fs::remove_dir_all(&site.cache);
    });
    // Fills the cache in case no other benchmark ran before.
    Process::start(&site.conf);
    first("cached", &site.conf, &|| {});
    first("cached_signed", &site.signed, &|| {});
    let process = Process::start(&site.conf);
    group.bench_function("warm", |b| b.iter(|| process.reload(&site.conf)));
    group.finish();
}

/// A folder with fifty modules and their signatures, and confs that name them.
struct Site {
    cache: PathBuf,
    conf: PathBuf,
    signed: PathBuf,
    without_policies: PathBuf,
}

impl Site {
    fn write(folder: &Path) -> Self {
        let plugins = folder.join("plugins");
        fs::create_dir(&plugins).expect("a folder");
        let keys = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
        for i in 0..UPSTREAMS {
            for (shipped, name) in [scoring(i), retry(i)] {
                let wasm = renamed(shipped, &name);
                let signature = minisign::sign(None, &keys.sk, &wasm[..], None, None).expect("a signature");
                fs::write(plugins.join(format!("{name}.wasm")), &wasm).expect("a file");
                fs::write(plugins.join(format!("{name}.wasm.sig")), signature.to_string()).expect("a file");
            }
        }
        let put = |name: &str, text: String| {
            fs::write(folder.join(name), text).expect("a file");
            folder.join(name)
        };
        let trust = format!("trusted_keys = [\"{}\"]\n", keys.pk.to_base64());
        Site {
            cache: folder.join("cache"),
            conf: put("conf.toml", conf("", true)),
            signed: put("signed.toml", conf(&trust, true)),
            without_policies: put("without_policies.toml", conf("", false)),
        }
    }
}

fn scoring(i: usize) -> (&'static str, String) {
    if i.is_multiple_of(2) { ("tiers", format!("t{i:04}")) } else { ("peak-ewma", format!("peak-{i:04}")) }
}

fn retry(i: usize) -> (&'static str, String) {
    ("json-rpc-retry", format!("json-rpc-r{i:04}"))
}

/// A shipped module under another name of the same length.
fn renamed(shipped: &str, name: &str) -> Vec<u8> {
    let mut wasm = fs::read(shipped_plugins().join(format!("{shipped}.wasm"))).expect("a shipped plugin");
    let [old, new] = [shipped, name].map(|name| format!("{{\"name\":\"{name}\",").into_bytes());
    let mut places = (0..wasm.len()).filter(|&at| wasm[at..].starts_with(&old));
    let (at, None) = (places.next().expect("a description"), places.next()) else { panic!("two descriptions") };
    wasm[at..at + old.len()].copy_from_slice(&new);
    wasm
}

fn conf(plugins: &str, with_policies: bool) -> String {
    let mut text = format!("[plugins]\ndir = \"plugins\"\ncache_dir = \"cache\"\n{plugins}");
    for i in 0..UPSTREAMS {
        let mut policies = String::new();
        for (key, (_, name)) in [("scoring", scoring(i)), ("retry", retry(i))].into_iter().filter(|_| with_policies) {
            write!(text, "[policies.{name}]\nplugin = \"{name}\"\n").expect("memory");
            writeln!(policies, "{key} = \"{name}\"").expect("memory");
        }
        let route = format!("[[routes]]\npath_prefix = \"/{i}\"\nupstream = \"u{i}\"\n");
        write!(text, "{route}[upstreams.u{i}]\n{policies}").expect("memory");
        write_endpoints(&mut text, &format!("u{i}"), i * ENDPOINTS..(i + 1) * ENDPOINTS);
    }
    text
}

fn write_endpoints(text: &mut String, upstream: &str, numbers: std::ops::Range<usize>) {
    for i in numbers {
        let (high, low) = (i / 250, i % 250 + 1);
        let entry = format!("[[upstreams.{upstream}.endpoints]]\nurl = \"http://127.0.{high}.{low}:8545/key\"\n");
        write!(text, "{entry}weight = {}\nrate_limit_per_sec = 100\n", i % 150 + 1).expect("memory");
    }
}

fn shipped_plugins() -> PathBuf {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    dist.canonicalize().expect("shipped plugins: run `make plugins`")
}

criterion_group!(benches, few_plugins, fifty_plugins);
criterion_main!(benches);
