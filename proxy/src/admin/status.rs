//! The response of `GET /status`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::NATIVE;
use crate::model::{ArmCounts, HealthState, ProbeFailure, Tick};
use crate::report::UnderWay;
use crate::snapshot::Snapshot;
use crate::upstream::{Canary, CanaryState, Endpoint, Exclusion, GuardedPolicy, Upstream};

/// The serving generation and its live state.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// The proxy's version.
    pub version: String,
    /// The serving generation.
    pub generation: u64,
    /// The reason for its publish.
    #[serde(default)]
    pub cause: String,
    /// The preparation in progress, also one that is stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<UnderWay>,
    /// Seconds since the start of the process.
    pub uptime_seconds: u64,
    /// By name.
    pub upstreams: BTreeMap<String, UpstreamStatus>,
    /// By name.
    pub policies: BTreeMap<String, PolicyStatus>,
}

/// An upstream.
#[derive(Debug, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// The scoring policy, `native` for the built-in one.
    pub scoring: String,
    /// The retry policy, `native` for the built-in one.
    pub retry: String,
    /// The policy that decides a share of the requests, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// Requests in flight.
    pub in_flight: usize,
    /// In the order of the conf.
    pub endpoints: Vec<EndpointStatus>,
}

/// A canary of an upstream.
#[derive(Debug, Serialize, Deserialize)]
pub struct CanaryStatus {
    /// The policy's name in the conf.
    pub policy: String,
    /// The plugin's version.
    pub version: String,
    /// `running`, `taken_out` or `promoted`.
    pub state: String,
    /// Why it was taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The share of requests that it decides while it runs, above 0, up to 50.
    pub percent: f64,
    /// Seconds since the canary began.
    pub age_seconds: f64,
    /// Requests that it has decided.
    pub requests: u64,
    /// Its calls that faulted or chose no endpoint.
    pub faults: u64,
    /// The live policy's recent requests, for comparison.
    pub live: ArmStatus,
    /// The canary's requests of the same period.
    pub canary: ArmStatus,
}

/// Statistics of one policy. Unknown numbers are absent.
#[derive(Debug, Serialize, Deserialize)]
pub struct ArmStatus {
    /// Requests that it decided.
    pub requests: u64,
    /// The share of requests without a good answer, 0 to 1.
    pub error_rate: Option<f64>,
    /// Attempts per request.
    pub mean_attempts: Option<f64>,
    /// The 99th percentile, from a request's admission to its answer.
    pub latency_p99_ms: Option<f32>,
}

/// An endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// The weight from the conf.
    pub weight: u16,
    /// Whether it may take a request.
    pub available: bool,
    /// Why it isn't available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// The result of its probes: `unknown`, `healthy`, `unhealthy`, `wrong_chain`, `unverified` or
    /// `lagging`.
    #[serde(default)]
    pub health: String,
    /// Why it isn't healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_detail: Option<String>,
    /// The latest head that it reported; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<u64>,
    /// Blocks behind the best endpoint; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_lag_blocks: Option<u64>,
    /// Remaining cooldown.
    pub cooldown_seconds: f64,
    /// EWMA of latency.
    pub latency_ms: f32,
    /// Estimated 99th percentile; absent before the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_p99_ms: Option<f32>,
    /// EWMA of error penalties.
    pub penalty_ms: f32,
    /// EWMA of successes, 0 to 1.
    pub success_rate: f32,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Idle connections.
    pub idle_connections: usize,
    /// The free share of the rate limiter's burst, 0 to 1.
    pub limiter_headroom: f32,
    /// Whether its host name has an address.
    pub resolved: bool,
    /// Methods for which it is temporarily excluded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub banned_methods: Vec<String>,
    /// Attempts by outcome.
    pub attempts: BTreeMap<String, u64>,
}

/// A policy.
#[derive(Debug, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The plugin's own name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// The module's digest.
    pub sha256: String,
    /// The minisign key that signed it; absent if the conf requires no signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// `scoring`, `retry` or both.
    pub kinds: Vec<String>,
    /// Calls since it was loaded.
    pub calls: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Whether it is in quarantine after too many faults.
    #[serde(default)]
    pub quarantined: bool,
    /// Seconds until the half-open call; 0 without a quarantine, or when the next call is the
    /// half-open one.
    #[serde(default)]
    pub quarantined_seconds: f64,
    /// Quarantines since it was loaded.
    #[serde(default)]
    pub quarantines: u64,
}

impl Status {
    pub(super) fn of(snapshot: &Snapshot, now: Tick) -> Self {
        let upstreams = snapshot.upstreams().map(|u| (u.name().to_string(), UpstreamStatus::of(u, now)));
        let policies =
            snapshot.policies.iter().map(|(name, bound)| (name.clone(), PolicyStatus::of(snapshot, bound, now)));
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            generation: snapshot.generation,
            cause: snapshot.cause.clone(),
            reload: None,
            uptime_seconds: now.since(Tick::START).as_secs(),
            upstreams: upstreams.collect(),
            policies: policies.collect(),
        }
    }
}

impl UpstreamStatus {
    fn of(upstream: &Upstream, now: Tick) -> Self {
        let [scoring, retry] = upstream.policies();
        UpstreamStatus {
            scoring: policy_name(scoring),
            retry: policy_name(retry),
            canary: upstream.canary().map(|canary| CanaryStatus::of(canary, now)),
            in_flight: upstream.in_flight(),
            endpoints: upstream.endpoints().iter().map(|endpoint| EndpointStatus::of(endpoint, now)).collect(),
        }
    }
}

