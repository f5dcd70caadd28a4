//! Metrics of upstreams.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::live::{Ends, Live, Subject};
use super::{Builder, LATENCY_BUCKETS, NO_UPSTREAM};

pub(super) struct UpstreamMetrics {
    requests: IntCounterVec,
    request_duration: HistogramVec,
    endpoints: IntGaugeVec,
    healthy: IntGaugeVec,
    retries: IntCounterVec,
    hedges: IntCounterVec,
    hedges_won: IntCounterVec,
    budget_exhausted: IntCounterVec,
    budget_excused: IntCounterVec,
    websockets: IntGaugeVec,
    live: Live<UpstreamSeries>,
}

/// Handles of one upstream.
pub struct UpstreamSeries {
    subject: Subject,
    all_requests: IntCounterVec,
    /// By method and status, which aren't known in advance. Each counter is looked up by its labels
    /// once.
    requests: RwLock<HashMap<(&'static str, u16), IntCounter>>,
    request_duration: Histogram,
    /// Number of endpoints. Set at the publish.
    pub endpoints: IntGauge,
    /// Endpoints that are healthy and in rotation. Set at scrape time.
    pub healthy: IntGauge,
    /// Attempts after one that failed.
    pub retries: IntCounter,
    /// Attempts beside one that took long.
    pub hedges: IntCounter,
    /// Hedges that answered first.
    pub hedges_won: IntCounter,
    /// Retries and hedges that the budget refused.
    pub budget_exhausted: IntCounter,
    /// Retries and hedges that no client's budget pays for.
    pub budget_excused: IntCounter,
    /// Open WebSocket connections.
    pub websockets: IntGauge,
    _ends: Ends,
}

impl UpstreamMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Self> {
        let by = &["upstream"];
        Ok(UpstreamMetrics {
            requests: build.counters("requests_total", "Requests answered.", &["upstream", "method", "status"])?,
            request_duration: build.histograms(
                "request_duration_seconds",
                "From head to answer.",
                by,
                LATENCY_BUCKETS,
            )?,
            endpoints: build.gauges("endpoints_total", "Endpoints of the upstream.", by)?,
            healthy: build.gauges("endpoints_healthy", "Endpoints that are healthy and in rotation.", by)?,
            retries: build.counters("retries_total", "Attempts after one that failed.", by)?,
            hedges: build.counters("hedges_total", "Attempts beside one that took long.", by)?,
            hedges_won: build.counters("hedges_won_total", "Hedges that answered first.", by)?,
            budget_exhausted: build.counters(
                "retry_budget_exhausted_total",
                "Retries and hedges that the budget refused.",
                by,
            )?,
            budget_excused: build.counters(
                "retry_budget_excused_total",
                "Retries and hedges that cost no client's budget: the proxy tried an endpoint that comes back.",
                by,
            )?,
            websockets: build.gauges("websocket_connections", "Open WebSocket connections.", by)?,
            live: Live::default(),
        })
    }

    /// The handles of an upstream, shared by all holders.
    pub(super) fn series(&self, upstream: &str) -> Arc<UpstreamSeries> {
        self.live.get_or_make(&[upstream], |subject, ends| UpstreamSeries {
            subject: subject.clone(),
            all_requests: self.requests.clone(),
            requests: RwLock::default(),
            request_duration: subject.of(&self.request_duration),
            endpoints: subject.of(&self.endpoints),
            healthy: subject.of(&self.healthy),
            retries: subject.of(&self.retries),
            hedges: subject.of(&self.hedges),
            hedges_won: subject.of(&self.hedges_won),
            budget_exhausted: subject.of(&self.budget_exhausted),
            budget_excused: subject.of(&self.budget_excused),
            websockets: subject.of(&self.websockets),
            _ends: ends,
        })
    }

    /// Counts an answered request without an upstream.
    pub(super) fn count_stray(&self, method: &'static str, status: u16, seconds: f64) {
        self.requests.with_label_values(&[NO_UPSTREAM, method, status_text(status, &mut [0; 3])]).inc();
        self.request_duration.with_label_values(&[NO_UPSTREAM]).observe(seconds);
    }
}

impl UpstreamSeries {
    /// Counts an answered request. `method` comes from a fixed list.
    pub fn count_request(&self, method: &'static str, status: u16, seconds: f64) {
        self.request_duration.observe(seconds);
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(&(method, status)) {
            return counter.inc();
        }
        drop(known);
        let counter = self.subject.with(&self.all_requests, &[method, status_text(status, &mut [0; 3])]);
        counter.inc();
        self.requests.write().unwrap_or_else(PoisonError::into_inner).insert((method, status), counter);
    }
}

fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    *digits = [(status / 100 % 10) as u8, (status / 10 % 10) as u8, (status % 10) as u8].map(|d| d + b'0');
    std::str::from_utf8(digits).unwrap_or("000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits() {
        assert_eq!(status_text(429, &mut [0; 3]), "429");
    }
}
