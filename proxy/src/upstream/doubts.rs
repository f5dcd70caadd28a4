//! Endpoints that failed a request, to be probed before the failure counts against them.
//!
//! A failure that the client may have provoked proves nothing ([`Blame`]). So the proxy probes the
//! endpoint itself: `health` takes [`Doubt`]s out of the queue, probes, and reports the result.
//! There is one doubt per endpoint at a time, so the queue is no longer than the pools.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Endpoint, Upstream};
use crate::clock;
use crate::model::{Blame, CooldownWish, Decision, ProbeFailure, Tick};

/// The queue of the process.
#[derive(Default)]
pub struct Doubts {
    waiting: Mutex<VecDeque<Doubt>>,
    wake: Notify,
}

/// An endpoint to be probed.
pub struct Doubt {
    upstream: Arc<Upstream>,
    index: u32,
    /// The blame that counts if the probe fails. None when the endpoint is half-open and had no new
    /// failure.
    blame: Option<Blame>,
}

impl Doubts {
    /// Waits for the next doubt.
    pub async fn next(&self) -> Doubt {
        loop {
            if let Some(doubt) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                return doubt;
            }
            self.wake.notified().await;
        }
    }

    /// Requests a probe, unless one is under way or was made just now.
    pub(super) fn raise(&self, upstream: &Arc<Upstream>, blame: &Blame, now: Tick) {
        if upstream.endpoint(blame.index).stats.probe_gate.enter(now) {
            let doubt = Doubt { upstream: Arc::clone(upstream), index: blame.index, blame: Some(blame.clone()) };
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(doubt);
            self.wake.notify_one();
        }
    }
}

impl Doubt {
    /// A doubt about a half-open endpoint, unless a probe of it is under way.
    pub fn about_half_open(upstream: &Arc<Upstream>, endpoint: &Endpoint, now: Tick) -> Option<Self> {
        let free = endpoint.stats.probe_gate.enter(now);
        free.then(|| Doubt { upstream: Arc::clone(upstream), index: endpoint.index, blame: None })
    }

    /// Its upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        self.upstream.endpoint(self.index)
    }

    /// Ends the doubt after a good probe, which began at `began`: the endpoint isn't to blame, and
    /// if it is half-open its traffic returns.
    pub fn dismiss(self, began: Tick) {
        let now = clock::now();
        let stats = &self.endpoint().stats;
        stats.probe_gate.leave(now, stats.is_alive(now));
        // A good probe also ends the silence.
        stats.heard(began, now);
        if self.blame.is_none() {
            stats.cooldown.succeed(began, now);
            self.upstream.log_return(self.endpoint());
        }
    }

    /// Ends the doubt after a failed probe: the blame counts.
    pub fn uphold(self, failure: ProbeFailure) {
        let now = clock::now();
        let endpoint = self.endpoint();
        endpoint.stats.probe_gate.leave(now, false);
        let (wish, outcome, status) = match &self.blame {
            Some(blame) => (blame.decision.cooldown, blame.result.outcome.label(), blame.result.http_status),
            None => (CooldownWish::Backoff, "half_open", failure.http_status),
        };
        let decision = Decision { cooldown: wish, ..Decision::RETURN };
        self.upstream.cool(endpoint, &decision, (outcome, failure.detail, status), now);
    }

    /// Ends the doubt without a probe, because the conf no longer has any.
    pub fn drop_it(self) {
        let now = clock::now();
        let stats = &self.endpoint().stats;
        stats.probe_gate.leave(now, stats.is_alive(now));
    }
}
