//! Prometheus metrics: fields of a struct that is built with a registry passed in.
//!
//! Handles are resolved when a snapshot is built, not on the request path. An endpoint's series belong to its
//! [`EndpointSeries`]: they vanish when the last snapshot or request that holds it is gone, and a request that was in
//! flight can't bring them back, because it counts into a handle that it already has.

mod shadow;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use shadow::ShadowMetrics;
pub use shadow::ShadowSeries;

use crate::model::Outcome;

/// Seconds. From an answer out of a cache next door to a slow trace.
const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds. From a small call up to what fuel and epochs allow.
const CALL_BUCKETS: &[f64] = &[1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    attempts: IntCounterVec,
    attempt_duration: HistogramVec,
    cooldowns: IntCounterVec,
    deferred: IntCounterVec,
    available: IntGaugeVec,
    cooldown_seconds: GaugeVec,
    health_failures: IntCounterVec,
    head_lag: GaugeVec,
    wrong_chain: IntGaugeVec,
    endpoints: IntGaugeVec,
    retries: IntCounterVec,
    hedges: IntCounterVec,
    hedges_won: IntCounterVec,
    budget_exhausted: IntCounterVec,
    healthy: IntGaugeVec,
    policy_calls: IntCounterVec,
    policy_duration: HistogramVec,
    policy_faults: IntCounterVec,
    policy_quarantined: IntGaugeVec,
    policy_quarantines: IntCounterVec,
    shadows: Arc<ShadowMetrics>,
    reloads: IntCounterVec,
    plugin_cache: IntCounterVec,
    /// The generation that serves.
    pub generation: IntGauge,
    /// Generations that a request still holds, the serving one included.
    pub generations_live: IntGauge,
    live: Mutex<HashMap<(String, String), Weak<EndpointSeries>>>,
}

/// One endpoint's handles.
pub struct EndpointSeries {
    metrics: Weak<Metrics>,
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

/// One upstream's handles. Who still holds them after the upstream is gone can't bring its series back.
pub struct UpstreamSeries {
    /// Attempts after one that failed.
    pub retries: IntCounter,
    /// Attempts beside one that took long.
    pub hedges: IntCounter,
    /// Hedges that answered first.
    pub hedges_won: IntCounter,
    /// Retries and hedges that the budget refused.
    pub budget_exhausted: IntCounter,
    /// Endpoints that are healthy and in rotation. Set at scrape time.
    pub healthy: IntGauge,
}

/// One policy's handles.
pub struct PolicySeries {
    /// Calls of either kind.
    pub calls: IntCounter,
    /// Time of a call in seconds, of a sample of the calls.
    pub duration: Histogram,
    /// 1 while it is in quarantine. Set at scrape time.
    pub quarantined: IntGauge,
    /// Quarantines begun.
    pub quarantines: IntCounter,
    faults: Vec<(&'static str, IntCounter)>,
}

impl Metrics {
    /// Metrics registered with `registry`.
    ///
    /// # Errors
    /// When a name is taken in `registry`.
    pub fn new(registry: Registry) -> prometheus::Result<Arc<Self>> {
        let build = Builder(&registry);
        let by_endpoint = &["upstream", "endpoint"];
        let metrics = Metrics {
            requests: build.counters("requests_total", "Requests answered.", &["upstream", "method", "status"])?,
            request_duration: build.histograms(
                "request_duration_seconds",
                "From head to answer.",
                &["upstream"],
                LATENCY_BUCKETS,
            )?,
            attempts: build.counters("attempts_total", "Attempts settled.", &["upstream", "endpoint", "outcome"])?,
            attempt_duration: build.histograms(
                "attempt_duration_seconds",
                "Time of an attempt.",
                by_endpoint,
                LATENCY_BUCKETS,
            )?,
            cooldowns: build.counters("endpoint_cooldowns_total", "Cooldowns begun.", by_endpoint)?,
            deferred: build.counters(
                "endpoint_rate_limit_deferred_total",
                "Selections refused by the rate limiter.",
                by_endpoint,
            )?,
            available: build.gauges("endpoint_available", "1 when the endpoint may take a request.", by_endpoint)?,
            cooldown_seconds: build.float_gauges(
                "endpoint_cooldown_seconds",
                "What is left of the cooldown.",
                by_endpoint,
            )?,
            health_failures: build.counters("health_check_failures_total", "Probes that failed.", by_endpoint)?,
            head_lag: build.float_gauges(
                "endpoint_head_lag_blocks",
                "Blocks behind the best endpoint; NaN while not known.",
                by_endpoint,
            )?,
            wrong_chain: build.gauges("endpoint_wrong_chain", "1 when it is of another chain.", by_endpoint)?,
            healthy: build.gauges("endpoints_healthy", "Endpoints that are healthy and in rotation.", &["upstream"])?,
            endpoints: build.gauges("endpoints_total", "Endpoints of the upstream.", &["upstream"])?,
            retries: build.counters("retries_total", "Attempts after one that failed.", &["upstream"])?,
            hedges: build.counters("hedges_total", "Attempts beside one that took long.", &["upstream"])?,
            hedges_won: build.counters("hedges_won_total", "Hedges that answered first.", &["upstream"])?,
            budget_exhausted: build.counters(
                "retry_budget_exhausted_total",
                "Retries and hedges that the budget refused.",
                &["upstream"],
            )?,
            policy_calls: build.counters("policy_calls_total", "Calls of a policy.", &["policy"])?,
            policy_duration: build.histograms(
                "policy_call_duration_seconds",
                "Time of a policy call, one in 64.",
                &["policy"],
                CALL_BUCKETS,
            )?,
            policy_faults: build.counters(
                "policy_faults_total",
                "Calls that faulted, and so gave no answer.",
                &["policy", "kind"],
            )?,
            policy_quarantined: build.gauges("policy_quarantined", "1 while it is in quarantine.", &["policy"])?,
            policy_quarantines: build.counters("policy_quarantines_total", "Quarantines begun.", &["policy"])?,
            shadows: ShadowMetrics::new(&build)?,
            reloads: build.counters("reloads_total", "Reloads by result.", &["result"])?,
            plugin_cache: build.counters(
                "plugin_cache_total",
                "Looks into plugins.cache_dir by result.",
                &["result"],
            )?,
            generation: build.gauge("generation", "The generation that serves.")?,
            generations_live: build.gauge("generations_live", "Generations still held.")?,
            live: Mutex::new(HashMap::new()),
            registry,
        };
        for result in ["success", "failure"] {
            metrics.reloads.with_label_values(&[result]);
        }
        Ok(Arc::new(metrics))
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }

