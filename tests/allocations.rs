//! A scoring call allocates nothing on the host's side. In a binary of its own, because it counts
//! every allocation.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::sync::Arc;

use allocation_counter::measure;
use bytemuck::Zeroable;
use pointsman::policy::abi::{AttemptBlock, EndpointRow, RequestBlock};
use pointsman::policy::{Limits, Policy, PolicyRuntime, Setup};

/// Enough to detect growth with the number of calls.
const CALLS: usize = 1_000;

#[test]
fn calls_of_policies_allocate_nothing() {
    let runtime = PolicyRuntime::new(1, Limits::DEFAULT).unwrap();
    let request = RequestBlock::new();
    let rows = [EndpointRow { weight: 20, latency_ms: 5.0, ..EndpointRow::zeroed() }; 64];
    let mut scores = Vec::with_capacity(rows.len());

    for plugin in ["tiers", "peak-ewma"] {
        let policy = load(&runtime, plugin);
        policy.score(&request, &rows, &mut scores).unwrap();
        let used = measure(|| {
            for _ in 0..CALLS {
                policy.score(&request, &rows, &mut scores).unwrap();
            }
        });
        assert_eq!(used.count_total, 0, "{plugin}");
    }

    let attempt = AttemptBlock { outcome: 2, ..AttemptBlock::new() };
    for plugin in ["json-rpc-retry", "http-retry"] {
        let policy = load(&runtime, plugin);
        let used = measure(|| {
            (0..CALLS).for_each(|_| {
                policy.retry(&request, &attempt).unwrap();
            })
        });
        assert_eq!(used.count_total, 0, "{plugin}");
    }
}

fn load(runtime: &PolicyRuntime, plugin: &str) -> Arc<Policy> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/dist/{plugin}.wasm"));
    let wasm = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}; run `make plugins`", file.display()));
    runtime.load(plugin, Arc::new(runtime.compile(&wasm).unwrap()), &Setup::plain(64)).unwrap()
}
