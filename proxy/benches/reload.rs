//! What a reload costs from the moment it begins to the publish: the conf is read, the plugin folder scanned, the
//! policies matched, the snapshot built and swapped in. Run with `make bench-micro`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pointsman::config;
use pointsman::reload::prepare;
use pointsman::server::{Prepared, prepare_first};
use pointsman::snapshot::Published;

fn reload(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = c.benchmark_group("reload");
    group.sample_size(20);
    for endpoints in [10, 1_000] {
        let conf = write_conf(folder.path(), endpoints);
        let Prepared { runtime, resources, snapshot, .. } = prepare_first(conf.clone()).expect("a good conf");
        let published = Published::new(snapshot, Arc::clone(&resources.metrics));
        group.bench_with_input(BenchmarkId::new("to_publish", endpoints), &conf, |b, conf| {
            b.iter(|| {
                let before = published.load();
                let config = config::load(conf).expect("a good conf");
                let next = prepare(conf, config, Some(&before), &runtime, &resources).expect("a generation");
                published.publish(next)
            });
        });
    }
    group.finish();
}

fn write_conf(folder: &Path, endpoints: usize) -> PathBuf {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    let mut text = format!(
        "[plugins]\ndir = {:?}\n[policies.tiers]\nplugin = \"tiers\"\n[policies.retry]\nplugin = \"json-rpc-retry\"\n\
         [upstreams.u]\nscoring = \"tiers\"\nretry = \"retry\"\n",
        plugins.canonicalize().expect("shipped plugins: run `make plugins`")
    );
    for i in 0..endpoints {
        let (high, low) = (i / 250, i % 250 + 1);
        let entry = format!("[[upstreams.u.endpoints]]\nurl = \"http://127.0.{high}.{low}:8545/key\"\n");
        write!(text, "{entry}weight = {}\nrate_limit_per_sec = 100\n", i % 150 + 1).expect("memory");
    }
    let conf = folder.join(format!("{endpoints}.toml"));
    std::fs::write(&conf, text).expect("a file");
    conf
}

criterion_group!(benches, reload);
criterion_main!(benches);
