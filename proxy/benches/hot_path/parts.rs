//! The parts of the hot path, each in isolation, and a whole request between two mock connections.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use pointsman::chain::{Chain, Methods};
use pointsman::client::{Connection, Transport, WorkerId};
use pointsman::config;
use pointsman::gateway::{Lanes, Most, ProxyService};
use pointsman::jsonrpc::classify::classify;
use pointsman::jsonrpc::{Inspected, inspect};
use pointsman::logging::AccessLog;
use pointsman::metrics::Metrics;
use pointsman::model::{AttemptResult, HttpFacts, MethodClass, Outcome, PolicyTime, RequestFacts, RequestShape, Tick};
use pointsman::policy::Catalog;
use pointsman::server::prepare_first;
use pointsman::snapshot::{Parts, Published, Snapshot};
use pointsman::upstream::{Limiter, Resources, Selection, Upstream, shadows};
use prometheus::Registry;

use crate::mock::Mock;

const REQUEST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":"0x10d4f2c1"}"#;
const HTTP_REQUEST: &[u8] =
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8545\r\nContent-Type: application/json\r\nContent-Length: 63\r\n\r\n\
    {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\",\"params\":[]}";
const HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: mock\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 46\r\nConnection: keep-alive\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x10d4f2c1\"}";

/// Number of concurrent attempts.
const UNDER_WAY: usize = 64;

/// Runs a part the given number of times and returns the duration.
pub(crate) type Work = Box<dyn FnMut(u64) -> Duration>;

/// A part and its setup.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) set_up: fn() -> Work,
}

/// The parts without policies, which run without the instances' address space.
pub(crate) const NATIVE: [Part; 12] = [
    Part { name: "inspect/single", set_up: || inspecting(REQUEST.into()) },
    Part { name: "inspect/batch_100", set_up: || inspecting(batch_of(100, REQUEST)) },
    Part { name: "classify/single", set_up: || classifying(REQUEST.into(), ANSWER.into()) },
    Part { name: "classify/batch_100", set_up: || classifying(batch_of(100, REQUEST), batch_of(100, ANSWER)) },
    Part { name: "limiter/admit", set_up: limiting },
    Part { name: "metrics/request", set_up: counting },
    Part { name: "select/16", set_up: || selecting(&native(16)) },
    Part { name: "select/64", set_up: || selecting(&native(64)) },
    Part { name: "select/1000", set_up: || selecting(&native(1_000)) },
    Part { name: "select/10000", set_up: || selecting(&native(10_000)) },
    Part { name: "settle/success", set_up: settling },
    Part { name: "request", set_up: || requesting(native(4)) },
];

/// The parts with policies.
pub(crate) const WITH_POLICIES: [Part; 5] = [
    Part { name: "select/tiers/16", set_up: || selecting(&with_policies(16)) },
    Part { name: "select/tiers/64", set_up: || selecting(&with_policies(64)) },
    Part { name: "select/tiers/1000", set_up: || selecting(&with_policies(1_000)) },
    Part { name: "select/tiers/10000", set_up: || selecting(&with_policies(10_000)) },
    Part { name: "request/policies", set_up: || requesting(with_policies(4)) },
];

