//! The attempt engine: endpoints are tried until there is an answer or no further attempt is allowed.
//!
//! ```text
//! select ── exchange ── settle ──┬─ success ────────────────► the answer
//!   ▲      (and a hedge          ├─ the policy says return ──► the answer, or a refusal
//!   │       beside it)           └─ a batch answered in part ─┐
//!   └────── delay ◄── may retry ◄──── what is left of it ◄────┘
//! ```
//!
//! Invariants: every selected endpoint is settled exactly once (a [`Lease`] that is dropped settles itself as canceled);
//! no endpoint is tried twice; a retry happens only where [`may_retry`], the retry budget and the policy agree; at most two
//! attempts of a request are under way at once, and only of a request without a write.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::batch::{Assembly, Expected, MemberRequest, Slot, find_answers};
use super::exchange::{Answer, AnswerBody, Arriving, Exchanged};
use super::landed;
use super::part::{Call, troubles};
use super::pieces::send;
use super::pool::{Ask, Case, Extra, Lease, Pool};
use super::refusal::Refusal;
use crate::clock;
use crate::model::{Action, AttemptResult, Decision, Outcome, Plan, Preference, RequestFacts, may_retry};

/// What the client gets.
pub struct Reply<L> {
    /// The endpoint's HTTP status.
    pub status: StatusCode,
    /// The endpoint's `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// The endpoint's body.
    pub body: ReplyBody<L>,
}

/// The body of a reply.
pub enum ReplyBody<L> {
    /// All of it.
    Whole(Bytes),
    /// A long success whose end is still arriving; its attempt settles when it does.
    Arriving {
        /// The rest of the body.
        rest: Box<Arriving>,
        /// The attempt.
        lease: L,
        /// What to settle it with.
        result: AttemptResult,
    },
}

/// What happened on the way, for the access log.
#[derive(Debug, Default)]
pub struct Trace {
    /// Attempts so far.
    pub attempts: u32,
    /// The endpoint of the last one.
    pub endpoint: Option<Arc<str>>,
    /// How it ended; `None` while it is under way.
    pub outcome: Option<Outcome>,
}

/// Runs attempts for one request.
///
/// # Errors
/// A [`Refusal`] when no endpoint gave an answer that can be passed on.
pub async fn run<P: Pool>(pool: &P, call: &Call, trace: &mut Trace) -> Result<Reply<P::Lease>, Refusal> {
    pool.arrived(clock::now());
    let state = Run {
        pool,
        trace,
        plan: None,
        tried: Vec::new(),
        prior_sent: false,
        prefer: Preference::None,
        assembly: None,
        last: None,
    };
    state.run(call).await
}

/// A request on its way.
struct Run<'a, P: Pool> {
    pool: &'a P,
    trace: &'a mut Trace,
    plan: Option<Plan>,
    tried: Vec<u32>,
    prior_sent: bool,
    prefer: Preference,
    /// Once a part of the client's batch was answered.
    assembly: Option<Assembly>,
    /// The last attempt that failed as a whole.
    last: Option<(AttemptResult, Option<Answer>)>,
}

/// An attempt that is under way.
struct Try<L> {
    lease: L,
    attempt: u32,
}

/// An attempt that ended and isn't settled yet.
struct Ended<L> {
    lease: L,
    attempt: u32,
    result: AttemptResult,
    answer: Option<Answer>,
}

/// What follows from an attempt.
enum Next<L> {
    Answer(Reply<L>),
    /// Another attempt after a delay; at what is left of the batch, if a part of it was answered.
    Again(Duration, Option<Call>),
    /// Nothing more can be tried.
    GiveUp,
}

