//! Power of two choices by decaying peak latency.
//!
//! Each request draws two endpoints at random and takes the one of the lower cost, where cost is the peak-sensitive EWMA
//! of latency times the requests that would then be in flight. Drawing two rather than searching all for the cheapest
//! keeps requests from herding onto one endpoint while its numbers are old, and comes close to the ideal balance
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). The cost is Finagle's `PeakEwma`,
//! as tower's `load::PeakEwma` and Linkerd have it too. Where this policy differs, it says so:
//!
//! - The EWMA decays with idle time, so that an endpoint which was slow is drawn in again. Error penalties are part of
//!   the cost and decay with it: without that, an endpoint that failed would never be tried, and so never be forgiven.
//!   There is no decay while a request is in flight, or an endpoint that hangs would seem to recover.
//! - An endpoint that has never been measured costs nothing while it is idle, and more than any measured one while a
//!   request is in flight. So the first draw tries it, with a single request at a time until its latency is known:
//!   it neither starves nor is herded onto. This is Finagle's rule; tower presumes a latency of one second instead.
//! - The draw is uniform. With `weighted = true` the cost is divided by the weight: of two endpoints that are equally
//!   fast, one of twice the weight is preferred until it has twice the requests in flight.
//!
//! Invariants:
//! - The drawn endpoints score the negative of their cost in milliseconds. All others score below [`UNDRAWN`], in an
//!   order that follows from the seed, as fallbacks in case that limiters refuse the drawn ones.
//! - Endpoints that cool, which are candidates only in a panic, are drawn and preferred after all that don't.
//! - The seed is mixed with the attempt's number, so a retry draws anew.

use pointsman_sdk::{Endpoint, Endpoints, Policy, Request, Scoring};
use serde::Deserialize;

/// The most endpoints that a request may draw. More choices hardly balance better, and at some number all requests go
/// to the same few endpoints.
const MAX_CHOICES: usize = 8;
/// Scores of endpoints that were not drawn are below this, those of drawn ones above.
pub const UNDRAWN: f64 = -1e15;
/// Added to the cost of an endpoint that cools; above any other cost.
const COOLING_COST: f64 = 1e14;
/// Cost of a request in flight at an endpoint whose latency nobody knows: eleven days, above any measured latency.
const UNMEASURED_COST: f64 = 1e9;
/// No cost is higher, so that drawn endpoints stay above the others.
const MAX_COST: f64 = 1e13;

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Time constant of the decay of latency and penalty while an endpoint is idle, in milliseconds.
    pub decay_ms: f64,
    /// How many endpoints a request draws, 2 to 8.
    pub choices: usize,
    /// Is the cost divided by the weight?
    pub weighted: bool,
}

impl Default for Config {
    fn default() -> Self {
        // Ten seconds is Finagle's and Linkerd's default.
        Config { decay_ms: 10_000.0, choices: 2, weighted: false }
    }
}

/// The policy.
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
        // Any odd number would do: without it, the lots of a retry would be those of the first attempt.
        let seed = request.seed ^ u64::from(request.attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut drawn = Drawn::new(self.config.choices);
        for (row, (endpoint, score)) in endpoints.iter().zip(scores.iter_mut()).enumerate() {
            let lot = lot(seed, endpoint);
            *score = UNDRAWN - f64::from(u32::MAX - (lot >> 32) as u32);
            drawn.offer(lot, row);
        }
        for row in drawn.rows() {
            if let (Some(endpoint), Some(score)) = (endpoints.get(row), scores.get_mut(row)) {
                *score = -self.cost(endpoint);
            }
        }
    }
}

impl PeakEwma {
    /// What a request costs at this endpoint now, in milliseconds of expected wait. Lower is better.
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
        // `min` takes the number if the cost is none.
        let cost = cost.min(MAX_COST);
        if endpoint.is_cooling() { cost + COOLING_COST } else { cost }
    }

    /// What remains of an estimate, 0 to 1.
    fn decay(&self, endpoint: &Endpoint) -> f64 {
        match endpoint.idle() {
            Some(idle_ms) if endpoint.in_flight == 0 => (-f64::from(idle_ms) / self.config.decay_ms).exp(),
            _ => 1.0,
        }
    }
}

/// The endpoint's lot in this draw: the highest are drawn. Bits of SplitMix64 (Steele, Lea and Flood, 2014) over the
/// seed and the endpoint's index, so that a lot doesn't depend on which other endpoints are candidates.
#[inline]
fn lot(seed: u64, endpoint: &Endpoint) -> u64 {
    let mixed = seed.wrapping_add(u64::from(endpoint.index).wrapping_mul(0xd1b5_4a32_d192_ed03));
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mixed = mixed ^ mixed >> 31;
    mixed >> 1 | u64::from(!endpoint.is_cooling()) << 63
}

/// The highest lots so far, best first, in place: a hot call allocates nothing.
struct Drawn {
    lots: [(u64, usize); MAX_CHOICES],
    len: usize,
    choices: usize,
}

impl Drawn {
    fn new(choices: usize) -> Self {
        Drawn { lots: [(0, 0); MAX_CHOICES], len: 0, choices: choices.min(MAX_CHOICES) }
    }

    #[inline]
    fn offer(&mut self, lot: u64, row: usize) {
        if self.len < self.choices {
            self.len += 1;
        } else if lot <= self.lots[self.len - 1].0 {
            return;
        }
        let mut at = self.len - 1;
        while at > 0 && self.lots[at - 1].0 < lot {
            self.lots[at] = self.lots[at - 1];
            at -= 1;
        }
        self.lots[at] = (lot, row);
    }

    fn rows(&self) -> impl Iterator<Item = usize> {
        self.lots[..self.len].iter().map(|(_, row)| *row)
    }
}

#[cfg(test)]
mod tests;
