//! Shadow policies: a policy scores the live policy's inputs, for a share of the requests and
//! without effect.
//!
//! [`Shadow::offer`] is the only work of a request: it copies the inputs and the live scores into a
//! queue, or drops them if the queue is full. [`Comparer`], one thread for the process, calls the
//! shadow and compares. Invariants: no request waits for a shadow, and none changes its endpoint
//! because of one. A shadow's calls use an instance that no request uses
//! ([`Policy::score_aside`](crate::policy::Policy::score_aside)), since it may be another
//! upstream's live policy.

mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use super::{Endpoint, GuardedPolicy, Resources, Upstream};
use crate::config::ShadowConf;
use crate::model::Share;
use crate::policy::Fault;
use crate::policy::abi::{EndpointRow, RequestBlock};
pub use record::{Disagreement, ShadowStats};
use record::{Pair, Record};

/// Maximum queued comparisons. A call takes microseconds: a full queue means that the thread can't
/// keep up.
const QUEUE: usize = 256;
/// Maximum rows of all queued comparisons, 4 MiB: an upstream may have many thousand endpoints. One
/// comparison always fits.
const QUEUED_ROWS: usize = 1 << 16;

/// The shadow policy of an upstream in one generation.
pub struct Shadow {
    bound: GuardedPolicy,
    share: f64,
    sample: Share,
    /// The endpoints' names, by index.
    endpoints: Arc<[Arc<str>]>,
    record: Arc<Record>,
    queue: ShadowQueue,
}

/// The queue of comparisons.
#[derive(Clone)]
pub struct ShadowQueue {
    jobs: SyncSender<Job>,
    rows: Arc<AtomicUsize>,
}

/// The thread that compares.
pub struct Comparer {
    jobs: Receiver<Job>,
    rows: Arc<AtomicUsize>,
}

struct Job {
    shadow: Arc<Shadow>,
    request: RequestBlock,
    rows: Vec<EndpointRow>,
    live: Vec<f64>,
}

/// A queue of comparisons and its consumer.
pub fn shadows() -> (ShadowQueue, Comparer) {
    let (sender, receiver) = sync_channel(QUEUE);
    let rows = Arc::default();
    (ShadowQueue { jobs: sender, rows: Arc::clone(&rows) }, Comparer { jobs: receiver, rows })
}

impl Shadow {
    /// The shadow of an upstream with these endpoints. The results of the same policy in `before`
    /// are kept.
    pub(super) fn build(
        upstream: &str,
        conf: &ShadowConf,
        bound: GuardedPolicy,
        endpoints: &[Endpoint],
        before: Option<&Upstream>,
        resources: &Resources,
    ) -> Arc<Self> {
        let same =
            before.and_then(|u| u.deciders.shadow.as_ref()).filter(|old| old.bound.policy.is_alike(&bound.policy));
        let record = match same {
            Some(old) => Arc::clone(&old.record),
            None => Arc::new(Record::new(resources.metrics.shadow(upstream, bound.policy.name()))),
        };
        Arc::new(Shadow {
            bound,
            share: conf.share,
            sample: Share::new(conf.share),
            endpoints: endpoints.iter().map(|endpoint| Arc::clone(endpoint.name())).collect(),
            record,
            queue: resources.shadows.clone(),
        })
    }

    /// The policy.
    pub fn policy(&self) -> &GuardedPolicy {
        &self.bound
    }

    /// The share of requests that it scores, above 0, up to 1.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The results so far.
    pub fn stats(&self) -> ShadowStats {
        self.record.stats()
    }

    /// Queues a comparison if the request belongs to the sample. `live` are the effective scores.
    /// Never waits.
    pub(super) fn offer(self: &Arc<Self>, request: &RequestBlock, rows: &[EndpointRow], live: &[f64]) {
        if self.sample.holds(request.seed) && !self.queue.offer(self, request, rows, live) {
            self.record.drop_one();
        }
    }
}

impl ShadowQueue {
    /// Returns false if the queue is full.
    fn offer(&self, shadow: &Arc<Shadow>, request: &RequestBlock, rows: &[EndpointRow], live: &[f64]) -> bool {
        let waiting = self.rows.fetch_add(rows.len(), Relaxed);
        let fits = waiting == 0 || waiting.saturating_add(rows.len()) <= QUEUED_ROWS;
        let queued = fits && {
            let (shadow, rows, live) = (Arc::clone(shadow), rows.to_vec(), live.to_vec());
            self.jobs.try_send(Job { shadow, request: *request, rows, live }).is_ok()
        };
        if !queued {
            self.rows.fetch_sub(rows.len(), Relaxed);
        }
        queued
    }
}

impl Comparer {
    /// Compares until all senders are gone.
    pub fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            self.rows.fetch_sub(job.rows.len(), Relaxed);
            job.run();
        }
    }
}

impl Job {
    fn run(self) {
        let Job { shadow, request, rows, live } = self;
        let Shadow { bound, record, .. } = &*shadow;
        let mut scores = Vec::with_capacity(rows.len());
        let began = Instant::now();
        let answer = bound.policy.score_aside(&request, bound.rows(&rows), &mut scores);
        let took = began.elapsed();
        if let Err(Fault::NotReady) = answer {
            // The instance is being replaced and didn't see this request.
            return record.drop_one();
        }
        bound.series.calls.inc();
        record.called(took);
        match answer {
            Ok(_) => {
                let endpoints = Arc::clone(&shadow.endpoints);
                record.compare(Pair { request, rows, live, shadow: scores, endpoints });
            }
            Err(fault) => {
                bound.series.fault(fault.kind());
                tracing::debug!(policy = bound.policy.name(), kind = fault.kind(), %fault, "a shadow faulted");
                record.fault();
            }
        }
    }
}

#[cfg(test)]
mod tests;