    /// Counts an answered request. `method` comes from a fixed list.
    pub fn count_request(&self, upstream: &str, method: &'static str, status: u16, seconds: f64) {
        let mut digits = [0; 3];
        self.requests.with_label_values(&[upstream, method, status_text(status, &mut digits)]).inc();
        self.request_duration.with_label_values(&[upstream]).observe(seconds);
    }

    /// Counts a reload.
    pub fn count_reload(&self, success: bool) {
        self.reloads.with_label_values(&[if success { "success" } else { "failure" }]).inc();
    }

    /// Counts looks into the folder for compiled code.
    pub fn count_plugin_cache(&self, result: &'static str, count: u64) {
        self.plugin_cache.with_label_values(&[result]).inc_by(count);
    }

    /// Tells how many endpoints an upstream has.
    pub fn set_endpoints(&self, upstream: &str, count: usize) {
        self.endpoints.with_label_values(&[upstream]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Forgets an upstream that is gone.
    pub fn forget_upstream(&self, upstream: &str) {
        let _ = self.endpoints.remove_label_values(&[upstream]);
        let _ = self.healthy.remove_label_values(&[upstream]);
        let _ = self.request_duration.remove_label_values(&[upstream]);
        for counters in [&self.retries, &self.hedges, &self.hedges_won, &self.budget_exhausted] {
            let _ = counters.remove_label_values(&[upstream]);
        }
    }

    /// The handles of an upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamSeries {
        let of = |counters: &IntCounterVec| counters.with_label_values(&[upstream]);
        UpstreamSeries {
            retries: of(&self.retries),
            hedges: of(&self.hedges),
            hedges_won: of(&self.hedges_won),
            budget_exhausted: of(&self.budget_exhausted),
            healthy: self.healthy.with_label_values(&[upstream]),
        }
    }

    /// The handles of an endpoint; the same ones as long as anyone holds them.
    pub fn endpoint(self: &Arc<Self>, upstream: &str, endpoint: &str) -> Arc<EndpointSeries> {
        let mut live = self.live();
        let key = (upstream.to_owned(), endpoint.to_owned());
        if let Some(series) = live.get(&key).and_then(Weak::upgrade) {
            return series;
        }
        let labels = [upstream, endpoint];
        let series = Arc::new(EndpointSeries {
            metrics: Arc::downgrade(self),
            attempts: Outcome::ALL.map(|o| self.attempts.with_label_values(&[upstream, endpoint, o.label()])),
            duration: self.attempt_duration.with_label_values(&labels),
            cooldowns: self.cooldowns.with_label_values(&labels),
            deferred: self.deferred.with_label_values(&labels),
            available: self.available.with_label_values(&labels),
            cooldown_seconds: self.cooldown_seconds.with_label_values(&labels),
            health_check_failures: self.health_failures.with_label_values(&labels),
            head_lag_blocks: self.head_lag.with_label_values(&labels),
            wrong_chain: self.wrong_chain.with_label_values(&labels),
            upstream: upstream.to_owned(),
            endpoint: endpoint.to_owned(),
        });
        live.insert(key, Arc::downgrade(&series));
        series
    }

    /// The handles of a policy, for these kinds of faults.
    pub fn policy(&self, policy: &str, kinds: &[&'static str]) -> PolicySeries {
        PolicySeries {
            calls: self.policy_calls.with_label_values(&[policy]),
            duration: self.policy_duration.with_label_values(&[policy]),
            quarantined: self.policy_quarantined.with_label_values(&[policy]),
            quarantines: self.policy_quarantines.with_label_values(&[policy]),
            faults: kinds.iter().map(|kind| (*kind, self.policy_faults.with_label_values(&[policy, kind]))).collect(),
        }
    }

    /// Forgets a policy that is gone, whose faults are of these kinds.
    pub fn forget_policy(&self, policy: &str, kinds: &[&'static str]) {
        let _ = self.policy_calls.remove_label_values(&[policy]);
        let _ = self.policy_duration.remove_label_values(&[policy]);
        let _ = self.policy_quarantined.remove_label_values(&[policy]);
        let _ = self.policy_quarantines.remove_label_values(&[policy]);
        for kind in kinds {
            let _ = self.policy_faults.remove_label_values(&[policy, kind]);
        }
    }

    /// The handles of a shadow policy; the same ones as long as anyone holds them.
    pub fn shadow(&self, upstream: &str, policy: &str) -> Arc<ShadowSeries> {
        self.shadows.series(upstream, policy)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<(String, String), Weak<EndpointSeries>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, series: &EndpointSeries) {
        let mut live = self.live();
        let key = (series.upstream.clone(), series.endpoint.clone());
        // Somebody may have asked for the same endpoint since the last handle was let go.
        if live.get(&key).is_some_and(|weak| weak.strong_count() > 0) {
            return;
        }
        live.remove(&key);
        let labels = [series.upstream.as_str(), series.endpoint.as_str()];
        for outcome in Outcome::ALL {
            let _ = self.attempts.remove_label_values(&[labels[0], labels[1], outcome.label()]);
        }
        let _ = self.attempt_duration.remove_label_values(&labels);
        let _ = self.cooldowns.remove_label_values(&labels);
        let _ = self.deferred.remove_label_values(&labels);
        let _ = self.available.remove_label_values(&labels);
        let _ = self.cooldown_seconds.remove_label_values(&labels);
        let _ = self.health_failures.remove_label_values(&labels);
        let _ = self.head_lag.remove_label_values(&labels);
        let _ = self.wrong_chain.remove_label_values(&labels);
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
            metrics.remove(self);
        }
    }
}

impl PolicySeries {
    /// Counts a fault.
    pub fn fault(&self, kind: &str) {
        self.faults.iter().filter(|(known, _)| *known == kind).for_each(|(_, faults)| faults.inc());
    }

    /// Faults so far, by kind.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.faults.iter().map(|(kind, faults)| (*kind, faults.get()))
    }
}

fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    *digits = [(status / 100 % 10) as u8, (status / 10 % 10) as u8, (status % 10) as u8].map(|d| d + b'0');
    std::str::from_utf8(digits).unwrap_or("000")
}

/// Makes metrics with the common prefix and registers them.
struct Builder<'a>(&'a Registry);

impl Builder<'_> {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(opts(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(opts(name, help), labels)?)
    }

    fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.register(GaugeVec::new(opts(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::with_opts(opts(name, help))?)
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
        self.register(HistogramVec::new(opts, labels)?)
    }

    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("pointsman")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    #[test]
    fn series_of_a_removed_endpoint_vanish_and_stay_away() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let series = metrics.endpoint("u", "gone");
        let in_flight = series.attempts(Outcome::Success).clone();
        assert!(text(&metrics).contains(r#"endpoint="gone""#));
        drop(series);
        in_flight.inc();
        assert!(!text(&metrics).contains("gone"), "{}", text(&metrics));
    }

    #[test]
    fn an_endpoint_that_comes_back_while_its_old_handle_lives_keeps_its_series() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let old = metrics.endpoint("u", "a");
        old.cooldowns.inc();
        let new = metrics.endpoint("u", "a");
        drop(old);
        assert_eq!(new.cooldowns.get(), 1);
        assert!(text(&metrics).contains(r#"pointsman_endpoint_cooldowns_total{endpoint="a",upstream="u"} 1"#));
        drop(new);
        assert!(!text(&metrics).contains(r#"endpoint="a""#));
    }

    #[test]
    fn a_status_is_three_digits() {
        assert_eq!(status_text(429, &mut [0; 3]), "429");
    }
}
