//! The end of an attempt: statistics, cooldown, metrics, and the retry policy's decision.
//!
//! Invariants: an attempt settles exactly once. The methods that end it consume it; one that is
//! dropped, because its client went away, settles as canceled, which has no bearing on the
//! endpoint. A failure that a request can provoke isn't held against an endpoint on the evidence of
//! that request: see [`Blame`]. And a request's own words blame none: a decision that blames an
//! endpoint is followed only as far as the policy makes it without the message's words that come
//! from the request, too (`jsonrpc::quoted`).

use std::sync::Arc;
use std::time::Duration;

use super::{Case, Endpoint, Selection, Upstream};
use crate::client::{Outgoing, Target};
use crate::clock;
use crate::model::{
    AttemptResult, Blame, CooldownState, CooldownWish, Decision, Elsewhere, Outcome, Protocol, RequestFacts, Tick,
    is_provoked, millis_f32,
};

/// An overtaken attempt counts as slow after this multiple of the winner's time.
const SLOWER: u32 = 2;
const OVERTAKEN: &str = "said nothing while another endpoint answered";

/// An attempt at an endpoint that is under way.
pub struct Attempt {
    upstream: Arc<Upstream>,
    index: u32,
    began: Tick,
    /// The attempt has its answer or has ended: it no longer waits for the endpoint.
    answered: bool,
    /// Its answer goes on as a stream.
    streams: bool,
    settled: bool,
    footing: Footing,
    /// The time limit of the trial, if this attempt holds the endpoint's trial slot.
    trial: Option<Tick>,
}

/// The trust in an endpoint at the beginning of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Footing {
    /// The usual trust.
    Firm,
    /// The endpoint is on its ramp.
    Ramp,
    /// The endpoint is half-open, and this attempt is its trial.
    Trial,
}

impl Attempt {
    /// Begins an attempt. `trial`: the time limit of the endpoint's trial slot, if the attempt
    /// holds it.
    pub(super) fn begin(upstream: Arc<Upstream>, index: u32, trial: Option<Tick>, now: Tick) -> Self {
        let stats = &upstream.endpoint(index).stats;
        let footing = match stats.cooldown.state(now) {
            _ if trial.is_some() => Footing::Trial,
            CooldownState::Ramp(_) => Footing::Ramp,
            // An endpoint that cools or is silent is chosen when nothing better is left: that isn't
            // a test of it.
            _ => Footing::Firm,
        };
        stats.begin(now);
        Attempt { upstream, index, began: now, answered: false, streams: false, settled: false, footing, trial }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.upstream.endpoint(self.index)
    }

    /// Records that the endpoint's answer ended at `now`. The time until [`Attempt::fail`] is the
    /// proxy's own.
    pub fn answered(&mut self, outcome: Outcome, now: Tick) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let stats = &self.endpoint().stats;
        stats.finish(self.began);
        if !matches!(outcome, Outcome::Timeout | Outcome::Canceled | Outcome::ConnectFailed) {
            stats.heard(self.began, now);
        }
    }

    /// Records at `now` that the answer has begun well and goes on as a stream, in which the endpoint
    /// may be silent.
    pub fn streams(&mut self, now: Tick) {
        self.answered(Outcome::Success, now);
        if !std::mem::replace(&mut self.streams, true) {
            self.endpoint().stats.begin_stream();
        }
    }

    /// Ends the attempt at `now`.
    fn end(&mut self, outcome: Outcome, now: Tick) {
        self.settled = true;
        self.answered(outcome, now);
        let endpoint = self.endpoint();
        if self.streams {
            endpoint.stats.end_stream();
        }
        if let Some(limit) = self.trial {
            endpoint.stats.trial.end(limit);
        }
        endpoint.details.series.attempts(outcome).inc();
    }
}

impl Attempt {
    /// The destination of the request.
    pub fn target(&self) -> &Arc<Target> {
        &self.endpoint().details.target
    }

    /// The destination of a WebSocket connection.
    pub fn ws_target(&self) -> &Arc<Target> {
        let details = &self.endpoint().details;
        details.ws_target.as_ref().unwrap_or(&details.target)
    }

    /// The endpoint's position, as in `tried`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The endpoint's name, for the log.
    pub fn endpoint_name(&self) -> &Arc<str> {
        &self.endpoint().details.name
    }

    /// The size above which batches are split for this endpoint.
    pub fn max_batch_size(&self) -> Option<usize> {
        self.endpoint().details.max_batch_size
    }

    /// Whether the endpoint was known to be doubtful, that is recovering, when it was chosen.
    pub fn is_doubtful(&self) -> bool {
        self.footing != Footing::Firm
    }

    /// Whether it is the trial of a half-open endpoint.
    pub fn is_trial(&self) -> bool {
        self.footing == Footing::Trial
    }

    /// The time without an answer after which the endpoint counts as silent.
    pub fn silence_limit(&self) -> Duration {
        self.endpoint().stats.silence_limit()
    }

    /// Whether the attempt needs a hedge after that time: the endpoint answers no request, or this
    /// is its trial.
    pub fn is_silent(&self, now: Tick) -> bool {
        self.footing == Footing::Trial || self.endpoint().stats.is_silent(now)
    }

    /// Records that a slow answer is arriving, so the endpoint isn't silent.
    pub fn heard(&self) {
        self.endpoint().stats.heard(self.began, clock::now());
    }

