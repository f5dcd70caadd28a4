//! Where an attempt ends: statistics, cooldown, metrics, and what the retry policy makes of it.
//!
//! Invariants: an attempt settles exactly once. [`Lease`]'s ends of it consume it; one that is
//! dropped, because its client went away, settles as canceled, which says nothing about the
//! endpoint. What a request can provoke is held against no endpoint on the word of that request:
//! see [`Blame`]. And a request's own words blame none: a decision that blames an endpoint is
//! followed as far as the policy comes to it without the words of the message that are the
//! request's, too (`rpc::quoted`).

use std::sync::Arc;
use std::time::Duration;

use super::{Endpoint, Upstream};
use crate::clock;
use crate::model::{
    AttemptResult, Blame, CooldownState, CooldownWish, Decision, Elsewhere, Outcome, RequestFacts, RpcError, Tick,
    is_provoked, millis_f32,
};
use crate::policy::abi::{AttemptBlock, MESSAGE_BYTES, NO_RETRY_AFTER, attempt_flags, flag};
use crate::policy::{Policy, native};
use crate::rpc::{Ask, Case, Lease, Outgoing, Target, unquoted};

/// An overtaken attempt took so many times as long as the one that answered.
const SLOWER: u32 = 2;
const OVERTAKEN: &str = "said nothing while another endpoint answered";
/// Method Not Allowed, Unsupported Media Type: the proxy chooses both.
const NO_SUCH_METHOD: [u16; 2] = [405, 415];

/// An attempt at an endpoint that is under way.
pub struct Attempt {
    upstream: Arc<Upstream>,
    index: u32,
    began: Tick,
    settled: bool,
    footing: Footing,
    /// Until when the endpoint's place for a trial is this attempt's.
    trial: Option<Tick>,
}

/// How much an endpoint is trusted when an attempt begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Footing {
    /// As usual.
    Firm,
    /// It is on its ramp.
    Ramp,
    /// It is half-open, and this attempt is its trial.
    Trial,
}

impl Attempt {
    /// `trial`: until when it holds the endpoint's place for one.
    pub(super) fn begin(upstream: Arc<Upstream>, index: u32, trial: Option<Tick>, now: Tick) -> Self {
        let stats = &upstream.endpoint(index).stats;
        let footing = match stats.cooldown.state(now) {
            _ if trial.is_some() => Footing::Trial,
            CooldownState::Ramp(_) => Footing::Ramp,
            // One that cools, or is silent, is chosen when nothing better is left: that is nobody's test of it.
            _ => Footing::Firm,
        };
        stats.begin(now);
        Attempt { upstream, index, began: now, settled: false, footing, trial }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.upstream.endpoint(self.index)
    }

    /// The attempt ended at `now`.
    fn end(&mut self, outcome: Outcome, now: Tick) {
        self.settled = true;
        let endpoint = self.endpoint();
        endpoint.stats.finish(self.began);
        if !matches!(outcome, Outcome::Timeout | Outcome::Canceled | Outcome::ConnectFailed) {
            endpoint.stats.heard(self.began, now);
        }
        if let Some(limit) = self.trial {
            endpoint.stats.trial.end(limit);
        }
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

    fn is_doubtful(&self) -> bool {
        self.footing != Footing::Firm
    }

    fn is_trial(&self) -> bool {
        self.footing == Footing::Trial
    }

    fn silence_limit(&self) -> Duration {
        self.endpoint().stats.silence_limit()
    }

    fn is_silent(&self, now: Tick) -> bool {
        self.footing == Footing::Trial || self.endpoint().stats.is_silent(now)
    }

    fn heard(&self) {
        self.endpoint().stats.heard(self.began, clock::now());
    }

    fn succeed(mut self, request: &RequestFacts, result: &AttemptResult) {
        let ended = self.began.after(result.latency);
        self.end(result.outcome, ended);
        let endpoint = self.endpoint();
        endpoint.details.series.duration.observe(result.latency.as_secs_f64());
        endpoint.stats.record_latency(result.latency, self.upstream.smoothing, ended);
        endpoint.stats.succeed(self.began, ended);
        if self.footing == Footing::Trial {
            self.upstream.log_return(endpoint);
        }
        if !request.batch {
            endpoint.stats.bans.succeed(&request.method);
            self.upstream.live.latencies.record(&request.method, result.latency);
        }
    }

    fn decide(&self, ask: &Ask<'_>, case: &Case<'_>) -> Decision {
        self.upstream.decide(self.endpoint(), ask, case)
    }

    fn fail(self, ask: &Ask<'_>, result: &AttemptResult, decided: &[(Case<'_>, Decision)]) -> Option<Blame> {
        let now = clock::now();
        // Its timeout is no news of an endpoint that answers nobody.
        let is_own = !is_provoked(result) || (result.outcome == Outcome::Timeout && self.is_proved_silent(now));
        self.fail_as(is_own, ask, result, decided, now)
    }

    fn lose(self) {
        let now = clock::now();
        self.endpoint().stats.overtaken(self.began, now);
        self.give_up(now);
    }

    fn overtaken(self, ask: &Ask<'_>, sent: &Outgoing, took: Duration) {
        let now = clock::now();
        let waited = now.since(self.began);
        let is_silent = self.endpoint().stats.overtaken(self.began, now);
        let was_slow = waited >= took.saturating_mul(SLOWER) && waited >= self.silence_limit();
        if was_slow && (is_silent || self.footing == Footing::Trial) {
            let latency = waited;
            let result = AttemptResult { latency, ..AttemptResult::failed(Outcome::Timeout, true, OVERTAKEN) };
            let case =
                Case { request: ask.request, sent: Some(sent), result: &result, may_retry: false, member: false };
            let upstream = Arc::clone(&self.upstream);
            let decision = self.decide(ask, &case);
            let blame = self.fail_as(!upstream.probed, ask, &result, &[(case, decision)], now);
            if let Some(blame) = blame {
                upstream.rule(&blame, Elsewhere::Answered, now);
            }
        } else {
            self.give_up(now);
        }
    }
}

