//! What is counted of shadow policies. The series of one vanish with the last generation that has it.

use std::sync::{Arc, Weak};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::live::Live;
use super::{Builder, CALL_BUCKETS};

/// From the opposite order to the same one. Good candidates crowd near 1.
const CORRELATION_BUCKETS: &[f64] = &[-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

/// The metrics of all shadows.
pub(super) struct ShadowMetrics {
    compared: IntCounterVec,
    agreed: IntCounterVec,
    faults: IntCounterVec,
    dropped: IntCounterVec,
    correlation: HistogramVec,
    duration: HistogramVec,
    /// By upstream and policy.
    live: Live<(String, String), ShadowSeries>,
}

/// The handles of one shadow.
pub struct ShadowSeries {
    metrics: Weak<ShadowMetrics>,
    upstream: String,
    policy: String,
    /// Requests that both policies scored.
    pub compared: IntCounter,
    /// Those for which both put the same endpoint first.
    pub agreed: IntCounter,
    /// Calls of the shadow that faulted.
    pub faults: IntCounter,
    /// Sampled requests that it didn't see.
    pub dropped: IntCounter,
    /// Of both rankings, -1 to 1.
    pub correlation: Histogram,
    /// Time of its calls in seconds.
    pub duration: Histogram,
}

impl ShadowMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Arc<Self>> {
        let by = &["upstream", "policy"];
        Ok(Arc::new(ShadowMetrics {
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
        }))
    }

    /// The handles of a shadow; the same ones as long as anyone holds them.
    pub(super) fn series(self: &Arc<Self>, upstream: &str, policy: &str) -> Arc<ShadowSeries> {
        let labels = [upstream, policy];
        self.live.get_or_make((upstream.to_owned(), policy.to_owned()), || ShadowSeries {
            metrics: Arc::downgrade(self),
            upstream: upstream.to_owned(),
            policy: policy.to_owned(),
            compared: self.compared.with_label_values(&labels),
            agreed: self.agreed.with_label_values(&labels),
            faults: self.faults.with_label_values(&labels),
            dropped: self.dropped.with_label_values(&labels),
            correlation: self.correlation.with_label_values(&labels),
            duration: self.duration.with_label_values(&labels),
        })
    }

    fn remove(&self, upstream: &str, policy: &str) {
        let labels = [upstream, policy];
        for counters in [&self.compared, &self.agreed, &self.faults, &self.dropped] {
            let _ = counters.remove_label_values(&labels);
        }
        for histograms in [&self.correlation, &self.duration] {
            let _ = histograms.remove_label_values(&labels);
        }
    }
}

impl Drop for ShadowSeries {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics.upgrade() {
            let key = (std::mem::take(&mut self.upstream), std::mem::take(&mut self.policy));
            metrics.live.let_go(&key, || metrics.remove(&key.0, &key.1));
        }
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
