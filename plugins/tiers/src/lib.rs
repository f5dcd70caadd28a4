//! Tiers by weight, as azoth-balancer ranks endpoints.
//!
//! Endpoints of the first tier (weight 100 and more) come before those of the second (50 to 99), and those before the
//! third. Within a tier the higher weight wins, then the lower cost (EWMA of latency plus EWMA of error penalties), then
//! the endpoint that was used last, which keeps connections and caches warm. `rank_within_tier = "cost"` exchanges
//! weight and cost. An endpoint that cools, which is a candidate only in a panic, comes after all that don't.
//!
//! Invariants:
//! - The order is one number per row, without a sort or a look at another row: the keys are fields of an integer, the
//!   most important one highest. It has 53 bits, so as an `f64` it stays exact.
//! - No input leaves an endpoint out: every score is finite. What is not a number ranks as the worst.
//!
//! Deliberately absent: azoth-balancer's fixed cost floor of 1,000 ms, below which its endpoints all look alike. It is
//! `cost_floor_ms` here, and 0 unless the conf says otherwise.

use pointsman_sdk::{Endpoint, Endpoints, Policy, Request, Scoring};
use serde::Deserialize;

/// The most important field: 0 to 2, higher is better.
const TIER_BITS: u32 = 2;
/// Weights are at most 65,535.
const WEIGHT_BITS: u32 = 16;
/// In steps of 1/16 ms up to 17 minutes: finer than a network's noise, longer than any timeout.
const COST_BITS: u32 = 24;
/// In 16 steps per doubling: it tells 1 ms from 2 ms as well as an hour from two.
const RECENCY_BITS: u32 = 11;
/// Integers up to 2 to the power of 53 are exact in an `f64`.
const _: () = assert!(TIER_BITS + WEIGHT_BITS + COST_BITS + RECENCY_BITS == f64::MANTISSA_DIGITS);

/// The largest value of a field.
const fn max_of(bits: u32) -> u32 {
    (1 << bits) - 1
}

/// Cost steps in a millisecond.
const STEPS_PER_MS: f32 = 16.0;
/// The highest cost that is told from a higher one, in milliseconds. Exact in an `f32`.
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact in an f32")]
const MAX_COST_MS: f32 = max_of(COST_BITS) as f32 / STEPS_PER_MS;

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Weight from which an endpoint is of the first tier.
    pub tier1_min_weight: u32,
    /// Weight from which an endpoint is of the second tier.
    pub tier2_min_weight: u32,
    /// Costs below this count as equal to it, in milliseconds.
    pub cost_floor_ms: f32,
    /// What ranks first within a tier.
    pub rank_within_tier: Rank,
}

/// What ranks first within a tier.
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

/// The policy.
#[derive(Clone, Debug)]
pub struct Tiers {
    config: Config,
    /// How far the weight's and the cost's fields are moved up: by each other's width and the recency's.
    weight_shift: u32,
    cost_shift: u32,
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
        if !(0.0..=MAX_COST_MS).contains(&cost_floor_ms) {
            return Err(format!("cost_floor_ms is {cost_floor_ms}, but must be from 0 to {MAX_COST_MS}"));
        }
        let (weight_shift, cost_shift) = match rank_within_tier {
            Rank::Weight => (RECENCY_BITS + COST_BITS, RECENCY_BITS),
            Rank::Cost => (RECENCY_BITS, RECENCY_BITS + WEIGHT_BITS),
        };
        Ok(Tiers { config, weight_shift, cost_shift })
    }
}

impl Scoring for Tiers {
    fn score(&self, _request: &Request, endpoints: Endpoints<'_>, scores: &mut [f64]) {
        for (endpoint, score) in endpoints.iter().zip(scores) {
            *score = self.rank(endpoint);
        }
    }
}

impl Tiers {
    /// The endpoint's place in the order: an integer from 0 up to 2 to the power of 53, and as far below 0 for an
    /// endpoint that cools.
    #[inline]
    pub fn rank(&self, endpoint: &Endpoint) -> f64 {
        let tier = i64::from(endpoint.weight >= self.config.tier1_min_weight)
            + i64::from(endpoint.weight >= self.config.tier2_min_weight);
        let weight = i64::from(endpoint.weight.min(max_of(WEIGHT_BITS)));
        let cost = i64::from(max_of(COST_BITS) - cost_steps(endpoint, self.config.cost_floor_ms));
        let recency = i64::from(max_of(RECENCY_BITS) - idle_steps(endpoint.idle_ms));
        let rank = tier << (WEIGHT_BITS + COST_BITS + RECENCY_BITS)
            | weight << self.weight_shift
            | cost << self.cost_shift
            | recency;
        let cooling = i64::from(endpoint.is_cooling()) << f64::MANTISSA_DIGITS;
        #[expect(clippy::cast_precision_loss, reason = "no more than 53 bits")]
        let score = (rank - cooling) as f64;
        score
    }
}

/// Latency and penalty in steps of 1/16 ms. `f32::min` takes the number when the other is none, so a cost that is not a
/// number is the highest.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=MAX_COST_MS")]
fn cost_steps(endpoint: &Endpoint, floor_ms: f32) -> u32 {
    let cost_ms = (endpoint.latency_ms + endpoint.penalty_ms).min(MAX_COST_MS).max(floor_ms);
    (cost_ms * STEPS_PER_MS) as u32
}

/// Time since the last use on a logarithmic scale. The bits of a positive float are in its order, and those of 1 and
/// more begin with 7 bits of exponent and then the mantissa, of which 4 bits remain.
#[inline]
#[expect(
    clippy::manual_clamp,
    reason = "`clamp` would let through what is not a number; this makes it the longest time"
)]
fn idle_steps(idle_ms: f32) -> u32 {
    const SHIFT: u32 = 30 - RECENCY_BITS;
    let from_one = (idle_ms + 1.0).min(f32::MAX).max(1.0);
    (from_one.to_bits() - 1.0_f32.to_bits()) >> SHIFT
}

#[cfg(test)]
mod tests;