impl Attempt {
    /// Whether silence speaks for itself: where there are probes, one of them is asked.
    fn is_proved_silent(&self, now: Tick) -> bool {
        !self.upstream.probed && self.is_silent(now)
    }

    /// Ends the attempt in the middle of an answer whose beginning has been passed on: nobody else can be asked.
    pub fn break_off(self, ask: &Ask<'_>, result: &AttemptResult, case: Case<'_>) {
        let upstream = Arc::clone(&self.upstream);
        let decision = self.decide(ask, &case);
        let blame = self.fail(ask, result, &[(case, decision)]);
        if let Some(blame) = blame {
            upstream.rule(&blame, Elsewhere::Untried, clock::now());
        }
    }

    /// `is_own`: the failure is the endpoint's, whatever the request was.
    fn fail_as(
        mut self,
        is_own: bool,
        ask: &Ask<'_>,
        result: &AttemptResult,
        decided: &[(Case<'_>, Decision)],
        now: Tick,
    ) -> Option<Blame> {
        self.end(result.outcome, now);
        let (upstream, endpoint) = (&self.upstream, self.endpoint());
        endpoint.details.series.duration.observe(result.latency.as_secs_f64());
        if result.is_own_lack() {
            return None;
        }
        for (case, decision) in decided {
            upstream.ban(endpoint, case, decision);
        }
        let worst = decided.iter().map(|(_, decision)| *decision).reduce(Decision::worse)?;
        let worst = self.judge_trial(worst);
        let blame =
            Blame { index: self.index, decision: worst, result: result.clone(), method: ask.request.method.clone() };
        upstream.note(endpoint, &blame, self.began, now);
        if is_own {
            upstream.hold_against(endpoint, &blame, now);
            return None;
        }
        if upstream.probed && blame.excludes() {
            upstream.doubts.raise(upstream, &blame, now);
        }
        blame.is_any().then_some(blame)
    }

    /// A trial that fails ends in the next cooldown, whatever the policy says of the failure.
    fn judge_trial(&self, worst: Decision) -> Decision {
        let failed = worst.penalty_ms > 0.0 && worst.cooldown == CooldownWish::None;
        let cooldown = if failed && self.footing == Footing::Trial { CooldownWish::Backoff } else { worst.cooldown };
        Decision { cooldown, ..worst }
    }

    /// Its time so far is at least its latency. Without it an endpoint that is always overtaken would look as fast as ever.
    fn give_up(mut self, now: Tick) {
        self.end(Outcome::Canceled, now);
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
            self.end(Outcome::Canceled, clock::now());
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
        let decide = |policy: &Policy| {
            let decision = policy.retry(&request_block, &block)?;
            match unquoted_block(&block, &decision, case) {
                Some(unquoted) => Ok(decision.despite(policy.retry(&request_block, &unquoted)?)),
                None => Ok(decision),
            }
        };
        canary.and_then(|canary| canary.ask(turn, decide)).or_else(|| self.retry.as_ref()?.ask(turn, decide))
    }

    /// What another endpoint made of a request says whether this one is to blame for it.
    pub(super) fn rule(&self, blame: &Blame, elsewhere: Elsewhere, now: Tick) {
        let endpoint = self.endpoint(blame.index);
        let answered = elsewhere == Elsewhere::Answered;
        // Nothing contradicts it, and nobody else was served well.
        let is_alone = elsewhere == Elsewhere::Untried && !endpoint.stats.is_alive(now);
        if (answered || is_alone) && blame.decision.penalty_ms > 0.0 {
            endpoint.stats.fail(blame.decision.penalty_ms);
        }
        let wish = blame.decision.method_ban.max(if blame.is_failure() { self.backoff.base } else { Duration::ZERO });
        if answered && endpoint.stats.bans.strike(&blame.method, wish, now) {
            self.log_ban(endpoint, &blame.method, wish);
        }
        // Without probes, nobody else's success is the witness.
        let is_borne_out = is_alone || (answered && !endpoint.stats.is_alive(now));
        if !self.probed && is_borne_out && blame.excludes() {
            // Where nobody else was asked, one request isn't worth more than a backoff.
            let most = if answered { Duration::MAX } else { self.backoff.max };
            let cooldown = match blame.decision.cooldown {
                CooldownWish::Fixed(asked) => CooldownWish::Fixed(asked.min(most)),
                wish => wish,
            };
            self.cool(endpoint, &Decision { cooldown, ..blame.decision }, blame.why(), now);
        }
    }

    /// Remembers that the endpoint doesn't support a method.
    fn ban(&self, endpoint: &Endpoint, case: &Case<'_>, decision: &Decision) {
        let method = &case.request.method;
        if lacks_method(case.result) && endpoint.stats.bans.ban(method, decision.method_ban, clock::now()) {
            self.log_ban(endpoint, method, decision.method_ban);
        }
    }

    /// A half-open endpoint passed its trial.
    pub(super) fn log_return(&self, endpoint: &Endpoint) {
        let (upstream, endpoint) = (&*self.name, &*endpoint.details.name);
        tracing::info!(upstream, endpoint, "endpoint gets requests again, a few at first");
    }

    fn log_ban(&self, endpoint: &Endpoint, method: &str, duration: Duration) {
        tracing::info!(
            upstream = &*self.name,
            endpoint = &*endpoint.details.name,
            method,
            seconds = duration.as_secs_f64(),
            "endpoint isn't asked for this method"
        );
    }

    /// Takes what an attempt says of the endpoint's latency, and a success.
    fn note(&self, endpoint: &Endpoint, blame: &Blame, began: Tick, now: Tick) {
        let Blame { decision, result, method, .. } = blame;
        // A timeout is a latency, too: at least as long as was waited.
        if result.outcome == Outcome::Timeout || decision.success {
            endpoint.stats.record_latency(result.latency, self.smoothing, now);
        }
        if decision.success && decision.penalty_ms <= 0.0 {
            endpoint.stats.succeed(began, now);
            endpoint.stats.bans.succeed(method);
        }
    }

    /// Holds all of it against the endpoint.
    fn hold_against(&self, endpoint: &Endpoint, blame: &Blame, now: Tick) {
        if blame.decision.penalty_ms > 0.0 {
            endpoint.stats.fail(blame.decision.penalty_ms);
        }
        self.cool(endpoint, &blame.decision, blame.why(), now);
    }

    /// Begins the cooldown that the decision asks for. `why`: outcome, detail and HTTP status, for the log.
    pub(super) fn cool(&self, endpoint: &Endpoint, decision: &Decision, why: (&str, &str, Option<u16>), now: Tick) {
        let (outcome, detail, status) = why;
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
                outcome,
                detail,
                status,
                seconds = endpoint.stats.cooldown.remaining(now).unwrap_or_default().as_secs_f64(),
                "endpoint cools down"
            );
        }
    }
}

