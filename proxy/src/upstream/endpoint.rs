//! One endpoint of one generation: what the conf says of it, and handles to what lives on.

use std::sync::Arc;
use std::time::Duration;

use super::limiter::Limiter;
use crate::client::Target;
use crate::config::EndpointUrl;
use crate::metrics::EndpointSeries;
use crate::model::{
    BucketRate, CooldownState, EndpointHealth, EndpointStats, HealthRules, HealthState, MethodBans, ProbeFailure,
    RequestFacts, Tick,
};
use crate::policy::abi::{EndpointRow, flag, row_flags};

/// An endpoint that requests can be sent to.
///
/// What every decision looks at, on one cache line, and the rest elsewhere: see [`EndpointStats`].
#[repr(align(64))]
pub struct Endpoint {
    pub(super) stats: Arc<EndpointStats>,
    pub(super) health: Arc<EndpointHealth>,
    pub(super) health_rules: HealthRules,
    pub(super) index: u32,
    pub(super) weight: u16,
    pub(super) tags: u64,
    pub(super) price: f32,
    /// It has the tag `archive`.
    pub(super) archive: bool,
    /// It has a rate limiter.
    pub(super) limited: bool,
    /// Of the limiter's bucket.
    pub(super) bucket_rate: BucketRate,
    pub(super) details: Box<Details>,
}

const _: () = assert!(size_of::<Endpoint>() == 64);

/// What matters once an endpoint is chosen.
pub(super) struct Details {
    pub(super) name: Arc<str>,
    pub(super) url: EndpointUrl,
    /// Larger batches are split.
    pub(super) max_batch_size: Option<usize>,
    /// Blocks that a request for logs may span, as far as the conf tells.
    pub(super) max_block_range: Option<u64>,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) target: Arc<Target>,
    pub(super) series: Arc<EndpointSeries>,
}

/// Why an endpoint is no candidate. These are the host's hard rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Weight 0.
    OutOfRotation,
    /// It is of another chain than the conf says.
    WrongChain,
    /// Its probes fail, or its chain isn't verified yet.
    Unhealthy(ProbeFailure),
    /// Its head is further behind than the conf allows.
    Lagging,
    /// It cools for this long.
    Cooling(Duration),
    /// Its cooldown ended this long ago. One request or probe at a time tries it.
    HalfOpen(Duration),
    /// It answers nobody: see [`Silence`](crate::model::Silence).
    Silent,
}

impl Endpoint {
    /// How it is shown.
    pub fn name(&self) -> &Arc<str> {
        &self.details.name
    }

    /// From the conf.
    pub fn weight(&self) -> u16 {
        self.weight
    }

    /// What its attempts taught us.
    pub fn stats(&self) -> &EndpointStats {
        &self.stats
    }

    /// What its probes found.
    pub fn health(&self) -> &EndpointHealth {
        &self.health
    }

    /// What that amounts to under the upstream's conf.
    pub fn health_state(&self) -> HealthState {
        self.health.state(self.health_rules)
    }

    /// Its addresses and connections.
    pub fn target(&self) -> &Arc<Target> {
        &self.details.target
    }

    /// Its metrics.
    pub fn series(&self) -> &EndpointSeries {
        &self.details.series
    }

    /// The share of its rate limiter's burst that is free; 1 without a limiter.
    pub fn headroom(&self, now: Tick) -> f32 {
        if self.limited { self.stats.headroom.share(self.bucket_rate, now) } else { 1.0 }
    }

    /// Why it may not take a request now, if so.
    pub fn exclusion(&self, now: Tick) -> Option<Exclusion> {
        if let Some(excluded) = self.exclusion_by_health() {
            return Some(excluded);
        }
        match self.stats.cooldown.state(now) {
            CooldownState::Cooling(left) => Some(Exclusion::Cooling(left)),
            CooldownState::HalfOpen(since) => Some(Exclusion::HalfOpen(since)),
            CooldownState::Clear | CooldownState::Ramp(_) => self.stats.is_silent(now).then_some(Exclusion::Silent),
        }
    }

    /// Why it may not, as far as the conf and its probes say.
    fn exclusion_by_health(&self) -> Option<Exclusion> {
        if self.weight == 0 {
            return Some(Exclusion::OutOfRotation);
        }
        match self.health_state() {
            HealthState::Unknown | HealthState::Healthy => None,
            HealthState::WrongChain => Some(Exclusion::WrongChain),
            HealthState::Unhealthy => Some(Exclusion::Unhealthy(self.health.failure())),
            HealthState::Unverified => Some(Exclusion::Unhealthy(ProbeFailure::UNVERIFIED)),
            HealthState::Lagging => Some(Exclusion::Lagging),
        }
    }

    /// Whether it may take no request at all, not even when no endpoint is fit.
    pub fn is_forbidden(&self) -> bool {
        self.weight == 0 || self.health_state() == HealthState::WrongChain
    }

    /// The methods that it isn't asked for.
    pub fn bans(&self) -> &MethodBans {
        &self.stats.bans
    }

    /// Blocks behind the best endpoint; NaN while not known.
    pub(super) fn head_lag_blocks(&self) -> f32 {
        self.health.head_lag().map_or(f32::NAN, |blocks| blocks as f32)
    }

    /// The flags of its row for a policy that looks at `request`: none unless it is excluded.
    pub fn row_flags(&self, request: &RequestFacts, now: Tick) -> u32 {
        let cooling = self.stats.cooldown.remaining(now).is_some() || self.stats.is_silent(now);
        flag(cooling, row_flags::COOLING)
            | flag(!self.health_state().is_good(), row_flags::UNHEALTHY)
            | flag(self.is_banned(request, now), row_flags::BANNED)
    }

    /// Reads a word of each cache line that its row is made of, for no other reason than that they
    /// are fetched.
    pub(super) fn fetch(&self) -> u32 {
        self.stats.in_flight() ^ self.stats.latency_p99_ms().to_bits() ^ u32::from(self.health.is_verified())
    }

    /// Its row for a policy.
    // Not inlined it would be written field by field and read again as a whole, which a processor
    // stumbles over.
    #[inline(always)]
    pub fn row(&self, flags: u32, now: Tick) -> EndpointRow {
        let stats = &*self.stats;
        EndpointRow {
            index: self.index,
            flags,
            weight: u32::from(self.weight),
            in_flight: stats.in_flight(),
            consecutive_failures: u16::try_from(stats.consecutive_failures()).unwrap_or(u16::MAX),
            cooldown_attempts: u16::try_from(stats.cooldown.attempts()).unwrap_or(u16::MAX),
            latency_ms: stats.latency_ms(),
            tags: self.tags,
            latency_peak_ms: stats.latency_peak_ms(now),
            latency_p99_ms: stats.latency_p99_ms(),
            penalty_ms: stats.penalty_ms(),
            success_rate: stats.success_rate(),
            limiter_headroom: self.headroom(now),
            head_lag_blocks: self.head_lag_blocks(),
            price: self.price,
            idle_ms: stats.idle_ms(now),
        }
    }
}