fn repeat(mut work: impl FnMut() + 'static) -> Work {
    Box::new(move |times| timed(|| (0..times).for_each(|_| work())))
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// A batch of copies of `single` with distinct ids.
fn batch_of(members: usize, single: &str) -> Bytes {
    let members: Vec<String> = (0..members).map(|id| single.replace(r#""id":1"#, &format!(r#""id":{id}"#))).collect();
    Bytes::from(format!("[{}]", members.join(",")))
}

fn inspected(body: &Bytes, methods: &Methods) -> Inspected {
    inspect(body, 1_000, methods).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn inspecting(body: Bytes) -> Work {
    let methods = Methods::new(Chain::default(), &[]);
    repeat(move || drop(black_box(inspected(black_box(&body), &methods))))
}

fn classifying(request: Bytes, answer: Bytes) -> Work {
    let expected = inspected(&request, &Methods::new(Chain::default(), &[])).expected;
    repeat(move || {
        let classified = classify(StatusCode::OK, false, black_box(&answer), &expected);
        assert!(black_box(classified).outcome == Outcome::Success);
    })
}

fn limiting() -> Work {
    let most = std::num::NonZeroU32::MAX;
    let limiter = Limiter::new(config::RateLimit { per_sec: most, burst: most });
    repeat(move || assert!(limiter.admit(1).is_ok()))
}

fn counting() -> Work {
    let snapshot = native(4);
    let upstream = upstream_of(&snapshot);
    repeat(move || upstream.series().count_request(black_box("eth_blockNumber"), 200, 0.001))
}

fn facts() -> RequestFacts {
    RequestFacts {
        shape: RequestShape::single("eth_blockNumber".into(), MethodClass::Read),
        http: HttpFacts::json_rpc(),
        body_bytes: REQUEST.len(),
        client_key: 7,
        seed: 7,
        deadline: Tick::START.after(Duration::from_secs(60)),
        policy_time: PolicyTime::default(),
    }
}

/// The whole decision: rows, scores, limiter, choice. The resulting attempts are dropped in groups,
/// outside the measured time; `settle` measures their end.
fn selecting(snapshot: &Snapshot) -> Work {
    let upstream = upstream_of(snapshot);
    let (mut facts, mut attempts) = (facts(), Vec::with_capacity(UNDER_WAY));
    Box::new(move |times| {
        let mut took = Duration::ZERO;
        for done in (0..times).step_by(UNDER_WAY) {
            took += timed(|| {
                for _ in done..times.min(done + UNDER_WAY as u64) {
                    facts.seed = facts.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let selection = Selection::first(&facts, Tick::START);
                    attempts.push(upstream.select(black_box(&selection)).expect("an endpoint"));
                }
            });
            attempts.clear();
        }
        took
    })
}

/// A decision and the end of its attempt.
fn settling() -> Work {
    let (upstream, facts) = (upstream_of(&native(16)), facts());
    let result =
        AttemptResult { latency: Duration::from_millis(3), ..AttemptResult::failed(Outcome::Success, true, "") };
    repeat(move || {
        let selection = Selection::first(&facts, Tick::START);
        upstream.select(&selection).expect("an endpoint").succeed(&facts, black_box(&result));
    })
}

/// Whole requests over one connection.
fn requesting(snapshot: Snapshot) -> Work {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let metrics = Metrics::new(Registry::new()).expect("metrics");
    for endpoint in upstream_of(&snapshot).endpoints() {
        let connection = Connection { stream: Box::new(Mock::endpoint(HTTP_ANSWER)), worker: WorkerId::here() };
        endpoint.target().release(connection, pointsman::clock::now());
    }
    let published = Arc::new(Published::new(snapshot, Arc::clone(&metrics)));
    let service = ProxyService::new(published, metrics, AccessLog::start(std::io::sink()));
    let service = Arc::new(service.expect("random numbers"));
    let lanes = Lanes::new(Arc::clone(&service));
    let (_ending, shutdown) = tokio::sync::watch::channel(false);
    Box::new(move |times| {
        let client = Box::new(Mock::client(HTTP_REQUEST, times));
        let most = Most { in_all: 1, per_address: 1 };
        let seat = service.connections.enter(Ipv4Addr::LOCALHOST.into(), most).expect("room");
        timed(|| runtime.block_on(lanes.serve(client, false, seat, shutdown.clone())))
    })
}

fn upstream_of(snapshot: &Snapshot) -> Arc<Upstream> {
    Arc::clone(snapshot.upstreams().next().expect("an upstream"))
}

/// A pool without policies.
fn native(endpoints: usize) -> Snapshot {
    let text = conf(endpoints, "");
    let config = config::parse(&text, Path::new("bench.toml"), &|_| None).expect("a good conf");
    let metrics = Metrics::new(Registry::new()).expect("metrics");
    let transport = Arc::new(Transport::new(1));
    let resources = Resources { metrics, transport, shadows: shadows().0, doubts: Arc::default() };
    let parts = Parts {
        config: Arc::new(config),
        catalog: Catalog::default(),
        fingerprint: pointsman::fingerprint::FolderFingerprint::default(),
        cause: "start".to_owned(),
        tls: Arc::default(),
        canary_states: BTreeMap::new(),
    };
    Snapshot::assemble(parts, BTreeMap::new(), None, &resources)
}

/// A pool that `tiers` and `json-rpc-retry` decide about.
fn with_policies(endpoints: usize) -> Snapshot {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bench.toml");
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    let policies = format!(
        "[plugins]\ndir = {dist:?}\n[policies.tiers]\nplugin = 'tiers'\n[policies.retry]\nplugin = 'json-rpc-retry'\n"
    );
    std::fs::write(&file, conf(endpoints, &policies)).expect("a conf");
    prepare_first(file).expect("a generation: run `make plugins`").snapshot
}

fn conf(endpoints: usize, policies: &str) -> String {
    let mut text =
        format!("[server]\nlisten = ['127.0.0.1:1']\n[admin]\nlisten = '127.0.0.1:2'\n{policies}[upstreams.main]\n");
    if !policies.is_empty() {
        text.push_str("scoring = 'tiers'\nretry = 'retry'\n");
    }
    for endpoint in 0..endpoints {
        let port = 1_024 + endpoint;
        let _ = write!(
            text,
            "[[upstreams.main.endpoints]]\nurl = 'http://127.0.0.1:{port}/'\nrate_limit_per_sec = 1000000\n"
        );
    }
    text
}
