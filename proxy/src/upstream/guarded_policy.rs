//! Guarded calls of a policy, with the native one as the fallback.
//!
//! A call returns an answer or `None`, and then the caller uses the native policy. Faults are
//! counted by kind. The log has one warning per [`WARN_PERIOD`] and debug lines otherwise, so that
//! a policy that faults on every request doesn't flood it. A policy that faults too often is in
//! quarantine: see `model::Quarantine`.
//!
//! All calls of a request share a time budget. Once it is used up, the native policies decide the
//! rest of that request. This is counted but isn't a fault: the number of calls depends on the
//! client, who may send a batch, and no client may have a policy quarantined for others. The call
//! that used up the budget still counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::EndpointConf;
use crate::metrics::PolicySeries;
use crate::model::{Entry, PolicyTime, Quarantine, RequestFacts, Tick, Workload};
use crate::policy::abi::EndpointRow;
use crate::policy::{Fault, Policy, Rows, TagTable};

/// One call in this many is timed: reading the clock twice costs as much as a small call.
const TIMED_CALLS: u32 = 64;
/// The shortest time between two warnings about a policy's faults.
const WARN_PERIOD: Duration = Duration::from_secs(10);

/// The share of the workers' time above which a policy causes a warning: that much throughput is
/// lost.
const LARGE_SHARE: f64 = 0.1;

/// The request that a policy is called for.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    seed: u64,
    time: &'a PolicyTime,
    budget: Duration,
}

/// A policy with its metrics and its health.
#[derive(Clone)]
pub struct GuardedPolicy {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Its metrics.
    pub series: Arc<PolicySeries>,
    health: Arc<PolicyHealth>,
    /// The tags of the upstream's endpoints as this policy lists them, if it does.
    tags: Option<Arc<TagTable>>,
}

#[derive(Default)]
struct PolicyHealth {
    quarantine: Quarantine,
    warnings: Warnings,
    budget_warnings: Warnings,
    workload: Workload,
}

/// The time of the last warning in nanoseconds, plus one; 0 before the first.
#[derive(Default)]
struct Warnings(AtomicU64);

impl<'a> Turn<'a> {
    /// The turn of a request whose calls together may take `budget`.
    pub(super) fn of(request: &'a RequestFacts, budget: Duration) -> Self {
        Turn { seed: request.seed, time: &request.policy_time, budget }
    }

    /// Whether the budget is used up.
    pub(super) fn is_over(&self) -> bool {
        !self.time.is_within(self.budget)
    }
}

impl GuardedPolicy {
    /// A policy without history.
    pub fn new(policy: Arc<Policy>, series: Arc<PolicySeries>) -> Self {
        GuardedPolicy { policy, series, health: Arc::default(), tags: None }
    }

    /// The same policy for the upstream with these endpoints.
    #[must_use]
    pub(super) fn of_upstream(self, endpoints: &[EndpointConf]) -> Self {
        let table = |listed: &[String]| TagTable::new(listed, endpoints.iter().map(|endpoint| &*endpoint.tags));
        let tags = self.policy.tags().map(|listed| Arc::new(table(listed)));
        GuardedPolicy { tags, ..self }
    }

    /// `rows` as this policy sees them.
    pub(super) fn rows<'a>(&'a self, rows: &'a [EndpointRow]) -> Rows<'a> {
        Rows::new(rows, self.tags.as_deref())
    }

    /// One row as this policy sees it.
    pub(super) fn row(&self, row: EndpointRow) -> EndpointRow {
        EndpointRow { tags: self.tags.as_ref().map_or(row.tags, |tags| tags.of(row.index)), ..row }
    }

    /// The same policy with other instances. It keeps its quarantine.
    #[must_use]
    pub fn with(&self, policy: Arc<Policy>) -> Self {
        GuardedPolicy { policy, ..self.clone() }
    }

    /// Whether both share their health, since one was made from the other.
    pub fn continues(&self, other: &GuardedPolicy) -> bool {
        Arc::ptr_eq(&self.health, &other.health)
    }

