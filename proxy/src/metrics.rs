//! Prometheus metrics: fields of a struct that is built with a registry passed in.
//!
//! Handles are resolved when a snapshot is built, not on the request path. An endpoint's series belong to its
//! [`EndpointSeries`]: they vanish when the last snapshot or request that holds it is gone, and a request that was in
//! flight can't bring them back, because it counts into a handle that it already has.

mod canary;
mod endpoint;
mod live;
mod requests;
mod shadow;

use std::sync::Arc;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use canary::CanaryMetrics;
pub use canary::{ArmLabels, ArmSeries, CanarySeries};
use endpoint::EndpointMetrics;
pub use endpoint::EndpointSeries;
use requests::RequestCounters;
use requests::status_text;
use shadow::ShadowMetrics;
pub use shadow::ShadowSeries;

/// Seconds. From an answer out of a cache next door to a slow trace.
const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The upstream of requests that none was found for.
pub const NO_UPSTREAM: &str = "none";
/// Seconds. From a small call up to what fuel and epochs allow.
const CALL_BUCKETS: &[f64] = &[1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    endpoint: Arc<EndpointMetrics>,
    endpoints: IntGaugeVec,
    retries: IntCounterVec,
    hedges: IntCounterVec,
    hedges_won: IntCounterVec,
    budget_exhausted: IntCounterVec,
    budget_excused: IntCounterVec,
    healthy: IntGaugeVec,
    policy_calls: IntCounterVec,
    policy_duration: HistogramVec,
    policy_faults: IntCounterVec,
    policy_quarantined: IntGaugeVec,
    policy_quarantines: IntCounterVec,
    policy_refusals: IntCounterVec,
    policy_budget_exhausted: IntCounterVec,
    policy_worker_share: GaugeVec,
    shadows: Arc<ShadowMetrics>,
    canaries: Arc<CanaryMetrics>,
    reloads: IntCounterVec,
    plugin_cache: IntCounterVec,
    connections_refused: IntCounterVec,
    /// Clients that are connected.
    pub connections: IntGauge,
    /// Clients whose connection was closed between requests, to make room.
    pub connections_shed: IntCounter,
    /// The generation that serves.
    pub generation: IntGauge,
    /// Generations that a request still holds, the serving one included.
    pub generations_live: IntGauge,
    /// 1 while a preparation hangs.
    pub reload_stuck: IntGauge,
    /// Reloads that were rolled back because their policies were quarantined.
    pub automatic_rollbacks: IntCounter,
}

