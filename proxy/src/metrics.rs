//! Prometheus metrics: fields of a struct that is built with a registry passed in.
//!
//! Handles are resolved when a snapshot is built, not on the request path. Series belong to their
//! handles ([`UpstreamSeries`], [`EndpointSeries`] and so on): they end when the last snapshot or
//! request that holds them is gone (`live`).

mod canary;
mod endpoint;
mod live;
mod policy;
mod shadow;
mod tls;
mod upstream;

use std::sync::Arc;

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use canary::CanaryMetrics;
pub use canary::{ArmLabels, ArmSeries, CanarySeries};
use endpoint::EndpointMetrics;
pub use endpoint::EndpointSeries;
use policy::PolicyMetrics;
pub use policy::PolicySeries;
use shadow::ShadowMetrics;
pub use shadow::ShadowSeries;
pub use tls::CertificateSeries;
use tls::TlsMetrics;
use upstream::UpstreamMetrics;
pub use upstream::UpstreamSeries;

/// Seconds. From a cache hit next door to a slow trace.
const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The upstream label of requests without an upstream.
pub const NO_UPSTREAM: &str = "none";
/// Seconds. From a small call to the limit that fuel and epochs set.
const CALL_BUCKETS: &[f64] = &[1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    upstreams: UpstreamMetrics,
    endpoint: EndpointMetrics,
    policies: PolicyMetrics,
    shadows: ShadowMetrics,
    canaries: CanaryMetrics,
    tls: TlsMetrics,
    reloads: IntCounterVec,
    plugin_cache: IntCounterVec,
    connections_refused: IntCounterVec,
    /// Connected clients.
    pub connections: IntGauge,
    /// Idle client connections that were closed to make room.
    pub connections_shed: IntCounter,
    /// The serving generation.
    pub generation: IntGauge,
    /// Generations that a request still holds, including the serving one.
    pub generations_live: IntGauge,
    /// 1 while a preparation hangs.
    pub reload_stuck: IntGauge,
    /// Reloads that were rolled back because their policies were quarantined.
    pub automatic_rollbacks: IntCounter,
}

