//! The attempt engine: tries endpoints until one answers or no further attempt is allowed.
//!
//! ```text
//! select ── exchange ── settle ──┬─ success ────────────────► the answer
//!   ▲      (and a hedge          ├─ the policy returns ──────► the answer, or a refusal
//!   │       beside it)           └─ a batch answered in part ─┐
//!   └────── delay ◄── may retry ◄────── the members left ◄────┘
//! ```
//!
//! Invariants: every selected endpoint is settled exactly once (an [`Attempt`] that is dropped
//! settles itself as canceled); no endpoint is tried twice; a retry happens only where
//! [`may_retry`](crate::model::may_retry), the retry budget and the policy agree; at most two
//! attempts of a request are under way at once, and only of a request without a write.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::batch_response::BatchResponse;
use super::call::Call;
use super::dispatch::send;
use super::extra::{Spending, elsewhere};
use super::fairness::give_way;
use super::follow_up::{Next, Try};
use super::streaming::StreamingReply;
use crate::client::HedgeTimer;
use crate::client::{Answer, Exchanged};
use crate::clock;
use crate::jsonrpc::Refusal;
use crate::model::{AttemptResult, Blame, Outcome, Plan, Preference, RequestFacts, Tick};
use crate::upstream::{Attempt, Extra, Selection, Upstream};

/// The reply to the client.
pub struct Reply {
    /// The endpoint's HTTP status.
    pub status: StatusCode,
    /// The endpoint's `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// The endpoint's `Retry-After`, from an error response.
    pub retry_after: Option<Duration>,
    /// The endpoint's body.
    pub body: ReplyBody,
}

/// The body of a reply.
pub enum ReplyBody {
    /// The whole body.
    Whole(Bytes),
    /// A long success whose end is still arriving.
    Streaming(Box<StreamingReply>),
}

/// The course of a request, for the access log.
#[derive(Debug, Default)]
pub struct Trace {
    /// Number of attempts so far.
    pub attempts: u32,
    /// The endpoint of the last attempt.
    pub endpoint: Option<Arc<str>>,
    /// The outcome of the last attempt; `None` while it is under way.
    pub outcome: Option<Outcome>,
    /// No attempt had a good answer, and no other follows.
    pub given_up: bool,
}

/// Makes the attempts of one request.
///
/// # Errors
/// A [`Refusal`] when no endpoint gave an answer that can be passed on.
pub async fn run(upstream: &Arc<Upstream>, call: &Call, trace: &mut Trace) -> Result<Reply, Refusal> {
    let now = clock::now();
    upstream.arrived(call.facts.client_key, now);
    let mut state = Run {
        upstream,
        trace,
        plan: None,
        tried: Vec::new(),
        prior_sent: false,
        prefer: Preference::None,
        response: None,
        last: None,
        held: Vec::new(),
        failures: 0,
        answered: AnsweredBy::Nobody,
        doubtful: false,
        spending: Spending::default(),
    };
    let reply = state.run(call, now).await;
    state.rule();
    reply
}

/// The state of one request.
pub(super) struct Run<'a> {
    pub(super) upstream: &'a Arc<Upstream>,
    pub(super) trace: &'a mut Trace,
    pub(super) plan: Option<Plan>,
    pub(super) tried: Vec<u32>,
    pub(super) prior_sent: bool,
    pub(super) prefer: Preference,
    /// Set once a part of the client's batch was answered.
    pub(super) response: Option<BatchResponse>,
    /// The last attempt that failed as a whole.
    pub(super) last: Option<(AttemptResult, Option<Answer>)>,
    /// Blame that counts only if the rest of the request confirms it.
    pub(super) held: Vec<Blame>,
    /// Failed attempts whose failure the request may have provoked.
    pub(super) failures: u32,
    /// An endpoint answered, possibly with an error that counts as an answer.
    pub(super) answered: AnsweredBy,
    /// The endpoint of the last attempt was known to be doubtful.
    pub(super) doubtful: bool,
    pub(super) spending: Spending,
}

/// The endpoints that answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnsweredBy {
    Nobody,
    One(u32),
    Several,
}

impl AnsweredBy {
    pub(super) fn add(&mut self, index: u32) {
        *self = match *self {
            AnsweredBy::Nobody => AnsweredBy::One(index),
            AnsweredBy::One(known) if known == index => AnsweredBy::One(index),
            AnsweredBy::One(_) | AnsweredBy::Several => AnsweredBy::Several,
        };
    }

    /// Whether another endpoint answered than the one at `index`.
    fn is_other_than(self, index: u32) -> bool {
        match self {
            AnsweredBy::Nobody => false,
            AnsweredBy::One(known) => known != index,
            AnsweredBy::Several => true,
        }
    }
}

