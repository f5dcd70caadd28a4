use std::path::Path;

use pingora::connectors::TransportConnector;
use prometheus::Registry;

use super::*;
use crate::config;
use crate::metrics::Metrics;
use crate::policy::{Limits, PolicyRuntime, Setup};
use crate::upstream::Policies;

/// Scores every endpoint with 0.
const IDLE: &str = r#"(module
  (memory (export "memory") 2)
  (data (i32.const 0) "{\22name\22:\22idle\22,\22version\22:\221.0.0\22,\22kinds\22:[\22scoring\22]}")
  (func (export "pointsman_abi_version") (result i32) (i32.const 65536))
  (func (export "pointsman_describe") (result i64) (i64.const 53))
  (func (export "pointsman_alloc") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "pointsman_configure") (param i32 i32) (result i64) (i64.const 0))
  (func (export "pointsman_score") (param i32 i32 i32 i32)))"#;

const CONF: &str = "[policies.idle]\nplugin = 'idle'\n\
    [upstreams.u]\nshadow = { policy = 'idle', share = 1 }\nendpoints = [{ url = 'http://h', name = 'h' }]";

/// An upstream whose shadow asks a comparer that doesn't run yet.
fn upstream() -> (Upstream, Comparer) {
    let conf = config::parse(CONF, Path::new("conf.toml"), &|_| None).unwrap();
    let runtime = PolicyRuntime::new(1, Limits::DEFAULT).unwrap();
    let plugin = Arc::new(runtime.compile(&wat::parse_str(IDLE).unwrap()).unwrap());
    let metrics = Metrics::new(Registry::new()).unwrap();
    let (shadows, comparer) = shadows();
    let policy = runtime.load("idle", plugin, &Setup::plain(1)).unwrap();
    let shadow = Some(BoundPolicy::new(policy, Arc::new(metrics.policy("idle", &Fault::KINDS))));
    let resources = Resources { metrics, transport: Arc::new(TransportConnector::new(None)), shadows };
    let policies = Policies { shadow, ..Policies::default() };
    (Upstream::build(&conf.upstreams["u"], None, policies, &resources), comparer)
}

fn offer(upstream: &Upstream, rows: usize) {
    let rows = vec![bytemuck::Zeroable::zeroed(); rows];
    let live = vec![0.0; rows.len()];
    upstream.shadow.as_ref().unwrap().offer(&RequestBlock::new(), &rows, &live);
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let (upstream, comparer) = upstream();
    (0..QUEUE + 44).for_each(|_| offer(&upstream, 1));
    let shadow = Arc::clone(upstream.shadow.as_ref().unwrap());
    assert_eq!((shadow.tally().compared, shadow.tally().dropped), (0, 44));
    let record = Arc::clone(&shadow.record);
    drop((upstream, shadow));
    comparer.run();
    assert_eq!((record.tally().compared, record.tally().agreed, record.tally().dropped), (256, 256, 44));
}

#[test]
fn rows_that_wait_are_bounded_too() {
    let (upstream, comparer) = upstream();
    offer(&upstream, 2 * QUEUED_ROWS);
    offer(&upstream, 1);
    let dropped = || upstream.shadow().unwrap().tally().dropped;
    assert_eq!(dropped(), 1, "one alone may be larger");
    let job = comparer.jobs.recv().unwrap();
    comparer.rows.fetch_sub(job.rows.len(), Relaxed);
    (0..3).for_each(|_| offer(&upstream, QUEUED_ROWS / 2));
    assert_eq!(dropped(), 2);
}
