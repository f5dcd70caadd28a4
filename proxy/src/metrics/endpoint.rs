//! What is counted of endpoints. The series of one vanish with the last generation or request that has it.

use std::sync::{Arc, Weak};

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::live::Live;
use super::{Builder, LATENCY_BUCKETS};
use crate::model::Outcome;

/// The metrics of all endpoints.
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
    live: Live<(String, String), EndpointSeries>,
}

/// One endpoint's handles.
pub struct EndpointSeries {
    metrics: Weak<EndpointMetrics>,
    upstream: String,
    endpoint: String,
    attempts: [IntCounter; Outcome::ALL.len()],
    /// Time of an attempt in seconds.
    pub duration: Histogram,
    /// Cooldowns begun.
    pub cooldowns: IntCounter,
    /// Selections that the rate limiter refused.
    pub deferred: IntCounter,
    /// 1 when the endpoint may take a request. Set at scrape time.
    pub available: IntGauge,
    /// What is left of its cooldown. Set at scrape time.
    pub cooldown_seconds: Gauge,
    /// Probes that failed.
    pub health_check_failures: IntCounter,
    /// Blocks behind the best endpoint; NaN while not known. Set at scrape time.
    pub head_lag_blocks: Gauge,
    /// 1 when it is of another chain than the conf says. Set at scrape time.
    pub wrong_chain: IntGauge,
}

impl EndpointMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Arc<Self>> {
        let by = &["upstream", "endpoint"];
        Ok(Arc::new(EndpointMetrics {
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
        }))
    }

    /// The handles of an endpoint; the same ones as long as anyone holds them.
    pub(super) fn series(self: &Arc<Self>, upstream: &str, endpoint: &str) -> Arc<EndpointSeries> {
        let labels = [upstream, endpoint];
        self.live.get_or_make((upstream.to_owned(), endpoint.to_owned()), || EndpointSeries {
            metrics: Arc::downgrade(self),
            attempts: Outcome::ALL.map(|o| self.attempts.with_label_values(&[upstream, endpoint, o.label()])),
            duration: self.duration.with_label_values(&labels),
            cooldowns: self.cooldowns.with_label_values(&labels),
            deferred: self.deferred.with_label_values(&labels),
            available: self.available.with_label_values(&labels),
            cooldown_seconds: self.cooldown_seconds.with_label_values(&labels),
            health_check_failures: self.health_failures.with_label_values(&labels),
            head_lag_blocks: self.head_lag.with_label_values(&labels),
            wrong_chain: self.wrong_chain.with_label_values(&labels),
            upstream: upstream.to_owned(),
            endpoint: endpoint.to_owned(),
        })
    }

    fn remove(&self, upstream: &str, endpoint: &str) {
        let labels = [upstream, endpoint];
        for outcome in Outcome::ALL {
            let _ = self.attempts.remove_label_values(&[upstream, endpoint, outcome.label()]);
        }
        let _ = self.duration.remove_label_values(&labels);
        for counters in [&self.cooldowns, &self.deferred, &self.health_failures] {
            let _ = counters.remove_label_values(&labels);
        }
        for gauges in [&self.available, &self.wrong_chain] {
            let _ = gauges.remove_label_values(&labels);
        }
        for gauges in [&self.cooldown_seconds, &self.head_lag] {
            let _ = gauges.remove_label_values(&labels);
        }
    }
}

impl EndpointSeries {
    /// The counter of attempts with this outcome.
    pub fn attempts(&self, outcome: Outcome) -> &IntCounter {
        &self.attempts[outcome.code() as usize]
    }
}

impl Drop for EndpointSeries {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics.upgrade() {
            let key = (std::mem::take(&mut self.upstream), std::mem::take(&mut self.endpoint));
            metrics.live.let_go(&key, || metrics.remove(&key.0, &key.1));
        }
    }
}