/// One upstream's handles. Who still holds them after the upstream is gone can't bring its series back.
pub struct UpstreamSeries {
    requests: RequestCounters,
    request_duration: Histogram,
    /// Attempts after one that failed.
    pub retries: IntCounter,
    /// Attempts beside one that took long.
    pub hedges: IntCounter,
    /// Hedges that answered first.
    pub hedges_won: IntCounter,
    /// Retries and hedges that the budget refused.
    pub budget_exhausted: IntCounter,
    /// Retries and hedges that cost no client's budget.
    pub budget_excused: IntCounter,
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
    /// Requests that it explicitly refused.
    pub refusals: IntCounter,
    /// Requests that used up their `policy_time_budget` in a call of it.
    pub budget_exhausted: IntCounter,
    /// Its share of the workers' time, 0 to 1.
    pub worker_share: Gauge,
    faults: Vec<(&'static str, IntCounter)>,
}

impl Metrics {
    /// Metrics registered with `registry`.
    ///
    /// # Errors
    /// When a name is taken in `registry`.
    pub fn new(registry: Registry) -> prometheus::Result<Arc<Self>> {
        let build = Builder(&registry);
        let metrics = Metrics {
            requests: build.counters("requests_total", "Requests answered.", &["upstream", "method", "status"])?,
            request_duration: build.histograms(
                "request_duration_seconds",
                "From head to answer.",
                &["upstream"],
                LATENCY_BUCKETS,
            )?,
            endpoint: EndpointMetrics::new(&build)?,
            healthy: build.gauges("endpoints_healthy", "Endpoints that are healthy and in rotation.", &["upstream"])?,
            endpoints: build.gauges("endpoints_total", "Endpoints of the upstream.", &["upstream"])?,
            retries: build.counters("retries_total", "Attempts after one that failed.", &["upstream"])?,
            hedges: build.counters("hedges_total", "Attempts beside one that took long.", &["upstream"])?,
            hedges_won: build.counters("hedges_won_total", "Hedges that answered first.", &["upstream"])?,
            budget_excused: build.counters(
                "retry_budget_excused_total",
                "Retries and hedges that cost no client's budget: the proxy tried an endpoint that comes back.",
                &["upstream"],
            )?,
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
            policy_refusals: build.counters(
                "policy_refusals_total",
                "Requests that a policy explicitly refused.",
                &["policy"],
            )?,
            policy_budget_exhausted: build.counters(
                "policy_budget_exhausted_total",
                "Requests that used up their policy_time_budget in a call of this policy.",
                &["policy"],
            )?,
            policy_worker_share: build.float_gauges(
                "policy_worker_share",
                "Share of the workers' time that the policy took, 0 to 1, estimated over the last 10 s with calls.",
                &["policy"],
            )?,
            shadows: ShadowMetrics::new(&build)?,
            canaries: CanaryMetrics::new(&build)?,
            reloads: build.counters("reloads_total", "Reloads by result.", &["result"])?,
            plugin_cache: build.counters(
                "plugin_cache_total",
                "Looks into plugins.cache_dir by result.",
                &["result"],
            )?,
            connections_refused: build.counters(
                "connections_refused_total",
                "Connections of clients that were closed at once, by the limit that was reached.",
                &["reason"],
            )?,
            connections: build.gauge("connections", "Clients that are connected.")?,
            connections_shed: build.counter(
                "connections_shed_total",
                "Connections of clients that were closed between requests, to make room for others.",
            )?,
            generation: build.gauge("generation", "The generation that serves.")?,
            reload_stuck: build.gauge("reload_stuck", "1 while the preparation of a generation hangs.")?,
            generations_live: build.gauge("generations_live", "Generations still held.")?,
            automatic_rollbacks: build.counter(
                "automatic_rollbacks_total",
                "Reloads that were rolled back because their policies were quarantined.",
            )?,
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

    /// Counts an answered request that no upstream was found for. `method` comes from a fixed list.
    pub fn count_stray(&self, method: &'static str, status: u16, seconds: f64) {
        self.requests.with_label_values(&[NO_UPSTREAM, method, status_text(status, &mut [0; 3])]).inc();
        self.request_duration.with_label_values(&[NO_UPSTREAM]).observe(seconds);
    }

    /// Counts a reload.
    pub fn count_reload(&self, success: bool) {
        self.reloads.with_label_values(&[if success { "success" } else { "failure" }]).inc();
    }

    /// Counts looks into the folder for compiled code.
    pub fn count_plugin_cache(&self, result: &'static str, count: u64) {
        self.plugin_cache.with_label_values(&[result]).inc_by(count);
    }

    /// Counts a client's connection that is closed at once, by the limit that was reached.
    pub fn count_refused_connection(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
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
        for counters in [&self.retries, &self.hedges, &self.hedges_won, &self.budget_exhausted, &self.budget_excused] {
            let _ = counters.remove_label_values(&[upstream]);
        }
    }

    /// The handles of an upstream.
    pub fn upstream(&self, upstream: &str) -> UpstreamSeries {
        let of = |counters: &IntCounterVec| counters.with_label_values(&[upstream]);
        UpstreamSeries {
            requests: RequestCounters::new(self.requests.clone(), upstream),
            request_duration: self.request_duration.with_label_values(&[upstream]),
            retries: of(&self.retries),
            hedges: of(&self.hedges),
            hedges_won: of(&self.hedges_won),
            budget_exhausted: of(&self.budget_exhausted),
            budget_excused: of(&self.budget_excused),
            healthy: self.healthy.with_label_values(&[upstream]),
        }
    }

    /// The handles of an endpoint; the same ones as long as anyone holds them.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> Arc<EndpointSeries> {
        self.endpoint.series(upstream, endpoint)
    }

    /// The handles of a policy, for these kinds of faults.
    pub fn policy(&self, policy: &str, kinds: &[&'static str]) -> PolicySeries {
        PolicySeries {
            calls: self.policy_calls.with_label_values(&[policy]),
            duration: self.policy_duration.with_label_values(&[policy]),
            quarantined: self.policy_quarantined.with_label_values(&[policy]),
            quarantines: self.policy_quarantines.with_label_values(&[policy]),
            refusals: self.policy_refusals.with_label_values(&[policy]),
            budget_exhausted: self.policy_budget_exhausted.with_label_values(&[policy]),
            worker_share: self.policy_worker_share.with_label_values(&[policy]),
            faults: kinds.iter().map(|kind| (*kind, self.policy_faults.with_label_values(&[policy, kind]))).collect(),
        }
    }

    /// Forgets a policy that is gone, whose faults are of these kinds.
    pub fn forget_policy(&self, policy: &str, kinds: &[&'static str]) {
        let _ = self.policy_calls.remove_label_values(&[policy]);
        let _ = self.policy_duration.remove_label_values(&[policy]);
        let _ = self.policy_quarantined.remove_label_values(&[policy]);
        let _ = self.policy_quarantines.remove_label_values(&[policy]);
        let _ = self.policy_refusals.remove_label_values(&[policy]);
        let _ = self.policy_budget_exhausted.remove_label_values(&[policy]);
        let _ = self.policy_worker_share.remove_label_values(&[policy]);
        for kind in kinds {
            let _ = self.policy_faults.remove_label_values(&[policy, kind]);
        }
    }

    /// The handles of a shadow policy; the same ones as long as anyone holds them.
    pub fn shadow(&self, upstream: &str, policy: &str) -> Arc<ShadowSeries> {
        self.shadows.series(upstream, policy)
    }

    /// The handles of one of the two policies that decide while there is a canary; the same ones as long as anyone holds them.
    pub fn canary_arm(&self, labels: ArmLabels) -> Arc<ArmSeries> {
        self.canaries.arm(labels)
    }

    /// The handle of a canary; the same one as long as anyone holds it.
    pub fn canary(&self, upstream: &str, policy: &str) -> Arc<CanarySeries> {
        self.canaries.canary(upstream, policy)
    }

    /// Counts what became of a canary.
    pub fn canary_verdict(&self, upstream: &str, policy: &str, verdict: &str) {
        self.canaries.verdict(upstream, policy, verdict);
    }
}

impl UpstreamSeries {
    /// Counts an answered request. `method` comes from a fixed list.
    pub fn count_request(&self, method: &'static str, status: u16, seconds: f64) {
        self.requests.count(method, status);
        self.request_duration.observe(seconds);
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

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::with_opts(opts(name, help))?)
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
    use crate::model::Outcome;

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
}