type Pending<'a> = Pin<Box<dyn Future<Output = Exchanged> + Send + 'a>>;

/// The first event of two concurrent attempts.
enum Event {
    Older(Exchanged),
    Newer(Exchanged),
    /// The newer attempt's endpoint may be silent, too.
    Look,
}

impl Run<'_> {
    async fn run(&mut self, call: &Call, mut now: Tick) -> Result<Reply, Refusal> {
        let (mut call, mut again) = (Cow::Borrowed(call), false);
        loop {
            let lease = match self.upstream.select(&self.selection(&call, false, now)) {
                Ok(lease) => lease,
                Err(refusal) => return self.conclude(&call, refusal),
            };
            if std::mem::take(&mut again) {
                self.spend(Extra::Retry, self.doubtful, &call);
            }
            let plan =
                *self.plan.get_or_insert_with(|| self.upstream.plan(&Selection::first(&call.facts, now), &lease));
            let first = self.begin(lease);
            match self.attempt(&call, first, plan, now).await {
                Next::Answer(reply) => return Ok(reply),
                Next::GiveUp => return self.conclude(&call, Refusal::EndpointsFailed),
                // The delay would outlast the deadline.
                Next::Again(delay, _) if delay >= call.facts.deadline.since(clock::now()) => {
                    return self.conclude(&call, Refusal::TimedOut);
                }
                Next::Again(delay, rest) => {
                    call = rest.map_or(call, |rest| Cow::Owned(*rest));
                    again = true;
                    if delay.is_zero() {
                        give_way(&call.facts.policy_time).await;
                    } else {
                        tokio::time::sleep(delay).await;
                    }
                    now = clock::now();
                }
            }
        }
    }

    /// Passes judgement on the blamed endpoints, now that the whole request is known.
    fn rule(&mut self) {
        let now = clock::now();
        for blame in self.held.drain(..) {
            let elsewhere = elsewhere(self.answered.is_other_than(blame.index), self.failures);
            self.upstream.rule(&blame, elsewhere, now);
        }
    }

    fn selection<'b>(&'b self, call: &'b Call, hedge: bool, now: Tick) -> Selection<'b> {
        Selection {
            attempt: self.trace.attempts + 1,
            tried: &self.tried,
            prior_sent: self.prior_sent,
            prefer: self.prefer,
            hedge,
            ..Selection::first(&call.facts, now)
        }
    }

    fn begin(&mut self, lease: Attempt) -> Try {
        self.tried.push(lease.index());
        self.trace.attempts += 1;
        self.trace.endpoint = Some(Arc::clone(lease.endpoint_name()));
        self.trace.outcome = None;
        Try { lease, attempt: self.trace.attempts, hedge: false }
    }

    /// Whether the retry budget allows another attempt. The first one after a doubtful endpoint is
    /// the proxy's own doing, and costs the client nothing.
    pub(super) fn may_spend(&self, doubtful: bool, call: &RequestFacts, now: Tick) -> bool {
        self.spending.allows(self.upstream, doubtful, call.client_key, now)
    }

    fn spend(&mut self, extra: Extra, doubtful: bool, call: &Call) {
        self.spending.spend(self.upstream, extra, doubtful, call.facts.client_key);
    }

    /// Makes one attempt, and a second one beside it when the first takes long.
    async fn attempt(&mut self, call: &Call, first: Try, plan: Plan, now: Tick) -> Next {
        let looks = Looks::new(call, &plan, &first.lease);
        let timer = HedgeTimer::new(looks.after(Duration::ZERO));
        let mut ours = pin!(send(call, &first.lease, now, plan.timeout, &timer));
        loop {
            if let Some(ended) = timer.wait_for(&mut ours).await {
                return self.judge_to_end(call, first, ended).await;
            }
            let looked = clock::now();
            let waited = looked.since(now);
            let may_help = waited >= looks.silence;
            let silent = may_help && first.lease.is_silent(looked);
            let overdue = may_help && self.upstream.is_overdue(&call.facts, waited);
            let is_due = silent || overdue || looks.hedge.is_some_and(|hedge| waited >= hedge);
            if let Some(second) = is_due.then(|| self.hedge(call, plan, looked, silent)).flatten() {
                // Boxed: few requests are hedged, but the future of each would have room for it.
                return Box::pin(self.attempt_beside(call, (first, Box::pin(ours)), second, plan)).await;
            }
            if let Some(next) = looks.after(waited) {
                timer.rearm(next);
            }
        }
    }

    /// Runs the second attempt beside the first. If both endpoints are silent, a third attempt
    /// replaces the first.
    async fn attempt_beside<'f>(&mut self, call: &'f Call, first: (Try, Pending<'f>), second: Try, plan: Plan) -> Next {
        let timers: Vec<HedgeTimer> = (0..plan.max_attempts).map(|_| HedgeTimer::default()).collect();
        let mut unused = timers.iter();
        let endless = HedgeTimer::default();
        let (mut older, mut began) = (first, clock::now());
        let mut timer = unused.next().unwrap_or(&endless);
        let mut newer = start(call, second, began, &plan, timer);
        loop {
            let event = tokio::select! {
                biased;
                ended = &mut older.1 => Event::Older(ended),
                ended = timer.wait_for(&mut newer.1) => ended.map_or(Event::Look, Event::Newer),
            };
            match event {
                Event::Older(ended) => return self.first_of_two(call, (older.0, ended), newer).await,
                Event::Newer(ended) => return self.first_of_two(call, (newer.0, ended), older).await,
                Event::Look => {}
            }
            let now = clock::now();
            let are_silent = older.0.lease.is_silent(now) && newer.0.lease.is_silent(now);
            if let Some(third) = are_silent.then(|| self.hedge(call, plan, now, false)).flatten() {
                older.0.lease.lose();
                older = newer;
                timer = unused.next().unwrap_or(&endless);
                newer = start(call, third, now, &plan, timer);
                began = now;
            } else {
                timer.rearm(now.since(began) + newer.0.lease.silence_limit() / 2);
            }
        }
    }

    /// Starts an attempt beside the first, if an endpoint and the budget allow it.
    fn hedge(&mut self, call: &Call, plan: Plan, now: Tick, doubtful: bool) -> Option<Try> {
        if self.trace.attempts >= plan.max_attempts || !self.may_spend(doubtful, &call.facts, now) {
            return None;
        }
        let lease = self.upstream.select(&self.selection(call, true, now)).ok()?;
        self.spend(Extra::Hedge, doubtful, call);
        // The bytes that reached the endpoint before this one aren't known yet.
        self.prior_sent = true;
        Some(Try { hedge: true, ..self.begin(lease) })
    }

    /// Takes the first good answer. After a bad one, waits for the other attempt.
    async fn first_of_two(&mut self, call: &Call, ended: (Try, Exchanged), other: (Try, Pending<'_>)) -> Next {
        let hedge = ended.0.hedge;
        let (took, now) = (ended.1.0.latency, clock::now());
        let next = self.judge_to_end(call, ended.0, ended.1).await;
        let (other, rest) = other;
        match next {
            Next::Answer(_) => {
                let selection = self.selection_of(call, other.attempt, self.prior_sent);
                other.lease.overtaken(&selection, &call.outgoing, took, now);
            }
            Next::Again(_, Some(_)) => other.lease.lose(),
            Next::Again(_, None) | Next::GiveUp => {
                let hedge = other.hedge;
                let next = self.judge_to_end(call, other, rest.await).await;
                self.upstream.hedged(hedge && matches!(next, Next::Answer(_)));
                return next;
            }
        }
        self.upstream.hedged(hedge);
        next
    }
}

