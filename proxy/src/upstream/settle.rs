//! Where an attempt ends: statistics, cooldown, metrics, and what the retry policy makes of it.
//!
//! Invariants: an attempt settles exactly once. The methods that end it consume it; one that is
//! dropped, because its client went away, settles as canceled, which says nothing about the
//! endpoint. What a request can provoke is held against no endpoint on the word of that request:
//! see [`Blame`]. And a request's own words blame none: a decision that blames an endpoint is
//! followed as far as the policy comes to it without the words of the message that are the
//! request's, too (`jsonrpc::quoted`).

use std::sync::Arc;
use std::time::Duration;

use super::{Case, Endpoint, Selection, Upstream};
use crate::client::{Outgoing, Target};
use crate::clock;
use crate::model::{
    AttemptResult, Blame, CooldownState, CooldownWish, Decision, Elsewhere, Outcome, RequestFacts, Tick, is_provoked,
    millis_f32,
};

/// An overtaken attempt took so many times as long as the one that answered.
const SLOWER: u32 = 2;
const OVERTAKEN: &str = "said nothing while another endpoint answered";
const OVERTAKEN_WHY: (&str, &str, Option<u16>) = ("canceled", OVERTAKEN, None);

/// An attempt at an endpoint that is under way.
pub struct Attempt {
    upstream: Arc<Upstream>,
    index: u32,
    began: Tick,
    /// Its answer is there, or it has ended: it waits for the endpoint no more.
    answered: bool,
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
            // One that cools, or is silent, is chosen when nothing better is left: that is nobody's
            // test of it.
            _ => Footing::Firm,
        };
        stats.begin(now);
        Attempt { upstream, index, began: now, answered: false, settled: false, footing, trial }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.upstream.endpoint(self.index)
    }

    /// The endpoint has said all, at `now`. The time until [`Attempt::fail`] is the proxy's own.
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

    /// The attempt ended at `now`.
    fn end(&mut self, outcome: Outcome, now: Tick) {
        self.settled = true;
        self.answered(outcome, now);
        let endpoint = self.endpoint();
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

    /// The endpoint's position, for `tried`.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The endpoint's name, for the log.
    pub fn endpoint_name(&self) -> &Arc<str> {
        &self.endpoint().details.name
    }

    /// Larger batches are split for this endpoint.
    pub fn max_batch_size(&self) -> Option<usize> {
        self.endpoint().details.max_batch_size
    }

    /// Whether its endpoint was known to be doubtful when it was chosen: it is on its way back.
    pub fn is_doubtful(&self) -> bool {
        self.footing != Footing::Firm
    }

    /// Whether it is the trial of a half-open endpoint.
    pub fn is_trial(&self) -> bool {
        self.footing == Footing::Trial
    }

    /// How long its endpoint may say nothing before it counts as silent.
    pub fn silence_limit(&self) -> Duration {
        self.endpoint().stats.silence_limit()
    }

    /// Whether its endpoint, having said nothing for that long, needs help: it answers nobody, or
    /// this attempt is its trial.
    pub fn is_silent(&self, now: Tick) -> bool {
        self.footing == Footing::Trial || self.endpoint().stats.is_silent(now)
    }

    /// The endpoint sends an answer that takes its time: it isn't silent.
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
        endpoint.stats.succeed(self.began, ended);
        endpoint.stats.outlier.answer(request.client_key, ended);
        if self.footing == Footing::Trial {
            self.upstream.log_return(endpoint);
        }
        if !request.shape.is_batch() {
            endpoint.stats.bans.succeed(&request.shape.method);
            self.upstream.live.latencies.record(&request.shape.method, result.latency);
        }
    }

    /// Asks the retry policy, before the attempt ends with anything but a clean success.
    pub fn decide(&self, selection: &Selection<'_>, case: &Case<'_>) -> Decision {
        self.upstream.decide(self.endpoint(), selection, case)
    }

    /// Ends the attempt with anything else: `result` of the whole, and each case with its decision.
    /// Returns the blame of the endpoint, if the rest of the request bears it out.
    pub fn fail(
        self,
        selection: &Selection<'_>,
        result: &AttemptResult,
        decided: &[(Case<'_>, Decision)],
    ) -> Option<Blame> {
        let now = clock::now();
        // Its timeout is no news of an endpoint that answers nobody.
        let is_own = !is_provoked(result) || (result.outcome == Outcome::Timeout && self.is_proved_silent(now));
        self.fail_as(is_own, selection, result, decided, now)
    }

    /// Gives the attempt up.
    pub fn lose(self) {
        let now = clock::now();
        self.endpoint().stats.overtaken(self.began, now);
        self.give_up(now);
    }

    /// Ends the attempt because another one was faster, which took so long and ended at `now`.
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
                self.upstream.strike(self.endpoint(), selection.request.client_key, OVERTAKEN_WHY, now);
            }
            self.give_up(now);
        }
    }
}

impl Attempt {
    /// Whether silence speaks for itself: where there are probes, one of them is asked.
    fn is_proved_silent(&self, now: Tick) -> bool {
        !self.upstream.settings.probed && self.is_silent(now)
    }

    /// Ends the attempt in the middle of an answer whose beginning has been passed on: nobody else
    /// can be asked.
    pub fn break_off(self, selection: &Selection<'_>, result: &AttemptResult, case: Case<'_>) {
        let upstream = Arc::clone(&self.upstream);
        let decision = self.decide(selection, &case);
        let blame = self.fail(selection, result, &[(case, decision)]);
        if let Some(blame) = blame {
            upstream.rule(&blame, Elsewhere::Untried, clock::now());
        }
    }

    /// `is_own`: the failure is the endpoint's, whatever the request was.
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

    /// A trial that fails ends in the next cooldown, whatever the policy says of the failure.
    fn judge_trial(&self, worst: Decision) -> Decision {
        let failed = worst.penalty_ms > 0.0 && worst.cooldown == CooldownWish::None;
        let cooldown = if failed && self.footing == Footing::Trial { CooldownWish::Backoff } else { worst.cooldown };
        Decision { cooldown, ..worst }
    }

    /// Its time so far is at least its latency. Without it an endpoint that is always overtaken
    /// would look as fast as ever.
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
