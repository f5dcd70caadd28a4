//! Metrics of policies.

use std::sync::Arc;

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::live::{Ends, Live};
use super::{Builder, CALL_BUCKETS};

pub(super) struct PolicyMetrics {
    calls: IntCounterVec,
    duration: HistogramVec,
    faults: IntCounterVec,
    quarantined: IntGaugeVec,
    quarantines: IntCounterVec,
    refusals: IntCounterVec,
    budget_exhausted: IntCounterVec,
    worker_share: GaugeVec,
    live: Live<PolicySeries>,
}

/// Handles of one policy.
pub struct PolicySeries {
    /// Calls of either kind.
    pub calls: IntCounter,
    /// Time of a call in seconds, of a sample of calls.
    pub duration: Histogram,
    /// 1 while it is in quarantine. Set at scrape time.
    pub quarantined: IntGauge,
    /// Number of quarantines.
    pub quarantines: IntCounter,
    /// Requests that it explicitly refused.
    pub refusals: IntCounter,
    /// Requests that used up their `policy_time_budget` in a call of this policy.
    pub budget_exhausted: IntCounter,
    /// Its share of the workers' time, 0 to 1.
    pub worker_share: Gauge,
    faults: Vec<(&'static str, IntCounter)>,
    _ends: Ends,
}

impl PolicyMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Self> {
        let by = &["policy"];
        Ok(PolicyMetrics {
            calls: build.counters("policy_calls_total", "Calls of a policy.", by)?,
            duration: build.histograms(
                "policy_call_duration_seconds",
                "Time of a policy call, one in 64.",
                by,
                CALL_BUCKETS,
            )?,
            faults: build.counters(
                "policy_faults_total",
                "Calls that faulted, and so gave no answer.",
                &["policy", "kind"],
            )?,
            quarantined: build.gauges("policy_quarantined", "1 while it is in quarantine.", by)?,
            quarantines: build.counters("policy_quarantines_total", "Quarantines begun.", by)?,
            refusals: build.counters("policy_refusals_total", "Requests that a policy explicitly refused.", by)?,
            budget_exhausted: build.counters(
                "policy_budget_exhausted_total",
                "Requests that used up their policy_time_budget in a call of this policy.",
                by,
            )?,
            worker_share: build.float_gauges(
                "policy_worker_share",
                "Share of the workers' time that the policy took, 0 to 1, estimated over the last 10 s with calls.",
                by,
            )?,
            live: Live::default(),
        })
    }

    /// The handles of a policy with these kinds of faults, shared by all holders.
    pub(super) fn series(&self, policy: &str, kinds: &[&'static str]) -> Arc<PolicySeries> {
        self.live.get_or_make(&[policy], |subject, ends| PolicySeries {
            calls: subject.of(&self.calls),
            duration: subject.of(&self.duration),
            quarantined: subject.of(&self.quarantined),
            quarantines: subject.of(&self.quarantines),
            refusals: subject.of(&self.refusals),
            budget_exhausted: subject.of(&self.budget_exhausted),
            worker_share: subject.of(&self.worker_share),
            faults: kinds.iter().map(|kind| (*kind, subject.with(&self.faults, &[kind]))).collect(),
            _ends: ends,
        })
    }
}

impl PolicySeries {
    /// Counts a fault.
    pub fn fault(&self, kind: &str) {
        self.faults.iter().filter(|(known, _)| *known == kind).for_each(|(_, faults)| faults.inc());
    }

    /// Faults by kind.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.faults.iter().map(|(kind, faults)| (*kind, faults.get()))
    }
}
