//! Which endpoint takes an attempt.
//!
//! First the host's rules, which no policy can override: never an endpoint of weight 0 or of the wrong chain, one that this
//! request has tried, one that is unhealthy or one that cools. If that leaves none and nothing was tried yet, unhealthy and
//! cooling endpoints are candidates too (a *panic*): a pool that looks dead still serves. Then the policy scores, and the best endpoint whose rate limiter
//! admits the whole batch takes the attempt.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use super::settle::Attempt;
use super::{BoundPolicy, Endpoint, Upstream};
use crate::clock;
use crate::metrics::PolicySeries;
use crate::model::{RequestFacts, Tick};
use crate::policy::abi::{EndpointRow, RequestBlock, flag, request_flags};
use crate::policy::{Fault, native};
use crate::rpc::{Pool, Refusal};

/// One call in so many is timed: reading the clock twice costs as much as a small call does.
const TIMED_CALLS: u64 = 64;

/// Buffers of a thread, so that a decision allocates nothing.
#[derive(Default)]
struct Scratch {
    rows: Vec<EndpointRow>,
    scores: Vec<f64>,
}

thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());

impl Pool for Arc<Upstream> {
    type Lease = Attempt;

    fn select(&self, request: &RequestFacts, attempt: u32, tried: &[u32], now: Tick) -> Result<Attempt, Refusal> {
        SCRATCH.with_borrow_mut(|scratch| {
            self.candidates(tried, now, &mut scratch.rows);
            if scratch.rows.is_empty() {
                return Err(Refusal::NoEndpoint);
            }
            let block = self.request_block(request, attempt, now);
            self.score(&block, &scratch.rows, &mut scratch.scores);
            let chosen = self.first_admitted(request, &scratch.rows, &mut scratch.scores, now)?;
            Ok(Attempt::begin(Arc::clone(self), chosen, now))
        })
    }

    fn max_attempts(&self) -> u32 {
        self.max_attempts
    }
}

impl Upstream {
    /// Candidates of a request that has tried `tried`.
    pub(super) fn candidates(&self, tried: &[u32], now: Tick, rows: &mut Vec<EndpointRow>) {
        rows.clear();
        let untried = || self.endpoints.iter().filter(|e| !tried.contains(&e.index));
        rows.extend(untried().filter(|e| e.exclusion(now).is_none()).map(|e| e.row(now)));
        if rows.is_empty() && tried.is_empty() {
            rows.extend(untried().filter(|e| !e.is_forbidden()).map(|e| e.row(now)));
        }
    }

    /// The request as policies see it.
    pub(super) fn request_block(&self, request: &RequestFacts, attempt: u32, now: Tick) -> RequestBlock {
        let left = request.deadline.since(now).as_millis();
        let mut block = RequestBlock {
            unix_ms: clock::unix_ms(now),
            seed: request.seed,
            client_key: request.client_key,
            flags: flag(request.write, request_flags::WRITE)
                | flag(request.batch, request_flags::BATCH)
                | flag(request.idempotent, request_flags::IDEMPOTENT),
            batch_size: request.batch_size,
            attempt,
            max_attempts: self.max_attempts,
            body_bytes: u32::try_from(request.body_bytes).unwrap_or(u32::MAX),
            deadline_left_ms: u32::try_from(left).unwrap_or(u32::MAX),
            ..RequestBlock::new()
        };
        block.set_method(&request.method);
        block
    }

    /// Scores by the policy, or natively when there is none or it faults.
    fn score(&self, request: &RequestBlock, rows: &[EndpointRow], scores: &mut Vec<f64>) {
        if let Some(bound) = &self.scoring {
            let answer = timed(&bound.series, request.seed, || bound.policy.score(request, rows, scores));
            match answer {
                Ok(()) => return,
                Err(fault) => report(bound, &fault),
            }
        }
        scores.clear();
        native::score(rows, scores);
    }

    /// The endpoint with the best score whose limiter admits the request. Ties go by the request's seed.
    fn first_admitted(
        &self,
        request: &RequestFacts,
        rows: &[EndpointRow],
        scores: &mut [f64],
        now: Tick,
    ) -> Result<u32, Refusal> {
        let mut limited = false;
        while let Some(best) = best(scores, request.seed) {
            let endpoint = self.endpoint(rows[best].index);
            match &endpoint.limiter {
                Some(limiter) if !limiter.admit(request.batch_size, now) => {
                    limited = true;
                    endpoint.series.deferred.inc();
                    scores[best] = f64::NEG_INFINITY;
                }
                _ => return Ok(endpoint.index),
            }
        }
        Err(if limited { Refusal::RateLimited } else { Refusal::NoEndpoint })
    }

    pub(super) fn endpoint(&self, index: u32) -> &Endpoint {
        &self.endpoints[index as usize]
    }
}

/// Calls a policy and counts it; one call in [`TIMED_CALLS`] is timed.
pub(super) fn timed<R>(series: &PolicySeries, seed: u64, call: impl FnOnce() -> R) -> R {
    series.calls.inc();
    if !seed.is_multiple_of(TIMED_CALLS) {
        return call();
    }
    let began = Instant::now();
    let answer = call();
    series.duration.observe(began.elapsed().as_secs_f64());
    answer
}

/// Counts a fault. The message is for debugging a plugin: at full rate it would drown the log.
pub(super) fn report(bound: &BoundPolicy, fault: &Fault) {
    bound.series.fault(fault.kind());
    tracing::debug!(policy = bound.policy.name(), kind = fault.kind(), %fault, "the native policy answers instead");
}

/// The position of the highest score; NaN and negative infinity are left out. Among equals the first one from a
/// place that the seed gives.
fn best(scores: &[f64], seed: u64) -> Option<usize> {
    // The remainder is below the length, which is a usize.
    let start = usize::try_from(seed % scores.len().max(1) as u64).unwrap_or(0);
    let (before, after) = scores.split_at(start.min(scores.len()));
    let positions = (start..).zip(after).chain((0..).zip(before));
    let mut best: Option<(usize, f64)> = None;
    for (position, &score) in positions {
        if score > best.map_or(f64::NEG_INFINITY, |(_, score)| score) {
            best = Some((position, score));
        }
    }
    best.map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_wins_and_ties_go_by_seed() {
        assert_eq!(best(&[1.0, 3.0, 2.0], 7), Some(1));
        assert_eq!(best(&[3.0, 1.0, 3.0], 0), Some(0));
        assert_eq!(best(&[3.0, 1.0, 3.0], 1), Some(2));
        assert_eq!(best(&[f64::INFINITY, 1.0], 1), Some(0));
    }

    #[test]
    fn what_the_policy_left_out_is_not_chosen() {
        assert_eq!(best(&[], 5), None);
        assert_eq!(best(&[f64::NAN, f64::NEG_INFINITY], 5), None);
        assert_eq!(best(&[f64::NAN, f64::MIN], 0), Some(1));
    }
}
