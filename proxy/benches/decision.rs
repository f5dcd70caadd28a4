//! Cost of a decision: a scoring call of a WebAssembly policy compared with the same policy
//! compiled natively, and a call of the retry policy. Run with `make bench-micro`; only the ratio
//! within one run is meaningful.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Zeroable;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pointsman::policy::abi::{AttemptBlock, EndpointRow, RequestBlock, attempt_flags};
use pointsman::policy::{Limits, Policy, PolicyRuntime, Setup};
use pointsman_sdk::{Endpoint, Endpoints, Policy as _, Request, Scoring};

const SIZES: [usize; 4] = [4, 16, 64, 256];

fn decision(c: &mut Criterion) {
    let runtime = PolicyRuntime::new(1, Limits::DEFAULT).expect("an engine");
    let tiers = tiers::Tiers::configure(tiers::Config::default()).expect("a config");
    scoring(c, "tiers", &load(&runtime, "tiers"), &tiers);
    let peak_ewma = peak_ewma::PeakEwma::configure(peak_ewma::Config::default()).expect("a config");
    scoring(c, "peak-ewma", &load(&runtime, "peak-ewma"), &peak_ewma);
    retry(c, &load(&runtime, "json-rpc-retry"));
}

fn scoring<P: Scoring>(c: &mut Criterion, name: &str, wasm: &Policy, native: &P) {
    let mut group = c.benchmark_group(format!("score/{name}"));
    for size in SIZES {
        let rows = rows(size);
        let mut scores = Vec::with_capacity(size);
        let request = request();
        group.bench_with_input(BenchmarkId::new("wasm", size), &rows, |b, rows| {
            b.iter(|| wasm.score(black_box(&request), black_box(rows), &mut scores).expect("scores"));
        });
        let request = Request { seed: 7, ..Request::for_method("eth_call") };
        let endpoints: Vec<Endpoint> = rows.iter().map(as_sdk).collect();
        let mut scores = vec![0.0; size];
        group.bench_with_input(BenchmarkId::new("native", size), &endpoints, |b, endpoints| {
            b.iter(|| native.score(black_box(&request), Endpoints::from(black_box(endpoints.as_slice())), &mut scores));
        });
    }
    group.finish();
}

fn retry(c: &mut Criterion, policy: &Policy) {
    let mut attempt = AttemptBlock {
        outcome: 5,
        flags: attempt_flags::BYTES_SENT | attempt_flags::HAS_RPC_CODE | attempt_flags::MAY_RETRY,
        rpc_code: -32_005,
        http_status: 200,
        latency_ms: 12.5,
        ..AttemptBlock::new()
    };
    attempt.set_message("daily request limit exceeded");
    let request = request();
    c.bench_function("retry/json-rpc-retry/wasm", |b| {
        b.iter(|| policy.retry(black_box(&request), black_box(&attempt)).expect("a decision"));
    });
}

fn load(runtime: &PolicyRuntime, plugin: &str) -> Arc<Policy> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../plugins/dist/{plugin}.wasm"));
    let wasm = std::fs::read(&file).expect("a shipped plugin: run `make plugins`");
    let compiled = runtime.compile(&wasm).expect("a plugin");
    runtime.load(plugin, Arc::new(compiled), &Setup::plain(256)).expect("a policy")
}

fn request() -> RequestBlock {
    let mut request = RequestBlock { seed: 7, batch_size: 1, attempt: 1, max_attempts: 3, ..RequestBlock::new() };
    request.set_method("eth_call");
    request
}

/// Endpoints of three tiers in a fixed mixed order.
fn rows(count: usize) -> Vec<EndpointRow> {
    let weights = [100, 20, 60];
    let row = |i: u16| EndpointRow {
        index: u32::from(i),
        weight: weights[usize::from(i) % 3],
        in_flight: u32::from(i % 5),
        latency_ms: 10.0 + f32::from(i * 37 % 101),
        latency_peak_ms: 20.0 + f32::from(i * 53 % 97),
        success_rate: 1.0,
        limiter_headroom: 1.0,
        idle_ms: f32::from(i * 7 % 50),
        ..EndpointRow::zeroed()
    };
    (0..count).map(|i| row(u16::try_from(i).expect("few rows"))).collect()
}

/// Converts a row to the SDK's type.
fn as_sdk(row: &EndpointRow) -> Endpoint {
    Endpoint {
        index: row.index,
        weight: row.weight,
        in_flight: row.in_flight,
        latency_ms: row.latency_ms,
        latency_peak_ms: row.latency_peak_ms,
        success_rate: row.success_rate,
        limiter_headroom: row.limiter_headroom,
        idle_ms: row.idle_ms,
        ..Endpoint::default()
    }
}

criterion_group!(benches, decision);
criterion_main!(benches);