    /// The policy's quarantine.
    pub fn quarantine(&self) -> &Quarantine {
        &self.health.quarantine
    }

    /// Calls the policy; `None` when the native one must answer.
    pub(super) fn ask<R>(&self, turn: Turn<'_>, call: impl FnOnce(&Policy) -> Result<R, Fault>) -> Option<R> {
        if turn.is_over() {
            return None;
        }
        let entry = self.quarantine().enter(clock::now);
        if entry == Entry::Refused {
            return None;
        }
        let answer = self.timed(turn.seed, || call(&self.policy));
        if turn.time.spend(Policy::take_spent(), turn.budget) {
            self.exhausted(turn.budget);
        }
        match answer {
            Ok(answer) => {
                if entry == Entry::HalfOpen {
                    self.leave();
                }
                Some(answer)
            }
            Err(fault) => {
                self.note(&fault, entry, clock::now());
                None
            }
        }
    }

    fn timed<R>(&self, seed: u64, call: impl FnOnce() -> R) -> R {
        self.series.calls.inc();
        if !seed.is_multiple_of(TIMED_CALLS.into()) {
            return call();
        }
        let began = Instant::now();
        let answer = call();
        let took = began.elapsed();
        self.series.duration.observe(took.as_secs_f64());
        self.weigh(took);
        answer
    }

    fn weigh(&self, took: Duration) {
        let Some(share) = self.health.workload.add(took, TIMED_CALLS, self.policy.workers(), clock::now()) else {
            return;
        };
        self.series.worker_share.set(share);
        if share > LARGE_SHARE {
            let percent = (share * 100.0).round();
            tracing::warn!(policy = self.policy.name(), percent, "policy takes a large share of the workers' time");
        }
    }

    fn exhausted(&self, budget: Duration) {
        self.series.budget_exhausted.inc();
        let (policy, budget_ms) = (self.policy.name(), budget.as_secs_f64() * 1_000.0);
        if self.health.budget_warnings.is_due(clock::now()) {
            tracing::warn!(
                policy,
                budget_ms,
                "a request used up its policy_time_budget; the native policies decide the rest of it"
            );
        }
    }

    fn leave(&self) {
        self.quarantine().trial_passed();
        tracing::info!(policy = self.policy.name(), "policy is out of quarantine");
    }

    fn note(&self, fault: &Fault, entry: Entry, now: Tick) {
        self.series.fault(fault.kind());
        let (policy, kind) = (self.policy.name(), fault.kind());
        if matches!(fault, Fault::NotReady) {
            tracing::debug!(policy, kind, %fault, "the native policy answers instead");
            if entry == Entry::HalfOpen {
                self.quarantine().trial_postponed(now);
            }
            return;
        }
        let backtrace = fault.backtrace().filter(|at| !at.is_empty()).map(tracing::field::display);
        if self.health.warnings.is_due(now) {
            tracing::warn!(policy, kind, %fault, backtrace, "policy faults; the native policy answers instead");
        } else {
            tracing::debug!(policy, kind, %fault, backtrace, "the native policy answers instead");
        }
        if entry == Entry::HalfOpen {
            let seconds = self.quarantine().trial_failed(now).as_secs();
            tracing::debug!(policy, seconds, "policy stays in quarantine");
        } else if let Some(backoff) = self.quarantine().fault(now) {
            self.series.quarantines.inc();
            tracing::warn!(policy, seconds = backoff.as_secs(), "policy is in quarantine; the native policy answers");
        }
    }
}

impl Warnings {
    fn is_due(&self, now: Tick) -> bool {
        let last = self.0.load(Relaxed);
        let due = last == 0 || now.since(Tick::from_nanos(last - 1)) >= WARN_PERIOD;
        // Of concurrent faults one causes the warning.
        due && self.0.compare_exchange(last, now.as_nanos().saturating_add(1), Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fault_is_a_warning_and_then_one_in_ten_seconds() {
        let warnings = Warnings::default();
        let due = [0, 1, 9, 10, 11, 30].map(|second| warnings.is_due(Tick::START.after(Duration::from_secs(second))));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
