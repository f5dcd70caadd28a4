//! One endpoint of one generation: its settings, and handles to its longer-lived state.

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

/// An endpoint that can take requests.
///
/// The fields that every decision reads are on one cache line, the rest elsewhere: see
/// [`EndpointStats`].
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
    /// The rates of the limiter's bucket.
    pub(super) bucket_rate: BucketRate,
    pub(super) details: Box<Details>,
}

const _: () = assert!(size_of::<Endpoint>() == 64);

/// The data needed once an endpoint is chosen.
pub(super) struct Details {
    pub(super) name: Arc<str>,
    pub(super) url: EndpointUrl,
    /// Larger batches are split.
    pub(super) max_batch_size: Option<usize>,
    /// The range of blocks that a request for logs may span, if the conf sets it.
    pub(super) max_block_range: Option<u64>,
    pub(super) limiter: Option<Arc<Limiter>>,
    pub(super) target: Arc<Target>,
    /// The destination of WebSocket connections, where it differs.
    pub(super) ws_target: Option<Arc<Target>>,
    pub(super) series: Arc<EndpointSeries>,
}

/// The reason why an endpoint is no candidate. These are the host's hard rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// Weight 0.
    OutOfRotation,
    /// The endpoint serves another chain than the conf requires.
    WrongChain,
    /// The probes fail, or the chain isn't verified yet.
    Unhealthy(ProbeFailure),
    /// The head is further behind than the conf allows.
    Lagging,
    /// The endpoint cools down for this long.
    Cooling(Duration),
    /// The cooldown ended this long ago. One request or probe at a time tries the endpoint.
    HalfOpen(Duration),
    /// The endpoint answers no request: see [`Silence`](crate::model::Silence).
    Silent,
}

impl Endpoint {
    /// The displayed name.
    pub fn name(&self) -> &Arc<str> {
        &self.details.name
    }

    /// The weight from the conf.
    pub fn weight(&self) -> u16 {
        self.weight
    }

    /// The statistics of its attempts.
    pub fn stats(&self) -> &EndpointStats {
        &self.stats
    }

    /// The results of its probes.
    pub fn health(&self) -> &EndpointHealth {
        &self.health
    }

    /// Its health under the upstream's rules.
    pub fn health_state(&self) -> HealthState {
        self.health.state(self.health_rules)
    }

    /// Its destinations: of requests, and of WebSocket connections where that differs.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        std::iter::once(&self.details.target).chain(&self.details.ws_target)
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

    /// The reason why it may not take a request now, if any.
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

    /// The reason from the conf and its probes, if any.
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

    /// Whether it may take no request at all, even if no endpoint is healthy.
    pub fn is_forbidden(&self) -> bool {
        self.weight == 0 || self.health_state() == HealthState::WrongChain
    }

    /// The methods that are banned for it.
    pub fn bans(&self) -> &MethodBans {
        &self.stats.bans
    }

    /// Blocks behind the best endpoint; NaN if unknown.
    pub(super) fn head_lag_blocks(&self) -> f32 {
        self.health.head_lag().map_or(f32::NAN, |blocks| blocks as f32)
    }

    /// The flags of its row for `request`: none unless it is excluded.
    pub fn row_flags(&self, request: &RequestFacts, now: Tick) -> u32 {
        let cooling = self.stats.cooldown.remaining(now).is_some() || self.stats.is_silent(now);
        flag(cooling, row_flags::COOLING)
            | flag(!self.health_state().is_good(), row_flags::UNHEALTHY)
            | flag(self.is_banned(request, now), row_flags::BANNED)
    }

    /// Reads a word from each cache line of its row, only to have the lines fetched.
    pub(super) fn fetch(&self) -> u32 {
        self.stats.in_flight() ^ self.stats.latency_p99_ms().to_bits() ^ u32::from(self.health.is_verified())
    }

    /// Its row for a policy.
    // Without inlining, the row would be written field by field and read again as a whole, which
    // stalls the processor.
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
