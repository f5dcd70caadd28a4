use std::path::Path;

use prometheus::Registry;

use super::*;
use crate::client::Transport;
use crate::config;
use crate::metrics::Metrics;
use crate::policy::{IDLE, Limits, PolicyRuntime, Setup};
use crate::upstream::Policies;

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
    let shadow = Some(GuardedPolicy::new(policy, metrics.policy("idle", &Fault::KINDS)));
    let resources = Resources { metrics, transport: Arc::new(Transport::new(1)), shadows, doubts: Arc::default() };
    let policies = Policies { shadow, ..Policies::default() };
    (Upstream::build(&conf.upstreams["u"], None, policies, &Arc::default(), &resources), comparer)
}

fn offer(upstream: &Upstream, rows: usize) {
    let rows = vec![bytemuck::Zeroable::zeroed(); rows];
    let live = vec![0.0; rows.len()];
    upstream.deciders.shadow.as_ref().unwrap().offer(&RequestBlock::new(), &rows, &live);
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let (upstream, comparer) = upstream();
    (0..QUEUE + 44).for_each(|_| offer(&upstream, 1));
    let shadow = Arc::clone(upstream.deciders.shadow.as_ref().unwrap());
    assert_eq!((shadow.stats().compared, shadow.stats().dropped), (0, 44));
    let record = Arc::clone(&shadow.record);
    drop((upstream, shadow));
    comparer.run();
    assert_eq!((record.stats().compared, record.stats().agreed, record.stats().dropped), (256, 256, 44));
}

#[test]
fn rows_that_wait_are_bounded_too() {
    let (upstream, comparer) = upstream();
    offer(&upstream, 2 * QUEUED_ROWS);
    offer(&upstream, 1);
    let dropped = || upstream.shadow().unwrap().stats().dropped;
    assert_eq!(dropped(), 1, "one alone may be larger");
    let job = comparer.jobs.recv().unwrap();
    comparer.rows.fetch_sub(job.rows.len(), Relaxed);
    (0..3).for_each(|_| offer(&upstream, QUEUED_ROWS / 2));
    assert_eq!(dropped(), 2);
}