    /// Ends the attempt with a clean success.
    pub fn succeed(mut self, request: &RequestFacts, result: &AttemptResult) {
        let ended = self.began.after(result.latency);
        self.end(result.outcome, ended);
        let endpoint = self.endpoint();
        endpoint.details.series.duration.observe(result.latency.as_secs_f64());
        endpoint.stats.record_latency(result.latency, self.upstream.settings.smoothing, ended);
        endpoint.stats.succeed(request.client_key, self.began, ended);
        if self.footing == Footing::Trial {
            self.upstream.log_return(endpoint);
        }
        if !request.shape.is_batch() {
            endpoint.stats.bans.succeed(&request.shape.method);
            // They delay hedges, which only JSON-RPC has.
            if request.http.protocol == Protocol::JsonRpc {
                self.upstream.live.latencies.record(&request.shape.method, result.latency);
            }
        }
    }

    /// Asks the retry policy, before the attempt ends as anything but a clean success.
    pub fn decide(&self, selection: &Selection<'_>, case: &Case<'_>) -> Decision {
        self.upstream.decide(self.endpoint(), selection, case)
    }

    /// Ends the attempt as anything else, with the `result` of the whole, and the decision on each
    /// case. Returns the blame of the endpoint, which counts if the rest of the request confirms
    /// it.
    pub fn fail(
        self,
        selection: &Selection<'_>,
        result: &AttemptResult,
        decided: &[(Case<'_>, Decision)],
    ) -> Option<Blame> {
        let now = clock::now();
        // A timeout is expected of an endpoint that answers no request.
        let is_own = !is_provoked(result) || (result.outcome == Outcome::Timeout && self.is_proved_silent(now));
        self.fail_as(is_own, selection, result, decided, now)
    }

    /// Gives up the attempt.
    pub fn lose(self) {
        let now = clock::now();
        self.endpoint().stats.overtaken(self.began, now);
        self.give_up(now);
    }

    /// Ends the attempt because another one, which took `took`, was faster and ended at `now`.
    pub fn overtaken(self, selection: &Selection<'_>, sent: &Outgoing, took: Duration, now: Tick) {
        let waited = now.since(self.began);
        let is_silent = self.endpoint().stats.overtaken(self.began, now);
        let was_slow = waited >= took.saturating_mul(SLOWER) && waited >= self.silence_limit();
        if was_slow && (is_silent || self.footing == Footing::Trial) {
            let latency = waited;
            let result = AttemptResult { latency, ..AttemptResult::failed(Outcome::Timeout, true, OVERTAKEN) };
            let case =
                Case { request: selection.request, sent: Some(sent), result: &result, may_retry: false, member: false };
            let upstream = Arc::clone(&self.upstream);
            let decision = self.decide(selection, &case);
            let blame = self.fail_as(!upstream.settings.probed, selection, &result, &[(case, decision)], now);
            if let Some(blame) = blame {
                upstream.rule(&blame, Elsewhere::Answered, now);
            }
        } else {
            if was_slow {
                self.upstream.strike(self.endpoint(), selection.request.client_key, now);
            }
            self.give_up(now);
        }
    }
}

impl Attempt {
    /// Whether silence suffices as proof: if there are probes, one of them decides.
    fn is_proved_silent(&self, now: Tick) -> bool {
        !self.upstream.settings.probed && self.is_silent(now)
    }

    /// Ends the attempt in the middle of a response whose beginning was forwarded: no other
    /// endpoint can be tried.
    pub fn break_off(self, selection: &Selection<'_>, result: &AttemptResult, case: Case<'_>) {
        let upstream = Arc::clone(&self.upstream);
        let decision = self.decide(selection, &case);
        let blame = self.fail(selection, result, &[(case, decision)]);
        if let Some(blame) = blame {
            upstream.rule(&blame, Elsewhere::Untried, clock::now());
        }
    }

    /// Ends the attempt as a failure. `is_own`: the endpoint's, whatever the request was.
    fn fail_as(
        mut self,
        is_own: bool,
        selection: &Selection<'_>,
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
        let blame = Blame {
            index: self.index,
            decision: self.judge_trial(worst),
            result: result.clone(),
            client: selection.request.client_key,
            method: selection.request.shape.method.clone(),
        };
        upstream.note(endpoint, &blame, self.began, now);
        if is_own {
            upstream.hold_against(endpoint, &blame, now);
            return None;
        }
        if upstream.settings.probed && blame.excludes() {
            upstream.doubts.raise(upstream, &blame, now);
        }
        blame.is_any().then_some(blame)
    }

    /// Turns the failure of a trial into the next cooldown, whatever the policy decided.
    fn judge_trial(&self, worst: Decision) -> Decision {
        let failed = worst.penalty_ms > 0.0 && worst.cooldown == CooldownWish::None;
        let cooldown = if failed && self.footing == Footing::Trial { CooldownWish::Backoff } else { worst.cooldown };
        Decision { cooldown, ..worst }
    }

    /// Ends the attempt with its time so far as the least latency. Without that sample an endpoint
    /// that is always overtaken would look as fast as ever.
    fn give_up(mut self, now: Tick) {
        self.end(Outcome::Canceled, now);
        let waited = now.since(self.began);
        let stats = &self.endpoint().stats;
        if millis_f32(waited) > stats.latency_ms() {
            stats.record_latency(waited, self.upstream.settings.smoothing, now);
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

#[cfg(test)]
mod tests;
