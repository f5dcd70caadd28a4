//! Metrics of endpoints.

use std::sync::Arc;

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::live::{Ends, Live};
use super::{Builder, LATENCY_BUCKETS};
use crate::model::Outcome;

pub(super) struct EndpointMetrics {
    attempts: IntCounterVec,
    duration: HistogramVec,
    cooldowns: IntCounterVec,
    deferred: IntCounterVec,
    available: IntGaugeVec,
    cooldown_seconds: GaugeVec,
    health_failures: IntCounterVec,
    head_lag: GaugeVec,
    wrong_chain: IntGaugeVec,
    /// By upstream and endpoint.
    live: Live<EndpointSeries>,
}

/// Handles of one endpoint.
pub struct EndpointSeries {
    attempts: [IntCounter; Outcome::ALL.len()],
    /// Time of an attempt in seconds.
    pub duration: Histogram,
    /// Number of cooldowns.
    pub cooldowns: IntCounter,
    /// Selections that the rate limiter refused.
    pub deferred: IntCounter,
    /// 1 while the endpoint may take a request. Set at scrape time.
    pub available: IntGauge,
    /// Remaining cooldown. Set at scrape time.
    pub cooldown_seconds: Gauge,
    /// Failed probes.
    pub health_check_failures: IntCounter,
    /// Blocks behind the best endpoint; NaN while unknown. Set at scrape time.
    pub head_lag_blocks: Gauge,
    /// 1 while it reports another chain than the conf's. Set at scrape time.
    pub wrong_chain: IntGauge,
    _ends: Ends,
}

impl EndpointMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Self> {
        let by = &["upstream", "endpoint"];
        Ok(EndpointMetrics {
            attempts: build.counters("attempts_total", "Attempts settled.", &["upstream", "endpoint", "outcome"])?,
            duration: build.histograms("attempt_duration_seconds", "Time of an attempt.", by, LATENCY_BUCKETS)?,
            cooldowns: build.counters("endpoint_cooldowns_total", "Cooldowns begun.", by)?,
            deferred: build.counters(
                "endpoint_rate_limit_deferred_total",
                "Selections refused by the rate limiter.",
                by,
            )?,
            available: build.gauges("endpoint_available", "1 when the endpoint may take a request.", by)?,
            cooldown_seconds: build.float_gauges("endpoint_cooldown_seconds", "What is left of the cooldown.", by)?,
            health_failures: build.counters("health_check_failures_total", "Probes that failed.", by)?,
            head_lag: build.float_gauges(
                "endpoint_head_lag_blocks",
                "Blocks behind the best endpoint; NaN while not known.",
                by,
            )?,
            wrong_chain: build.gauges("endpoint_wrong_chain", "1 when it is of another chain.", by)?,
            live: Live::default(),
        })
    }

    /// The handles of an endpoint, shared by all holders.
    pub(super) fn series(&self, upstream: &str, endpoint: &str) -> Arc<EndpointSeries> {
        self.live.get_or_make(&[upstream, endpoint], |subject, ends| EndpointSeries {
            attempts: Outcome::ALL.map(|outcome| subject.with(&self.attempts, &[outcome.label()])),
            duration: subject.of(&self.duration),
            cooldowns: subject.of(&self.cooldowns),
            deferred: subject.of(&self.deferred),
            available: subject.of(&self.available),
            cooldown_seconds: subject.of(&self.cooldown_seconds),
            health_check_failures: subject.of(&self.health_failures),
            head_lag_blocks: subject.of(&self.head_lag),
            wrong_chain: subject.of(&self.wrong_chain),
            _ends: ends,
        })
    }
}

impl EndpointSeries {
    /// The counter of attempts with this outcome.
    pub fn attempts(&self, outcome: Outcome) -> &IntCounter {
        &self.attempts[outcome.code() as usize]
    }
}
