//! Asking a policy, or doing without it.
//!
//! Whoever calls a policy gets an answer or `None`, and then asks the native one. A fault is
//! counted by its kind; in the log it is a warning once in [`WARN_PERIOD`], and a line for
//! debugging otherwise, so that a policy that faults with every request doesn't drown the log. A
//! policy that faults too often is in quarantine: see `model::Quarantine`.
//!
//! All calls of a request together have a budget. Once it is used up, the native policies decide
//! what is left of that request. That is counted and no fault: how many calls a request takes is
//! the client's doing, who may send a batch, and nobody may have a policy quarantined for others.
//! The call that used it up still counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::clock;
use crate::metrics::PolicySeries;
use crate::model::{Entry, PolicyTime, Quarantine, RequestFacts, Tick, Workload};
use crate::policy::{Fault, Policy};

/// One call in so many is timed: reading the clock twice costs as much as a small call does.
const TIMED_CALLS: u32 = 64;
/// Between two warnings about the faults of a policy.
const WARN_PERIOD: Duration = Duration::from_secs(10);

/// A policy that takes more of the workers' time is warned about: that much throughput is gone.
const LARGE_SHARE: f64 = 0.1;

/// For whom a policy is asked.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    seed: u64,
    time: &'a PolicyTime,
    budget: Duration,
}

/// A policy with its metrics and how it has done so far.
#[derive(Clone)]
pub struct GuardedPolicy {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Its metrics.
    pub series: Arc<PolicySeries>,
    health: Arc<PolicyHealth>,
}

#[derive(Default)]
struct PolicyHealth {
    quarantine: Quarantine,
    warnings: Warnings,
    budget_warnings: Warnings,
    workload: Workload,
}

/// When the last warning was, in nanoseconds and one more; 0 before the first.
#[derive(Default)]
struct Warnings(AtomicU64);

impl<'a> Turn<'a> {
    /// All of a request's calls together may take `budget`.
    pub(super) fn of(request: &'a RequestFacts, budget: Duration) -> Self {
        Turn { seed: request.seed, time: &request.policy_time, budget }
    }

    /// No policy may be called any more.
    pub(super) fn is_over(&self) -> bool {
        !self.time.is_within(self.budget)
    }
}

impl GuardedPolicy {
    /// A policy that has done nothing yet.
    pub fn new(policy: Arc<Policy>, series: Arc<PolicySeries>) -> Self {
        GuardedPolicy { policy, series, health: Arc::default() }
    }

    /// The same policy with other instances. It stays in quarantine if it is.
    #[must_use]
    pub fn with(&self, policy: Arc<Policy>) -> Self {
        GuardedPolicy { policy, ..self.clone() }
    }

    /// Whether what is known of the other one is known of this one, too: one was made of the other.
    pub fn continues(&self, other: &GuardedPolicy) -> bool {
        Arc::ptr_eq(&self.health, &other.health)
    }

    /// Whether it may be called.
    pub fn quarantine(&self) -> &Quarantine {
        &self.health.quarantine
    }

    /// The policy's answer; `None` when the native one must give it.
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
        // Of faults that come together one is the warning.
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
