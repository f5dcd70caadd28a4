//! Metrics of shadow policies.

use std::sync::Arc;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::live::{Ends, Live};
use super::{Builder, CALL_BUCKETS};

/// From opposite order to equal order. Most correlations of good candidates are near 1.
const CORRELATION_BUCKETS: &[f64] = &[-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

pub(super) struct ShadowMetrics {
    compared: IntCounterVec,
    agreed: IntCounterVec,
    faults: IntCounterVec,
    dropped: IntCounterVec,
    correlation: HistogramVec,
    duration: HistogramVec,
    /// By upstream and policy.
    live: Live<ShadowSeries>,
}

/// Handles of one shadow policy.
pub struct ShadowSeries {
    /// Requests that both policies scored.
    pub compared: IntCounter,
    /// Requests for which both put the same endpoint first.
    pub agreed: IntCounter,
    /// Faulted calls of the shadow.
    pub faults: IntCounter,
    /// Sampled requests that never reached the shadow.
    pub dropped: IntCounter,
    /// Rank correlation of both policies, -1 to 1.
    pub correlation: Histogram,
    /// Time of its calls in seconds.
    pub duration: Histogram,
    _ends: Ends,
}

impl ShadowMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Self> {
        let by = &["upstream", "policy"];
        Ok(ShadowMetrics {
            compared: build.counters("shadow_compared_total", "Requests that the shadow scored, too.", by)?,
            agreed: build.counters("shadow_agreed_total", "Those with the same first choice.", by)?,
            faults: build.counters("shadow_faults_total", "Calls of the shadow that faulted.", by)?,
            dropped: build.counters("shadow_dropped_total", "Sampled requests that the shadow didn't see.", by)?,
            correlation: build.histograms(
                "shadow_rank_correlation",
                "Spearman's rank correlation of the scores.",
                by,
                CORRELATION_BUCKETS,
            )?,
            duration: build.histograms("shadow_call_duration_seconds", "Time of a shadow's call.", by, CALL_BUCKETS)?,
            live: Live::default(),
        })
    }

    /// The handles of a shadow policy, shared by all holders.
    pub(super) fn series(&self, upstream: &str, policy: &str) -> Arc<ShadowSeries> {
        self.live.get_or_make(&[upstream, policy], |subject, ends| ShadowSeries {
            compared: subject.of(&self.compared),
            agreed: subject.of(&self.agreed),
            faults: subject.of(&self.faults),
            dropped: subject.of(&self.dropped),
            correlation: subject.of(&self.correlation),
            duration: subject.of(&self.duration),
            _ends: ends,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;

    #[test]
    fn the_series_of_a_removed_shadow_vanish_and_those_of_a_kept_one_stay() {
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let text = || String::from_utf8(metrics.render()).unwrap();
        let old = metrics.shadow("u", "candidate");
        old.compared.inc();
        old.correlation.observe(1.0);
        let new = metrics.shadow("u", "candidate");
        drop(old);
        assert_eq!(new.compared.get(), 1);
        assert!(text().contains(r#"pointsman_shadow_compared_total{policy="candidate",upstream="u"} 1"#), "{}", text());
        drop(new);
        assert!(!text().contains("candidate"), "{}", text());
    }
}