impl CanaryStatus {
    fn of(canary: &Canary, now: Tick) -> Self {
        let (policy, counts) = (&canary.policy().policy, canary.counts(now));
        CanaryStatus {
            policy: policy.name().to_owned(),
            version: policy.identity().version.to_string(),
            state: canary.state().label().to_owned(),
            reason: match canary.state() {
                CanaryState::TakenOut(why) => Some(why.to_string()),
                CanaryState::Running | CanaryState::Promoted => None,
            },
            percent: canary.conf().percent,
            age_seconds: counts.age.as_secs_f64(),
            requests: counts.requests,
            faults: counts.faults,
            live: ArmStatus::of(&counts.live),
            canary: ArmStatus::of(&counts.canary),
        }
    }
}

impl ArmStatus {
    fn of(tally: &ArmCounts) -> Self {
        let known = |number: f64| Some(number).filter(|number| !number.is_nan());
        ArmStatus {
            requests: tally.requests,
            error_rate: known(tally.error_rate()),
            mean_attempts: known(tally.mean_attempts()),
            latency_p99_ms: Some(tally.p99_ms()).filter(|p99| !p99.is_nan()),
        }
    }
}

impl EndpointStatus {
    fn of(endpoint: &Endpoint, now: Tick) -> Self {
        let stats = endpoint.stats();
        let exclusion = endpoint.exclusion(now);
        let counted = crate::model::Outcome::ALL.into_iter().map(|o| (o, endpoint.series().attempts(o).get()));
        EndpointStatus {
            name: endpoint.name().to_string(),
            weight: endpoint.weight(),
            available: exclusion.is_none(),
            excluded: exclusion.map(exclusion_text),
            health: endpoint.health_state().label().to_owned(),
            health_detail: health_detail(endpoint),
            head: endpoint.health().head(),
            head_lag_blocks: endpoint.health().head_lag(),
            cooldown_seconds: stats.cooldown.remaining(now).unwrap_or_default().as_secs_f64(),
            latency_ms: stats.latency_ms(),
            latency_p99_ms: Some(stats.latency_p99_ms()).filter(|p99| !p99.is_nan()),
            penalty_ms: stats.penalty_ms(),
            success_rate: stats.success_rate(),
            consecutive_failures: stats.consecutive_failures(),
            in_flight: stats.in_flight(),
            idle_connections: endpoint.target().idle_connections(),
            limiter_headroom: endpoint.headroom(now),
            resolved: endpoint.target().is_resolved(),
            banned_methods: endpoint.bans().list(now),
            attempts: counted.filter(|(_, n)| *n > 0).map(|(o, n)| (o.label().to_owned(), n)).collect(),
        }
    }
}

/// A policy's name in the conf, `native` for the built-in one.
pub(super) fn policy_name(bound: Option<&GuardedPolicy>) -> String {
    bound.map_or(NATIVE, |bound| bound.policy.name()).to_owned()
}

/// Why an endpoint isn't a candidate, in a few words.
pub(super) fn exclusion_text(why: Exclusion) -> String {
    match why {
        Exclusion::OutOfRotation => "weight 0".to_owned(),
        Exclusion::WrongChain => "wrong chain".to_owned(),
        Exclusion::Unhealthy(why) => format!("unhealthy: {why}"),
        Exclusion::Lagging => "lagging".to_owned(),
        Exclusion::Cooling(_) => "cooling".to_owned(),
        Exclusion::HalfOpen(_) => "half-open: one request or probe at a time tries it".to_owned(),
        Exclusion::Silent => "silent: it answers no request".to_owned(),
    }
}

/// Why an endpoint isn't healthy.
fn health_detail(endpoint: &Endpoint) -> Option<String> {
    let health = endpoint.health();
    match endpoint.health_state() {
        HealthState::Unknown | HealthState::Healthy => None,
        HealthState::WrongChain => Some(ProbeFailure::WRONG_CHAIN.to_string()),
        HealthState::Unverified if !health.is_probed() => Some(ProbeFailure::UNVERIFIED.to_string()),
        HealthState::Unhealthy | HealthState::Unverified => Some(health.failure().to_string()),
        HealthState::Lagging => health.head_lag().map(|blocks| format!("{blocks} blocks behind")),
    }
}

impl PolicyStatus {
    fn of(snapshot: &Snapshot, bound: &GuardedPolicy, now: Tick) -> Self {
        let (identity, kinds) = (bound.policy.identity(), bound.policy.kinds());
        let quarantine = bound.quarantine();
        PolicyStatus {
            plugin: identity.plugin.clone(),
            version: identity.version.to_string(),
            sha256: identity.digest.to_string(),
            signed_by: snapshot.catalog.signer(identity.digest).map(|key| key.to_string()),
            kinds: [("scoring", kinds.scoring), ("retry", kinds.retry)]
                .into_iter()
                .filter(|(_, is)| *is)
                .map(|(kind, _)| kind.to_owned())
                .collect(),
            calls: bound.series.calls.get(),
            faults: bound.series.faults().filter(|(_, n)| *n > 0).map(|(kind, n)| (kind.to_owned(), n)).collect(),
            quarantined: quarantine.is_active(),
            quarantined_seconds: quarantine.remaining(now).unwrap_or_default().as_secs_f64(),
            quarantines: quarantine.count(),
        }
    }
}