fn start<'f>(call: &'f Call, attempt: Try, now: Tick, plan: &Plan, timer: &'f HedgeTimer) -> (Try, Pending<'f>) {
    timer.rearm(attempt.lease.silence_limit());
    let pending = Box::pin(send(call, &attempt.lease, now, plan.timeout, timer));
    (attempt, pending)
}

/// The times at which a running attempt is checked.
struct Looks {
    /// The hedge delay of the plan.
    hedge: Option<Duration>,
    /// The endpoint may be silent after this time.
    silence: Duration,
    /// Writes are never hedged.
    write: bool,
}

impl Looks {
    fn new(call: &Call, plan: &Plan, lease: &Attempt) -> Self {
        let write = call.facts.shape.is_write();
        // A trial must have the time to answer before a hedge overtakes it.
        let hedge = plan.hedge_after.filter(|_| !write && !lease.is_trial());
        Looks { hedge, silence: lease.silence_limit(), write }
    }

    /// The next check of an attempt that has taken `waited`.
    fn after(&self, waited: Duration) -> Option<Duration> {
        let silence = if waited < self.silence { self.silence } else { waited + self.silence / 2 };
        let hedge = self.hedge.filter(|hedge| waited < *hedge);
        (!self.write).then(|| hedge.map_or(silence, |hedge| hedge.min(silence)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoints_own_answer_is_none_elsewhere() {
        let mut answered = AnsweredBy::Nobody;
        assert!(!answered.is_other_than(1));
        for _ in 0..2 {
            answered.add(1);
            assert!(!answered.is_other_than(1) && answered.is_other_than(2));
        }
        answered.add(2);
        assert!(answered.is_other_than(1) && answered.is_other_than(2));
    }
}