impl<P: Pool> Run<'_, P> {
    async fn run(mut self, call: &Call) -> Result<Reply<P::Lease>, Refusal> {
        let mut call = Cow::Borrowed(call);
        loop {
            let lease = match self.pool.select(&self.ask(&call, false)) {
                Ok(lease) => lease,
                Err(refusal) => return self.conclude(&call, refusal),
            };
            let plan = *self.plan.get_or_insert_with(|| self.pool.plan(&Ask::first(&call.facts), &lease));
            let first = self.begin(lease);
            match self.attempt(&call, first, plan).await {
                Next::Answer(reply) => return Ok(reply),
                Next::GiveUp => return self.conclude(&call, Refusal::EndpointsFailed),
                Next::Again(delay, rest) => {
                    call = rest.map_or(call, Cow::Owned);
                    self.pool.spend(Extra::Retry);
                    wait(delay, &call.facts).await;
                }
            }
        }
    }

    fn ask<'b>(&'b self, call: &'b Call, hedge: bool) -> Ask<'b> {
        Ask {
            attempt: self.trace.attempts + 1,
            tried: &self.tried,
            prior_sent: self.prior_sent,
            prefer: self.prefer,
            hedge,
            ..Ask::first(&call.facts)
        }
    }

    fn begin(&mut self, lease: P::Lease) -> Try<P::Lease> {
        self.tried.push(lease.index());
        self.trace.attempts += 1;
        self.trace.endpoint = Some(Arc::clone(lease.endpoint_name()));
        self.trace.outcome = None;
        Try { lease, attempt: self.trace.attempts }
    }

    /// One attempt, and a second one beside it when the first takes long.
    async fn attempt(&mut self, call: &Call, first: Try<P::Lease>, plan: Plan) -> Next<P::Lease> {
        let mut ours = pin!(send(call, &first.lease, plan.timeout));
        let Some(after) = plan.hedge_after.filter(|_| !call.facts.write) else {
            return self.judge(call, first.ended(ours.await));
        };
        tokio::select! {
            biased;
            ended = &mut ours => return self.judge(call, first.ended(ended)),
            () = tokio::time::sleep(after) => {}
        }
        let Some(second) = self.hedge(call, plan) else {
            return self.judge(call, first.ended(ours.await));
        };
        let mut theirs = pin!(send(call, &second.lease, plan.timeout));
        tokio::select! {
            biased;
            ended = &mut ours => self.first_of_two(call, first.ended(ended), second, theirs, false).await,
            ended = &mut theirs => self.first_of_two(call, second.ended(ended), first, ours, true).await,
        }
    }

    /// A second endpoint, if there is one that isn't needed for anything more urgent.
    fn hedge(&mut self, call: &Call, plan: Plan) -> Option<Try<P::Lease>> {
        if self.trace.attempts >= plan.max_attempts || !self.pool.has_budget(clock::now()) {
            return None;
        }
        let lease = self.pool.select(&self.ask(call, true)).ok()?;
        self.pool.spend(Extra::Hedge);
        Some(self.begin(lease))
    }

    /// The first good answer wins. After a bad one the other attempt is waited for. `hedge`: the second to begin ended first.
    async fn first_of_two(
        &mut self,
        call: &Call,
        ended: Ended<P::Lease>,
        other: Try<P::Lease>,
        rest: Pin<&mut impl Future<Output = Exchanged>>,
        hedge: bool,
    ) -> Next<P::Lease> {
        let next = self.judge(call, ended);
        if let Next::Answer(_) | Next::Again(_, Some(_)) = next {
            other.lease.lose();
            self.pool.hedged(hedge);
            return next;
        }
        let next = self.judge(call, other.ended(rest.await));
        self.pool.hedged(!hedge && matches!(next, Next::Answer(_)));
        next
    }

    /// Settles an attempt and says what follows.
    fn judge(&mut self, call: &Call, ended: Ended<P::Lease>) -> Next<P::Lease> {
        ended.log(&call.facts);
        self.trace.endpoint = Some(Arc::clone(ended.lease.endpoint_name()));
        self.trace.outcome = Some(ended.result.outcome);
        let prior_sent = self.prior_sent;
        self.prior_sent |= ended.result.bytes_sent;
        let Ended { lease, attempt, result, answer } = ended;
        let Some((answer, slots)) = answer.map(|answer| self.slots(call, answer)) else {
            return self.judge_whole(call, lease, attempt, prior_sent, result, None);
        };
        match (slots, call.members()) {
            (Some(slots), Some(members)) => {
                self.judge_members(call, Arc::clone(members), lease, attempt, prior_sent, &result, slots)
            }
            _ if result.outcome == Outcome::Success => Next::Answer(succeed(&call.facts, lease, result, answer)),
            _ => self.judge_whole(call, lease, attempt, prior_sent, result, Some(answer)),
        }
    }

    /// What was said to each member, if the answer is to be taken apart.
    fn slots(&self, call: &Call, mut answer: Answer) -> (Answer, Option<Vec<Slot>>) {
        let slots = match (&mut answer.body, call.members()) {
            (AnswerBody::Members(slots), _) => Some(std::mem::take(slots)),
            (AnswerBody::Whole(body), Some(members)) if self.assembly.is_some() && answer.status.is_success() => {
                find_answers(members, body).map(|answers| answers.slots)
            }
            _ => None,
        };
        (answer, slots)
    }

    /// An attempt that failed, and has one answer at most.
    fn judge_whole(
        &mut self,
        call: &Call,
        lease: P::Lease,
        attempt: u32,
        prior_sent: bool,
        result: AttemptResult,
        answer: Option<Answer>,
    ) -> Next<P::Lease> {
        let allowed = self.allows(&call.facts, &result);
        let case = Case { request: &call.facts, result: &result, may_retry: allowed, member: false };
        let ask = Ask { attempt, tried: &self.tried, prior_sent, ..Ask::first(&call.facts) };
        let decision = lease.fail(&ask, &result, &[case]).first().copied().unwrap_or(Decision::RETURN);
        if let (true, Expected::Single(id)) = (decision.landed, &call.outgoing.expected)
            && let Some(body) = landed::answer(&call.outgoing.body, id)
        {
            return Next::Answer(rebuilt(body));
        }
        let is_answer = decision.success && decision.action == Action::Return;
        self.prefer = decision.prefer;
        self.last = Some((result, answer));
        match decision.action {
            Action::Retry { delay } if allowed => Next::Again(delay, None),
            _ if is_answer => self.answer_of_last(),
            _ => Next::GiveUp,
        }
    }

    /// The endpoint's own error is the answer.
    fn answer_of_last(&mut self) -> Next<P::Lease> {
        match self.last.take() {
            Some((result, Some(Answer { status, content_type, body: AnswerBody::Whole(body) })))
                if result.rpc_error.is_some() && self.assembly.is_none() =>
            {
                Next::Answer(Reply { status, content_type, body: ReplyBody::Whole(body) })
            }
            last => {
                self.last = last;
                Next::GiveUp
            }
        }
    }

    /// A batch that was answered in part: what another endpoint may do better is asked elsewhere, the rest is kept.
    #[expect(clippy::too_many_arguments, reason = "the parts of an attempt that ended, taken apart")]
    fn judge_members(
        &mut self,
        call: &Call,
        members: Arc<[MemberRequest]>,
        lease: P::Lease,
        attempt: u32,
        prior_sent: bool,
        result: &AttemptResult,
        mut slots: Vec<Slot>,
    ) -> Next<P::Lease> {
        let troubles = troubles(call, &members, &slots, result);
        let mut again = vec![false; slots.len()];
        let mut longest = Duration::ZERO;
        self.prefer = Preference::None;
        if troubles.is_empty() {
            lease.succeed(&call.facts, result);
        } else {
            let cases: Vec<Case<'_>> = troubles
                .iter()
                .map(|t| Case {
                    request: &t.facts,
                    result: &t.result,
                    may_retry: self.allows(&t.facts, &t.result),
                    member: true,
                })
                .collect();
            let ask = Ask { attempt, tried: &self.tried, prior_sent, ..Ask::first(&call.facts) };
            let decisions = lease.fail(&ask, result, &cases);
            for ((trouble, case), decision) in troubles.iter().zip(&cases).zip(decisions) {
                match decision.action {
                    Action::Retry { delay } if case.may_retry => {
                        trouble.members.iter().for_each(|&position| again[position] = true);
                        longest = longest.max(delay);
                        self.prefer = decision.prefer;
                    }
                    _ if decision.landed => {
                        trouble.members.iter().for_each(|&position| land(&members[position], &mut slots[position]));
                    }
                    _ => {}
                }
            }
        }
        let assembly = self.assembly.get_or_insert_with(|| Assembly::new(members));
        let rest = assembly.take(slots, &again);
        if !rest.is_empty() {
            self.last = Some((result.clone(), None));
            return Next::Again(longest, Some(call.of_members(rest)));
        }
        let refusal = refusal_after(result, &call.facts);
        assembly.finish(|id| refusal.to_id(id)).map_or(Next::GiveUp, |body| Next::Answer(rebuilt(body)))
    }

    /// Whether the host allows another attempt after this one.
    fn allows(&self, facts: &RequestFacts, result: &AttemptResult) -> bool {
        let now = clock::now();
        let max_attempts = self.plan.map_or(1, |plan| plan.max_attempts);
        may_retry(facts, result, self.trace.attempts, max_attempts, now) && self.pool.has_budget(now)
    }

    /// The end without a success: an endpoint's own JSON-RPC error is passed on, and so is what a batch has of answers;
    /// anything else becomes a refusal.
    fn conclude(self, call: &Call, otherwise: Refusal) -> Result<Reply<P::Lease>, Refusal> {
        let refusal = match &self.last {
            Some((result, _)) => refusal_after(result, &call.facts),
            None => otherwise,
        };
        if let Some(body) = self.assembly.as_ref().and_then(|assembly| assembly.finish(|id| refusal.to_id(id))) {
            return Ok(rebuilt(body));
        }
        match self.last {
            Some((
                AttemptResult { rpc_error: Some(_), .. },
                Some(Answer { status, content_type, body: AnswerBody::Whole(body) }),
            )) => Ok(Reply { status, content_type, body: ReplyBody::Whole(body) }),
            _ => Err(refusal),
        }
    }
}

