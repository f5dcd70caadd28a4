//! Power of several choices with a decaying peak EWMA of latency.
//!
//! Each request draws a few endpoints at random and takes the one with the lowest cost: the
//! peak-sensitive EWMA of latency times the number of requests in flight, this one included.
//! Drawing a few instead of searching all prevents herding onto one endpoint while its numbers are
//! stale, and comes close to the ideal balance (Mitzenmacher, "The Power of Two Choices in
//! Randomized Load Balancing", 2001). The cost is Finagle's `PeakEwma`, also used by tower's
//! `load::PeakEwma` and Linkerd. Differences and choices:
//!
//! - It draws eight endpoints, not two. Two are enough to balance equal endpoints, but if half of a
//!   pool is slow, one of four draws of two contains slow ones only. A proxy that sees all of its
//!   own requests from their start has no stale numbers.
//! - The EWMA decays with idle time, so a slow endpoint is tried again. Error penalties are part of
//!   the cost and decay too: otherwise a failed endpoint would never be tried again. There is no
//!   decay while a request is in flight, because a hanging endpoint would seem to recover.
//! - An unmeasured endpoint has cost 0 while it is idle, and a higher cost than any measured one
//!   while a request is in flight. So the first draw takes it, with one request at a time until its
//!   latency is known: no starvation and no herding. This is Finagle's rule; tower assumes a
//!   latency of one second instead.
//! - The draw is uniform. `weighted = true` divides the cost by the weight: of two equally fast
//!   endpoints, the one with twice the weight is preferred until it has twice the requests in
//!   flight.
//!
//! Invariants:
//! - The score of a drawn endpoint is its negated cost in milliseconds. All others score
//!   [`UNDRAWN`] or less, in an order derived from the seed, as fallbacks in case limiters refuse
//!   the drawn ones.
//! - Endpoints that are candidates only in a panic (in cooldown, unhealthy or banned for the
//!   method) come after all others, drawn or not.
//! - The seed is mixed with the attempt's number, so a retry makes a new draw.

use pointsman_sdk::{Endpoint, Endpoints, Policy, Request, Scoring};
use serde::Deserialize;

/// Maximum number of draws. More choices hardly improve the balance and cost time.
const MAX_CHOICES: usize = 8;
/// Upper limit of a cost: three years, in milliseconds.
const MAX_COST: f64 = 1e11;
/// Cost of a request in flight at an unmeasured endpoint: eleven days in milliseconds, above any
/// measured latency.
const UNMEASURED_COST: f64 = 1e9;
/// Upper limit of the scores of undrawn endpoints; drawn endpoints score more.
pub const UNDRAWN: f64 = -1e12;
/// Subtracted from the score of an endpoint that is a candidate only because of a panic. It is then
/// below all others, and costs still differ from 0.002 ms on.
pub const EXCLUDED: f64 = 1e13;

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Time constant of the decay of latency and penalty while an endpoint is idle, in
    /// milliseconds.
    pub decay_ms: f64,
    /// Number of endpoints that a request draws, 2 to 8; 8 by default.
    pub choices: usize,
    /// Divides the cost by the weight.
    pub weighted: bool,
}

impl Default for Config {
    fn default() -> Self {
        // Ten seconds is the default of Finagle and Linkerd. They draw two; eight avoid the slow
        // endpoints if half of a small pool is slow.
        Config { decay_ms: 10_000.0, choices: 8, weighted: false }
    }
}

/// A configured peak EWMA policy.
#[derive(Clone, Debug)]
pub struct PeakEwma {
    config: Config,
}

pointsman_sdk::export_policy!(PeakEwma: scoring);

impl Policy for PeakEwma {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        if !(config.decay_ms >= 1.0 && config.decay_ms.is_finite()) {
            return Err(format!("decay_ms is {}, but must be at least 1", config.decay_ms));
        }
        if !(2..=MAX_CHOICES).contains(&config.choices) {
            return Err(format!("choices is {}, but must be from 2 to {MAX_CHOICES}", config.choices));
        }
        Ok(PeakEwma { config })
    }
}

impl Scoring for PeakEwma {
    fn score(&self, request: &Request, endpoints: Endpoints<'_>, scores: &mut [f64]) {
        let mut random = Random::new(request.seed, request.attempt);
        // An odd factor maps distinct indices to distinct numbers; the offset prevents a fixed
        // first.
        let (factor, offset) = (random.next() | 1, random.next());
        endpoints.score_each(scores, |endpoint| {
            let place = endpoint.index.wrapping_mul(factor).wrapping_add(offset);
            after_others(endpoint, UNDRAWN - f64::from(place))
        });
        let mut drawn = [0; MAX_CHOICES];
        for row in draw(&mut random, endpoints.len(), self.config.choices, &mut drawn) {
            if let (Some(endpoint), Some(score)) = (endpoints.get(*row), scores.get_mut(*row)) {
                *score = after_others(endpoint, -self.cost(endpoint));
            }
        }
    }
}

impl PeakEwma {
    /// Returns the current cost of a request at this endpoint: the expected wait in milliseconds.
    pub fn cost(&self, endpoint: &Endpoint) -> f64 {
        let latency = if endpoint.is_measured() { f64::from(endpoint.latency_peak_ms) } else { 0.0 };
        let in_flight = f64::from(endpoint.in_flight);
        let per_request = (latency + f64::from(endpoint.penalty_ms)) * self.decay(endpoint);
        let mut cost = per_request * (in_flight + 1.0);
        if !endpoint.is_measured() {
            cost += in_flight * UNMEASURED_COST;
        }
        if self.config.weighted {
            cost /= f64::from(endpoint.weight.max(1));
        }
        // `min` returns the limit if the cost is NaN.
        cost.min(MAX_COST)
    }

    /// Returns the remaining share of an estimate, 0 to 1.
    fn decay(&self, endpoint: &Endpoint) -> f64 {
        match endpoint.idle() {
            Some(idle_ms) if endpoint.in_flight == 0 => (-f64::from(idle_ms) / self.config.decay_ms).exp(),
            _ => 1.0,
        }
    }
}

fn after_others(endpoint: &Endpoint, score: f64) -> f64 {
    if endpoint.is_excluded() { score - EXCLUDED } else { score }
}

/// Draws `choices` of `len` rows without replacement, or all if there are fewer. All sets are
/// equally likely (Robert Floyd's algorithm: Bentley, "Programming Pearls: A Sample of Brilliance",
/// 1987).
fn draw<'a>(random: &mut Random, len: usize, choices: usize, drawn: &'a mut [usize; MAX_CHOICES]) -> &'a [usize] {
    let choices = choices.min(len).min(MAX_CHOICES);
    for (count, last) in (len - choices..len).enumerate() {
        let row = random.below(last + 1);
        drawn[count] = if drawn[..count].contains(&row) { last } else { row };
    }
    &drawn[..choices]
}

/// The upper halves of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
struct Random(u64);

impl Random {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Each attempt of a request has its own sequence: with the first attempt's numbers, a retry
    /// would repeat its draw.
    fn new(seed: u64, attempt: u32) -> Self {
        Random(seed ^ u64::from(attempt) << 32)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 32) as u32
    }

    /// Returns a number below `len`. A table has at most thousands of rows, so the bias is below
    /// one in a million.
    fn below(&mut self, len: usize) -> usize {
        ((u64::from(self.next()) * len as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests;