/// Whether the endpoint says that it doesn't have the method; anything else may be about what it was asked.
fn lacks_method(result: &AttemptResult) -> bool {
    let by_status = || result.http_status.is_some_and(|status| NO_SUCH_METHOD.contains(&status));
    result.rpc_error.as_ref().map_or_else(by_status, |error| error.code == RpcError::METHOD_NOT_FOUND)
}

/// The block without the request's own words, if the decision about it blames the endpoint and the
/// message holds any.
fn unquoted_block(block: &AttemptBlock, decision: &Decision, case: &Case<'_>) -> Option<AttemptBlock> {
    let seen = || {
        let message = message_of(case.result);
        &message[..message.floor_char_boundary(MESSAGE_BYTES)]
    };
    let message =
        decision.blames().then(|| case.sent.and_then(|sent| unquoted(seen(), case.request, sent))).flatten()?;
    let mut block = AttemptBlock { message_len: 0, message: [0; MESSAGE_BYTES], ..*block };
    block.set_message(&message);
    Some(block)
}

/// What the endpoint said: a JSON-RPC error's message, or the beginning of another error's body.
fn message_of(result: &AttemptResult) -> &str {
    result.rpc_error.as_ref().map_or(&result.text, |error| &error.message)
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
    block.set_message(message_of(result));
    block
}