impl Metrics {
    /// Metrics registered with `registry`.
    ///
    /// # Errors
    /// When `registry` already has one of the names.
    pub fn new(registry: Registry) -> prometheus::Result<Arc<Self>> {
        let build = Builder(&registry);
        let metrics = Metrics {
            upstreams: UpstreamMetrics::new(&build)?,
            endpoint: EndpointMetrics::new(&build)?,
            policies: PolicyMetrics::new(&build)?,
            shadows: ShadowMetrics::new(&build)?,
            canaries: CanaryMetrics::new(&build)?,
            tls: TlsMetrics::new(&build)?,
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

    /// The metrics in Prometheus text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }

    /// Counts an answered request without an upstream. `method` comes from a fixed list.
    pub fn count_stray(&self, method: &'static str, status: u16, seconds: f64) {
        self.upstreams.count_stray(method, status, seconds);
    }

    /// Counts a reload.
    pub fn count_reload(&self, success: bool) {
        self.reloads.with_label_values(&[if success { "success" } else { "failure" }]).inc();
    }

    /// Counts lookups in the folder of compiled code.
    pub fn count_plugin_cache(&self, result: &'static str, count: u64) {
        self.plugin_cache.with_label_values(&[result]).inc_by(count);
    }

    /// Counts a client connection that is refused, by the limit that was reached.
    pub fn count_refused_connection(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// Counts a client's TLS handshake.
    pub fn count_handshake(&self, resumed: bool) {
        self.tls.count_handshake(resumed);
    }

    /// Counts a client's TLS handshake that failed.
    pub fn count_handshake_failure(&self, reason: &'static str) {
        self.tls.count_handshake_failure(reason);
    }

    /// Counts a connection without a good header of the PROXY protocol.
    pub fn count_proxy_protocol_failure(&self, reason: &'static str) {
        self.tls.count_proxy_protocol_failure(reason);
    }

    /// The handle of a listener's certificate, shared by all holders.
    pub fn certificate(&self, listener: &str, certificate: &str) -> Arc<CertificateSeries> {
        self.tls.certificate(listener, certificate)
    }

    /// The handles of an upstream, shared by all holders.
    pub fn upstream(&self, upstream: &str) -> Arc<UpstreamSeries> {
        self.upstreams.series(upstream)
    }

    /// The handles of an endpoint, shared by all holders.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> Arc<EndpointSeries> {
        self.endpoint.series(upstream, endpoint)
    }

    /// The handles of a policy with these kinds of faults, shared by all holders.
    pub fn policy(&self, policy: &str, kinds: &[&'static str]) -> Arc<PolicySeries> {
        self.policies.series(policy, kinds)
    }

    /// The handles of a shadow policy, shared by all holders.
    pub fn shadow(&self, upstream: &str, policy: &str) -> Arc<ShadowSeries> {
        self.shadows.series(upstream, policy)
    }

    /// The handles of one of the two policies that decide while a canary runs, shared by all
    /// holders.
    pub fn canary_arm(&self, labels: &ArmLabels) -> Arc<ArmSeries> {
        self.canaries.arm(labels)
    }

    /// The handle of a canary, shared by all holders.
    pub fn canary(&self, upstream: &str, policy: &str) -> Arc<CanarySeries> {
        self.canaries.canary(upstream, policy)
    }

    /// Counts the end of a canary, by verdict.
    pub fn canary_verdict(&self, upstream: &str, policy: &str, verdict: &str) {
        self.canaries.verdict(upstream, policy, verdict);
    }
}

/// Makes metrics with the common prefix, and registers them.
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

    /// The names and labels of the series of the subject "gone".
    fn of_gone(metrics: &Metrics) -> Vec<String> {
        let text = text(metrics);
        let lines = text.lines().filter(|line| line.contains(r#""gone""#));
        let mut series: Vec<String> = lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
        series.dedup();
        series
    }

    /// A late count doesn't bring series back.
    #[test]
    fn all_series_of_a_subject_end_with_its_last_holder() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let arm = ArmLabels { upstream: "gone".into(), arm: "live", policy: "p".into(), version: String::new() };
        let (upstream, endpoint) = (metrics.upstream("gone"), metrics.endpoint("u", "gone"));
        let (policy, shadow) = (metrics.policy("gone", &["trap", "fuel"]), metrics.shadow("gone", "p"));
        let (arm, canary) = (metrics.canary_arm(&arm), metrics.canary("gone", "p"));
        upstream.count_request("eth_call", 200, 0.1);
        upstream.count_request("eth_call", 502, 0.1);
        policy.fault("trap");
        let retries = upstream.retries.clone();
        let attempts = endpoint.attempts(Outcome::Success).clone();
        let kinds = |name: &str| of_gone(&metrics).iter().filter(|series| series.contains(name)).count();
        for (kind, count) in [
            ("attempts_total", 1),
            ("endpoint_", 1),
            ("requests_total", 1),
            ("policy_", 8),
            ("shadow_", 6),
            ("canary_", 4),
        ] {
            assert!(kinds(kind) >= count, "{kind}: {:?}", of_gone(&metrics));
        }
        drop((upstream, endpoint, policy, shadow, arm, canary));
        retries.inc();
        attempts.inc();
        assert_eq!(of_gone(&metrics), Vec::<String>::new());
    }

    /// Between the end of the last holder and that of its series.
    #[test]
    fn a_subject_that_comes_back_too_late_takes_over_what_ends() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        let old = metrics.upstream("gone");
        old.count_request("eth_call", 200, 0.1);
        let old = Arc::into_inner(old).unwrap();
        let new = metrics.upstream("gone");
        drop(old);
        assert_ne!(of_gone(&metrics), Vec::<String>::new());
        drop(new);
        assert_eq!(of_gone(&metrics), Vec::<String>::new());
    }

    #[test]
    fn a_subject_that_comes_back_while_an_old_handle_lives_keeps_its_series() {
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
