//! Metrics of canaries: results of the live policy and of the canary, while both decide. Counts of
//! verdicts outlive the canary.

use std::sync::Arc;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::live::{Ends, Live};
use super::{Builder, LATENCY_BUCKETS};

pub(super) struct CanaryMetrics {
    requests: IntCounterVec,
    attempts: IntCounterVec,
    duration: HistogramVec,
    running: IntGaugeVec,
    verdicts: IntCounterVec,
    arms: Live<ArmSeries>,
    canaries: Live<CanarySeries>,
}

/// The labels of one policy's requests.
#[derive(Clone, Debug)]
pub struct ArmLabels {
    /// The upstream.
    pub upstream: String,
    /// `live` or `canary`.
    pub arm: &'static str,
    /// The deciding policy's name in the conf.
    pub policy: String,
    /// The policy's version; empty for the built-in one.
    pub version: String,
}

/// Handles of one of the two policies.
pub struct ArmSeries {
    /// Requests with a good answer.
    pub good: IntCounter,
    /// Requests without a good answer.
    pub failed: IntCounter,
    /// Attempts of all requests.
    pub attempts: IntCounter,
    /// Time of a request in seconds, from its admission to its answer.
    pub duration: Histogram,
    _ends: Ends,
}

/// Handle of a canary.
pub struct CanarySeries {
    /// 1 while the canary decides requests. Set at scrape time.
    pub running: IntGauge,
    _ends: Ends,
}

impl CanaryMetrics {
    pub(super) fn new(build: &Builder<'_>) -> prometheus::Result<Self> {
        let by = &["upstream", "arm", "policy", "version"];
        let by_result = &["upstream", "arm", "policy", "version", "result"];
        let by_policy = &["upstream", "policy"];
        Ok(CanaryMetrics {
            requests: build.counters("canary_requests_total", "Requests while there is a canary.", by_result)?,
            attempts: build.counters("canary_attempts_total", "Attempts of those.", by)?,
            duration: build.histograms(
                "canary_request_duration_seconds",
                "From a request's turn to its answer.",
                by,
                LATENCY_BUCKETS,
            )?,
            running: build.gauges("canary_running", "1 while the canary decides.", by_policy)?,
            verdicts: build.counters(
                "canary_verdicts_total",
                "Canaries that were taken out or promoted.",
                &["upstream", "policy", "verdict"],
            )?,
            arms: Live::default(),
            canaries: Live::default(),
        })
    }

    /// The handles of one of the two policies, shared by all holders.
    pub(super) fn arm(&self, labels: &ArmLabels) -> Arc<ArmSeries> {
        let ArmLabels { upstream, arm, policy, version } = labels;
        self.arms.get_or_make(&[upstream, arm, policy, version], |subject, ends| ArmSeries {
            good: subject.with(&self.requests, &["success"]),
            failed: subject.with(&self.requests, &["failure"]),
            attempts: subject.of(&self.attempts),
            duration: subject.of(&self.duration),
            _ends: ends,
        })
    }

    /// The handle of a canary, shared by all holders.
    pub(super) fn canary(&self, upstream: &str, policy: &str) -> Arc<CanarySeries> {
        self.canaries.get_or_make(&[upstream, policy], |subject, ends| CanarySeries {
            running: subject.of(&self.running),
            _ends: ends,
        })
    }

    pub(super) fn verdict(&self, upstream: &str, policy: &str, verdict: &str) {
        self.verdicts.with_label_values(&[upstream, policy, verdict]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn the_series_of_both_policies_vanish_and_the_verdict_stays() {
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let text = || String::from_utf8(metrics.render()).unwrap();
        let labels = ArmLabels { upstream: "u".into(), arm: "canary", policy: "next".into(), version: "1.2.0".into() };
        let (arm, running) = (metrics.canary_arm(&labels), metrics.canary("u", "next"));
        arm.failed.inc();
        running.running.set(1);
        metrics.canary_verdict("u", "next", "taken_out");
        assert!(text().contains(r#"arm="canary",policy="next",result="failure",upstream="u",version="1.2.0"} 1"#));
        assert!(text().contains(r#"pointsman_canary_running{policy="next",upstream="u"} 1"#));
        drop((arm, running));
        let left: Vec<String> = text().lines().filter(|line| line.contains("next")).map(str::to_owned).collect();
        assert_eq!(left, [r#"pointsman_canary_verdicts_total{policy="next",upstream="u",verdict="taken_out"} 1"#]);
    }
}
