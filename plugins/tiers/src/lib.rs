//! Tiers by weight, as azoth-balancer ranks endpoints.
//!
//! Endpoints of the first tier (weight 100 and more) come before those of the second (50 to 99) and
//! the third. Within a tier the higher weight wins, then the lower cost (EWMA of latency plus EWMA
//! of error penalties), then the most recently used endpoint, which keeps connections and caches
//! warm. `rank_within_tier = "cost"` swaps weight and cost. An endpoint that is a candidate only in
//! a panic (in cooldown, unhealthy or banned for the method) comes after all others.
//!
//! Invariants:
//! - The order is one number per row, without a sort and independent of other rows: the keys are
//!   fields of an integer, the most important one highest. It has 53 bits, so it is exact as an
//!   `f64`.
//! - No input excludes an endpoint: every score is finite. NaN ranks as the worst value.
//!
//! Deliberately absent: azoth-balancer's fixed cost floor of 1,000 ms, below which all its
//! endpoints are equal. Here it is `cost_floor_ms`, by default 0.

use pointsman_sdk::{Endpoint, Endpoints, Policy, Request, Scoring};
use serde::Deserialize;

/// The most important field if the cost ranks first: 0 to 2, higher is better. If the weight ranks
/// first, it is redundant: a higher weight never has a lower tier.
const TIER_BITS: u32 = 2;
/// Weights are at most 65,535.
const WEIGHT_BITS: u32 = 16;
/// The upper bits of a float without its sign: 8 of exponent and 16 of mantissa, so the resolution
/// of costs is 0.0015 %.
const COST_BITS: u32 = 24;
/// 32 steps per doubling: it distinguishes 1 ms from 2 ms as well as one hour from two.
const RECENCY_BITS: u32 = 11;
/// Integers up to 2^53 are exact in an `f64`.
const _: () = assert!(TIER_BITS + WEIGHT_BITS + COST_BITS + RECENCY_BITS == f64::MANTISSA_DIGITS);

/// Maximum value of a field.
const fn max_of(bits: u32) -> u32 {
    (1 << bits) - 1
}

/// Everything but a float's sign.
const MAGNITUDE: u32 = u32::MAX >> 1;

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Minimum weight of the first tier.
    pub tier1_min_weight: u32,
    /// Minimum weight of the second tier.
    pub tier2_min_weight: u32,
    /// Minimum cost in milliseconds; lower costs are raised to it.
    pub cost_floor_ms: f32,
    /// First key within a tier.
    pub rank_within_tier: Rank,
}

/// First key within a tier.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Rank {
    /// The higher weight, then the lower cost.
    Weight,
    /// The lower cost, then the higher weight.
    Cost,
}

impl Default for Config {
    fn default() -> Self {
        Config { tier1_min_weight: 100, tier2_min_weight: 50, cost_floor_ms: 0.0, rank_within_tier: Rank::Weight }
    }
}

/// A configured tiers policy.
#[derive(Clone, Debug)]
pub struct Tiers {
    tier1_min_weight: u32,
    tier2_min_weight: u32,
    /// `cost_floor_ms` in the steps of [`cost_steps`].
    floor: u32,
    first: Rank,
}

pointsman_sdk::export_policy!(Tiers: scoring);

impl Policy for Tiers {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        let Config { tier1_min_weight, tier2_min_weight, cost_floor_ms, rank_within_tier } = config;
        if tier1_min_weight < tier2_min_weight {
            return Err(format!(
                "tier1_min_weight is {tier1_min_weight}, but must not be below tier2_min_weight, which is {tier2_min_weight}"
            ));
        }
        if !(cost_floor_ms >= 0.0 && cost_floor_ms.is_finite()) {
            return Err(format!("cost_floor_ms is {cost_floor_ms}, but must not be negative"));
        }
        Ok(Tiers { tier1_min_weight, tier2_min_weight, floor: cost_steps(cost_floor_ms), first: rank_within_tier })
    }
}

impl Scoring for Tiers {
    fn score(&self, _request: &Request, endpoints: Endpoints<'_>, scores: &mut [f64]) {
        match self.first {
            Rank::Weight => endpoints.score_each(scores, |endpoint| self.by_weight(endpoint)),
            Rank::Cost => endpoints.score_each(scores, |endpoint| self.by_cost(endpoint)),
        }
    }
}

impl Tiers {
    #[inline]
    fn by_weight(&self, endpoint: &Endpoint) -> f64 {
        let order = weight(endpoint) << COST_BITS | self.cost(endpoint);
        score(endpoint, order << RECENCY_BITS | recency(endpoint))
    }

    #[inline]
    fn by_cost(&self, endpoint: &Endpoint) -> f64 {
        let tier =
            i64::from(endpoint.weight >= self.tier1_min_weight) + i64::from(endpoint.weight >= self.tier2_min_weight);
        let order = (tier << COST_BITS | self.cost(endpoint)) << WEIGHT_BITS | weight(endpoint);
        score(endpoint, order << RECENCY_BITS | recency(endpoint))
    }

    /// Higher is better, as in all fields.
    #[inline]
    fn cost(&self, endpoint: &Endpoint) -> i64 {
        let steps = cost_steps(endpoint.latency_ms + endpoint.penalty_ms).max(self.floor);
        i64::from(max_of(COST_BITS) - steps)
    }
}

/// Returns the endpoint's position in the order: an integer from 0 to 2^53, or down to -2^53 for an
/// endpoint that is a candidate only because of a panic.
#[inline]
fn score(endpoint: &Endpoint, order: i64) -> f64 {
    let excluded = i64::from(endpoint.is_excluded()) << f64::MANTISSA_DIGITS;
    #[expect(clippy::cast_precision_loss, reason = "no more than 53 bits")]
    let score = (order - excluded) as f64;
    score
}

#[inline]
fn weight(endpoint: &Endpoint) -> i64 {
    i64::from(endpoint.weight.min(max_of(WEIGHT_BITS)))
}

#[inline]
fn recency(endpoint: &Endpoint) -> i64 {
    i64::from(max_of(RECENCY_BITS) - idle_steps(endpoint.idle_ms))
}

/// Converts milliseconds to the upper bits of their float. The bits of non-negative floats have the
/// floats' order, and those of NaN are above infinity's: it ranks as the highest cost without a
/// branch.
#[inline]
fn cost_steps(cost_ms: f32) -> u32 {
    const SHIFT: u32 = MAGNITUDE.count_ones() - COST_BITS;
    (cost_ms.to_bits() & MAGNITUDE) >> SHIFT
}

/// Converts the time since the last use in the same way, from one microsecond on. The exponent
/// needs 6 bits up to 2^54 milliseconds, so 5 are left for the mantissa.
#[inline]
fn idle_steps(idle_ms: f32) -> u32 {
    const LEAST: u32 = (1.0_f32 / 1_024.0).to_bits();
    const SHIFT: u32 = f32::MANTISSA_DIGITS - 1 - 5;
    (((idle_ms.to_bits() & MAGNITUDE).max(LEAST) - LEAST) >> SHIFT).min(max_of(RECENCY_BITS))
}

#[cfg(test)]
mod tests;