fn succeed<L: Lease>(request: &RequestFacts, lease: L, result: AttemptResult, answer: Answer) -> Reply<L> {
    let body = match answer.body {
        AnswerBody::Partial(rest) => ReplyBody::Arriving { rest, lease, result },
        AnswerBody::Whole(body) => {
            lease.succeed(request, &result);
            ReplyBody::Whole(body)
        }
        // Taken apart before.
        AnswerBody::Members(_) => ReplyBody::Whole(Bytes::new()),
    };
    Reply { status: answer.status, content_type: answer.content_type, body }
}

/// An answer that was put together here.
fn rebuilt<L>(body: Bytes) -> Reply<L> {
    Reply { status: StatusCode::OK, content_type: None, body: ReplyBody::Whole(body) }
}

/// The transaction of this member is known to the endpoint: its answer is the hash.
fn land(member: &MemberRequest, slot: &mut Slot) {
    if let Some(answer) = member.id.as_deref().and_then(|id| landed::answer(&member.raw, id)) {
        *slot = Slot::Answered(answer);
    }
}

/// What the client is told when this was the last attempt, and had no answer of its own.
fn refusal_after(result: &AttemptResult, request: &RequestFacts) -> Refusal {
    if result.http_status == Some(StatusCode::TOO_MANY_REQUESTS.as_u16()) {
        return Refusal::RateLimited { retry_after: result.retry_after };
    }
    if result.outcome == Outcome::Timeout || clock::now() >= request.deadline {
        return Refusal::TimedOut;
    }
    Refusal::EndpointsFailed
}

async fn wait(delay: Duration, request: &RequestFacts) {
    if !delay.is_zero() {
        tokio::time::sleep(delay.min(request.deadline.since(clock::now()))).await;
    }
}

impl<L: Lease> Try<L> {
    fn ended(self, (result, answer): Exchanged) -> Ended<L> {
        Ended { lease: self.lease, attempt: self.attempt, result, answer }
    }
}

impl<L: Lease> Ended<L> {
    fn log(&self, request: &RequestFacts) {
        tracing::debug!(
            method = request.method,
            endpoint = &**self.lease.endpoint_name(),
            attempt = self.attempt,
            outcome = self.result.outcome.label(),
            detail = self.result.detail,
            status = self.result.http_status,
            rpc_code = self.result.rpc_error.as_ref().map(|e| e.code),
            ms = self.result.latency.as_secs_f64() * 1_000.0,
            "attempt"
        );
    }
}
