//! Where an attempt ends: statistics, cooldown, metrics, and what the retry policy makes of it.
//!
//! Invariant: an attempt settles exactly once. [`Lease`]'s ends of it consume it; one that is dropped, because its
//! client went away, settles as canceled, which says nothing about the endpoint.

use std::sync::Arc;

use super::{Endpoint, Upstream};
use crate::clock;
use crate::model::{AttemptResult, CooldownWish, Decision, Outcome, RequestFacts, Tick, millis_f32};
use crate::policy::abi::{AttemptBlock, NO_RETRY_AFTER, attempt_flags, flag};
use crate::policy::{Policy, native};
use crate::rpc::{Ask, Case, Lease, Target};

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

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.upstream.endpoint(self.index)
    }

    fn end(&mut self, outcome: Outcome) {
        self.settled = true;
        let endpoint = self.endpoint();
        endpoint.stats.finish(self.began);
        endpoint.details.series.attempts(outcome).inc();
    }
}

impl Lease for Attempt {
    fn target(&self) -> &Arc<Target> {
        &self.endpoint().details.target
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn endpoint_name(&self) -> &Arc<str> {
        &self.endpoint().details.name
    }

    fn max_batch_size(&self) -> Option<usize> {
        self.endpoint().details.max_batch_size
    }

    fn succeed(mut self, request: &RequestFacts, result: &AttemptResult) {
        self.end(result.outcome);
        let endpoint = self.endpoint();
        endpoint.details.series.duration.observe(result.latency.as_secs_f64());
        let ended = self.began.after(result.latency);
        endpoint.stats.record_latency(result.latency, self.upstream.smoothing, ended);
        endpoint.stats.succeed(self.began);
        if !request.batch {
            self.upstream.live.latencies.record(&request.method, result.latency);
        }
    }

    fn fail(mut self, ask: &Ask<'_>, result: &AttemptResult, cases: &[Case<'_>]) -> Vec<Decision> {
        self.end(result.outcome);
        let endpoint = self.endpoint();
        endpoint.details.series.duration.observe(result.latency.as_secs_f64());
        let decisions: Vec<Decision> = cases.iter().map(|case| self.upstream.decide(endpoint, ask, case)).collect();
        for (case, decision) in cases.iter().zip(&decisions) {
            self.upstream.ban(endpoint, case.request, decision);
        }
        if let Some(worst) = decisions.iter().copied().reduce(Decision::worse) {
            self.upstream.apply(endpoint, &worst, result, self.began);
        }
        decisions
    }

    /// Its time so far is at least its latency. Without it an endpoint that is always overtaken would look as fast as ever.
    fn lose(mut self) {
        self.end(Outcome::Canceled);
        let now = clock::now();
        let waited = now.since(self.began);
        let stats = &self.endpoint().stats;
        if millis_f32(waited) > stats.latency_ms() {
            stats.record_latency(waited, self.upstream.smoothing, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.settled {
            self.end(Outcome::Canceled);
        }
    }
}

impl Upstream {
    /// Asks the retry policy, or the native one when there is none or it faults.
    fn decide(&self, endpoint: &Endpoint, ask: &Ask<'_>, case: &Case<'_>) -> Decision {
        if let Some(decision) = self.ask_retry(endpoint, ask, case) {
            return decision;
        }
        let decision = native::retry(case.request, case.result);
        match decision.cooldown {
            // A plugin may trust an endpoint with more than the upstream's own maximum; the native policy has no settings.
            CooldownWish::Fixed(asked) => {
                Decision { cooldown: CooldownWish::Fixed(asked.min(self.backoff.max)), ..decision }
            }
            CooldownWish::None | CooldownWish::Backoff => decision,
        }
    }

    /// What the canary makes of it, if the request is its, else what the upstream's policy makes of it.
    fn ask_retry(&self, endpoint: &Endpoint, ask: &Ask<'_>, case: &Case<'_>) -> Option<Decision> {
        let turn = self.policy_turn(ask.request);
        let canary = self.retrying_canary(case.request.seed);
        if canary.is_none() && self.retry.is_none() {
            return None;
        }
        let ask = Ask { request: case.request, ..*ask };
        let request_block = self.request_block(&ask);
        let mut block = attempt_block(endpoint, case);
        block.candidates_left = self.candidates_left(&ask);
        block.timeout_ms = millis_f32(self.timeout);
        let decide = |policy: &Policy| policy.retry(&request_block, &block);
        canary.and_then(|canary| canary.ask(turn, decide)).or_else(|| self.retry.as_ref()?.ask(turn, decide))
    }

    /// Remembers that the endpoint doesn't support a method.
    fn ban(&self, endpoint: &Endpoint, request: &RequestFacts, decision: &Decision) {
        if endpoint.stats.bans.ban(&request.method, decision.method_ban, clock::now()) {
            tracing::info!(
                upstream = &*self.name,
                endpoint = &*endpoint.details.name,
                method = request.method,
                seconds = decision.method_ban.as_secs_f64(),
                "endpoint isn't asked for this method"
            );
        }
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
            CooldownWish::Backoff => endpoint.stats.cooldown.back_off(now, self.backoff, fastrand::f32()),
            CooldownWish::Fixed(duration) => endpoint.stats.cooldown.hold(now, duration),
        };
        if began_cooling {
            endpoint.details.series.cooldowns.inc();
            tracing::info!(
                upstream = &*self.name,
                endpoint = &*endpoint.details.name,
                outcome = result.outcome.label(),
                detail = result.detail,
                status = result.http_status,
                seconds = endpoint.stats.cooldown.remaining(now).unwrap_or_default().as_secs_f64(),
                "endpoint cools down"
            );
        }
    }
}

fn attempt_block(endpoint: &Endpoint, case: &Case<'_>) -> AttemptBlock {
    let result = case.result;
    let retry_after = result
        .retry_after
        .map_or(NO_RETRY_AFTER, |after| u32::try_from(after.as_millis()).unwrap_or(NO_RETRY_AFTER - 1));
    let mut block = AttemptBlock {
        endpoint: endpoint.index,
        outcome: result.outcome.code(),
        flags: flag(result.bytes_sent, attempt_flags::BYTES_SENT)
            | flag(result.rpc_error.is_some(), attempt_flags::HAS_RPC_CODE)
            | flag(case.may_retry, attempt_flags::MAY_RETRY)
            | flag(case.member, attempt_flags::MEMBER),
        rpc_code: result.rpc_error.as_ref().map_or(0, |e| e.code),
        http_status: u32::from(result.http_status.unwrap_or(0)),
        retry_after_ms: retry_after,
        latency_ms: millis_f32(result.latency),
        consecutive_failures: endpoint.stats.consecutive_failures(),
        cooldown_attempts: endpoint.stats.cooldown.attempts(),
        ..AttemptBlock::new()
    };
    block.set_message(result.rpc_error.as_ref().map_or(&result.text, |error| &error.message));
    block
}
