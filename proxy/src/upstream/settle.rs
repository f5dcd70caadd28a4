//! Where an attempt ends: statistics, cooldown, metrics, and what the retry policy makes of it.
//!
//! Invariant: an attempt settles exactly once. [`Attempt::settle`] consumes it; one that is dropped, because its
//! client went away, settles as canceled, which says nothing about the endpoint.

use std::sync::Arc;

use super::select::{report, timed};
use super::{Endpoint, Upstream};
use crate::clock;
use crate::model::{Action, AttemptResult, CooldownWish, Decision, Outcome, RequestFacts, Tick, millis_f32};
use crate::policy::abi::{AttemptBlock, NO_RETRY_AFTER, attempt_flags, flag};
use crate::policy::native;
use crate::rpc::{Lease, Target};

/// An attempt at an endpoint that is under way.
pub struct Attempt {
    upstream: Arc<Upstream>,
    index: u32,
    began: Tick,
    settled: bool,
}

impl Attempt {
    pub(super) fn begin(upstream: Arc<Upstream>, index: u32, now: Tick) -> Self {
        upstream.endpoint(index).stats.begin(now);
        Attempt { upstream, index, began: now, settled: false }
    }

    fn endpoint(&self) -> &Endpoint {
        self.upstream.endpoint(self.index)
    }
}

impl Lease for Attempt {
    fn target(&self) -> &Arc<Target> {
        &self.endpoint().target
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn endpoint_name(&self) -> &Arc<str> {
        &self.endpoint().name
    }

    fn settle(
        mut self,
        request: &RequestFacts,
        result: &AttemptResult,
        attempt: u32,
        may_retry: bool,
        tried: &[u32],
    ) -> Action {
        self.settled = true;
        let endpoint = self.endpoint();
        endpoint.stats.finish();
        endpoint.series.attempts(result.outcome).inc();
        endpoint.series.duration.observe(result.latency.as_secs_f64());
        if let Outcome::Success = result.outcome {
            endpoint.stats.record_latency(result.latency, self.upstream.smoothing, clock::now());
            endpoint.stats.succeed(self.began);
            return Action::Return;
        }
        let decision = self.upstream.decide(request, endpoint, result, attempt, may_retry, tried);
        self.upstream.apply(endpoint, &decision, result, self.began);
        decision.action
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.settled {
            let endpoint = self.upstream.endpoint(self.index);
            endpoint.stats.finish();
            endpoint.series.attempts(Outcome::Canceled).inc();
        }
    }
}

impl Upstream {
    /// Asks the retry policy, or the native one when there is none or it faults.
    fn decide(
        &self,
        request: &RequestFacts,
        endpoint: &Endpoint,
        result: &AttemptResult,
        attempt: u32,
        may_retry: bool,
        tried: &[u32],
    ) -> Decision {
        if let Some(bound) = &self.retry {
            let now = clock::now();
            let request_block = self.request_block(request, attempt, now);
            let mut block = attempt_block(endpoint, result, may_retry);
            block.candidates_left = self.candidates_left(tried, now);
            block.timeout_ms = millis_f32(self.timeout);
            match timed(&bound.series, request.seed, || bound.policy.retry(&request_block, &block)) {
                Ok(decision) => return decision,
                Err(fault) => report(bound, &fault),
            }
        }
        native::retry(request, result)
    }

    fn candidates_left(&self, tried: &[u32], now: Tick) -> u32 {
        let left = self.endpoints.iter().filter(|e| !tried.contains(&e.index) && e.exclusion(now).is_none()).count();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Does to the endpoint what the decision says.
    fn apply(&self, endpoint: &Endpoint, decision: &Decision, result: &AttemptResult, began: Tick) {
        let now = clock::now();
        // A timeout is a latency, too: at least as long as was waited.
        if result.outcome == Outcome::Timeout || decision.success {
            endpoint.stats.record_latency(result.latency, self.smoothing, now);
        }
        if decision.penalty_ms > 0.0 {
            endpoint.stats.fail(decision.penalty_ms);
        } else if decision.success {
            endpoint.stats.succeed(began);
        }
        let began_cooling = match decision.cooldown {
            CooldownWish::None => false,
            CooldownWish::Backoff => endpoint.stats.cooldown.back_off(now, self.backoff),
            CooldownWish::Fixed(duration) => endpoint.stats.cooldown.hold(now, duration),
        };
        if began_cooling {
            endpoint.series.cooldowns.inc();
            tracing::info!(
                upstream = &*self.name,
                endpoint = &*endpoint.name,
                outcome = result.outcome.label(),
                detail = result.detail,
                status = result.http_status,
                seconds = endpoint.stats.cooldown.remaining(now).unwrap_or_default().as_secs_f64(),
                "endpoint cools down"
            );
        }
    }
}

fn attempt_block(endpoint: &Endpoint, result: &AttemptResult, may_retry: bool) -> AttemptBlock {
    let retry_after = result
        .retry_after
        .map_or(NO_RETRY_AFTER, |after| u32::try_from(after.as_millis()).unwrap_or(NO_RETRY_AFTER - 1));
    let mut block = AttemptBlock {
        endpoint: endpoint.index,
        outcome: result.outcome.code(),
        flags: flag(result.bytes_sent, attempt_flags::BYTES_SENT)
            | flag(result.rpc_error.is_some(), attempt_flags::HAS_RPC_CODE)
            | flag(may_retry, attempt_flags::MAY_RETRY),
        rpc_code: result.rpc_error.as_ref().map_or(0, |e| e.code),
        http_status: u32::from(result.http_status.unwrap_or(0)),
        retry_after_ms: retry_after,
        latency_ms: millis_f32(result.latency),
        consecutive_failures: endpoint.stats.consecutive_failures(),
        cooldown_attempts: endpoint.stats.cooldown.attempts(),
        ..AttemptBlock::new()
    };
    if let Some(error) = &result.rpc_error {
        block.set_message(&error.message);
    }
    block
}
