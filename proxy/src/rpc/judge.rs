//! What follows from an attempt that ended: it is settled, and becomes an answer, a part of one, or another attempt.
//!
//! Invariants: whatever ended is settled here, once: by its success, or with the retry policy's decisions. A batch may take
//! many of these; between them the thread is given back ([`give_way`]), and a client that goes away meanwhile leaves an
//! attempt that settles as canceled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::batch::{Assembly, Expected, MemberRequest, Slot, find_answers};
use super::engine::{Reply, ReplyBody, Run};
use super::exchange::{Answer, AnswerBody, Exchanged};
use super::fairness::give_way;
use super::landed;
use super::part::{Call, Trouble, troubles};
use super::pool::{Ask, Case, Lease, Pool};
use super::refusal::Refusal;
use crate::clock;
use crate::model::{Action, AttemptResult, Decision, Outcome, RequestFacts, is_provoked, may_retry};

/// An attempt that is under way.
pub(super) struct Try<L> {
    pub(super) lease: L,
    pub(super) attempt: u32,
}

/// An attempt that ended and isn't settled yet.
pub(super) struct Ended<L> {
    lease: L,
    attempt: u32,
    result: AttemptResult,
    /// An attempt before this one reached the wire.
    prior_sent: bool,
}

/// A batch that was answered in part.
pub(super) struct InPart<L> {
    ended: Ended<L>,
    members: Arc<[MemberRequest]>,
    slots: Vec<Slot>,
}

/// An attempt after the first look at it.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one: a box would cost each request an allocation"
)]
pub(super) enum Judged<L> {
    Done(Next<L>),
    /// [`Run::judge_members`] says what follows.
    InPart(Box<InPart<L>>),
}

/// What follows from an attempt.
pub(super) enum Next<L> {
    Answer(Reply<L>),
    /// Another attempt after a delay; at what is left of the batch, if a part of it was answered.
    Again(Duration, Option<Call>),
    /// Nothing more can be tried.
    GiveUp,
}

impl<P: Pool> Run<'_, P> {
    /// Settles an attempt and says what follows, unless it is a batch that was answered in part.
    pub(super) fn judge(&mut self, call: &Call, ended: Try<P::Lease>, (result, answer): Exchanged) -> Judged<P::Lease> {
        log(&ended, call, &result);
        self.trace.endpoint = Some(Arc::clone(ended.lease.endpoint_name()));
        self.trace.outcome = Some(result.outcome);
        let Try { lease, attempt } = ended;
        let prior_sent = self.prior_sent;
        self.doubtful = lease.is_doubtful();
        self.prior_sent |= result.bytes_sent;
        if self.is_cut_short(attempt, &result) {
            lease.lose();
            self.last = Some((result, None));
            return Judged::Done(Next::GiveUp);
        }
        let ended = Ended { lease, attempt, result, prior_sent };
        let Some(mut answer) = answer else { return Judged::Done(self.judge_whole(call, ended, None)) };
        if let (Some(members), Some(slots)) = (call.members(), self.take_apart(call, &mut answer)) {
            return Judged::InPart(Box::new(InPart { ended, members: Arc::clone(members), slots }));
        }
        if ended.result.outcome != Outcome::Success {
            return Judged::Done(self.judge_whole(call, ended, Some(answer)));
        }
        self.answered = true;
        Judged::Done(Next::Answer(succeed(call, ended, answer)))
    }

    /// Settles an attempt and says what follows.
    pub(super) async fn judge_to_end(
        &mut self,
        call: &Call,
        ended: Try<P::Lease>,
        exchanged: Exchanged,
    ) -> Next<P::Lease> {
        match self.judge(call, ended, exchanged) {
            Judged::Done(next) => next,
            Judged::InPart(part) => self.judge_members(call, *part).await,
        }
    }

    /// The request's deadline came so early in its last attempt that the endpoint can't be blamed for it.
    fn is_cut_short(&self, attempt: u32, result: &AttemptResult) -> bool {
        let timeout = self.plan.map_or(Duration::ZERO, |plan| plan.timeout);
        attempt > 1 && result.outcome == Outcome::Timeout && result.latency < timeout / 2
    }

    /// What was said to each member, if the answer is not to be passed on as it is.
    fn take_apart(&self, call: &Call, answer: &mut Answer) -> Option<Vec<Slot>> {
        match &mut answer.body {
            AnswerBody::Members(slots) => Some(std::mem::take(slots)),
            AnswerBody::Whole(body) if self.assembly.is_some() && answer.status.is_success() => {
                find_answers(call.members()?, body).map(|answers| answers.slots)
            }
            AnswerBody::Whole(_) | AnswerBody::Partial(_) => None,
        }
    }

    /// An attempt that failed, and has one answer at most.
    fn judge_whole(&mut self, call: &Call, ended: Ended<P::Lease>, answer: Option<Answer>) -> Next<P::Lease> {
        let allowed = self.allows(&call.facts, &ended.result);
        let case = Case {
            request: &call.facts,
            sent: Some(&call.outgoing),
            result: &ended.result,
            may_retry: allowed,
            member: false,
        };
        let ask = self.ask_about(call, ended.attempt, ended.prior_sent);
        let decision = ended.lease.decide(&ask, &case);
        let blame = ended.lease.fail(&ask, &ended.result, &[(case, decision)]);
        self.held.extend(blame);
        self.answered |= decision.success;
        self.failures += u32::from(is_provoked(&ended.result) && !decision.success);
        if let (true, Expected::Single(id)) = (decision.landed, &call.outgoing.expected)
            && let Some(body) = landed::answer(&call.outgoing.body, id)
        {
            return Next::Answer(rebuilt(body));
        }
        self.prefer = self.prefer.then(decision.prefer);
        match (decision.action, answer) {
            (Action::Retry { delay }, answer) if allowed => {
                self.last = Some((ended.result, answer));
                Next::Again(delay, None)
            }
            // The endpoint's own error is the answer.
            (Action::Return, Some(Answer { status, content_type, body: AnswerBody::Whole(body) }))
                if decision.success && ended.result.rpc_error.is_some() && self.assembly.is_none() =>
            {
                Next::Answer(Reply { status, content_type, body: ReplyBody::Whole(body) })
            }
            (_, answer) => {
                self.last = Some((ended.result, answer));
                Next::GiveUp
            }
        }
    }

    /// A batch that was answered in part: what another endpoint may do better is asked elsewhere, the rest is kept.
    pub(super) async fn judge_members(&mut self, call: &Call, part: InPart<P::Lease>) -> Next<P::Lease> {
        let InPart { ended, members, mut slots } = part;
        let result = ended.result.clone();
        let troubles = troubles(call, &members, &slots, &result);
        let mut again = vec![false; slots.len()];
        let mut longest = Duration::ZERO;
        for (trouble, decision, allowed) in self.settle_members(call, ended, &troubles).await {
            match decision.action {
                Action::Retry { delay } if allowed => {
                    trouble.members.iter().for_each(|&position| again[position] = true);
                    longest = longest.max(delay);
                    self.prefer = self.prefer.then(decision.prefer);
                }
                _ if decision.landed => {
                    trouble.members.iter().for_each(|&position| land(&members[position], &mut slots[position]));
                }
                _ => {}
            }
        }
        let assembly = self.assembly.get_or_insert_with(|| Assembly::new(members));
        let rest = assembly.take(slots, &again);
        if !rest.is_empty() {
            self.last = Some((result, None));
            return Next::Again(longest, Some(call.of_members(rest)));
        }
        let refusal = refusal_after(&result, &call.facts);
        assembly.finish(|id| refusal.to_id(id)).map_or(Next::GiveUp, |body| Next::Answer(rebuilt(body)))
    }

    /// Settles the attempt, and tells for each trouble what the policy decided and whether the host allows another attempt.
    async fn settle_members<'t>(
        &mut self,
        call: &Call,
        ended: Ended<P::Lease>,
        troubles: &'t [Trouble],
    ) -> Vec<(&'t Trouble, Decision, bool)> {
        let Ended { lease, attempt, result, prior_sent } = ended;
        if troubles.is_empty() {
            lease.succeed(&call.facts, &result);
            self.answered = true;
            return Vec::new();
        }
        let mut decided = Vec::with_capacity(troubles.len());
        for trouble in troubles {
            give_way(&call.facts.policy_time).await;
            let may_retry = self.allows(&trouble.facts, &trouble.result);
            let sent = Some(&call.outgoing);
            let case = Case { request: &trouble.facts, sent, result: &trouble.result, may_retry, member: true };
            let decision = lease.decide(&self.ask_about(call, attempt, prior_sent), &case);
            decided.push((case, decision));
        }
        let blame = lease.fail(&self.ask_about(call, attempt, prior_sent), &result, &decided);
        let answered = decided.iter().all(|(_, decision)| decision.success);
        self.answered |= answered;
        self.failures += u32::from(!answered);
        self.held.extend(blame);
        troubles.iter().zip(decided).map(|(trouble, (case, decision))| (trouble, decision, case.may_retry)).collect()
    }

    pub(super) fn ask_about<'b>(&'b self, call: &'b Call, attempt: u32, prior_sent: bool) -> Ask<'b> {
        Ask { attempt, tried: &self.tried, prior_sent, ..Ask::first(&call.facts, clock::now()) }
    }

    /// Whether the host allows another attempt after this one.
    fn allows(&self, facts: &RequestFacts, result: &AttemptResult) -> bool {
        let now = clock::now();
        let max_attempts = self.plan.map_or(1, |plan| plan.max_attempts);
        may_retry(facts, result, self.trace.attempts, max_attempts, now) && self.may_spend(self.doubtful, facts, now)
    }

    /// The end without a success: an endpoint's own JSON-RPC error is passed on, and so is what a batch has of answers;
    /// anything else becomes a refusal.
    pub(super) fn conclude(&mut self, call: &Call, otherwise: Refusal) -> Result<Reply<P::Lease>, Refusal> {
        self.trace.given_up = true;
        let refusal = match &self.last {
            Some((result, _)) => refusal_after(result, &call.facts),
            None => otherwise,
        };
        if let Some(body) = self.assembly.as_ref().and_then(|assembly| assembly.finish(|id| refusal.to_id(id))) {
            return Ok(rebuilt(body));
        }
        match self.last.take() {
            Some((
                AttemptResult { rpc_error: Some(_), .. },
                Some(Answer { status, content_type, body: AnswerBody::Whole(body) }),
            )) => Ok(Reply { status, content_type, body: ReplyBody::Whole(body) }),
            _ => Err(refusal),
        }
    }
}

fn succeed<L: Lease>(call: &Call, ended: Ended<L>, answer: Answer) -> Reply<L> {
    let Ended { lease, result, .. } = ended;
    let body = match answer.body {
        AnswerBody::Partial(rest) => ReplyBody::Arriving { rest, lease, result },
        AnswerBody::Whole(body) => {
            lease.succeed(&call.facts, &result);
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
        return Refusal::EndpointLimited { retry_after: result.retry_after };
    }
    if result.is_own_lack() {
        return Refusal::OwnLack;
    }
    if result.outcome == Outcome::Timeout || clock::now() >= request.deadline {
        return Refusal::TimedOut;
    }
    Refusal::EndpointsFailed
}

fn log<L: Lease>(ended: &Try<L>, call: &Call, result: &AttemptResult) {
    tracing::debug!(
        method = call.facts.method,
        endpoint = &**ended.lease.endpoint_name(),
        attempt = ended.attempt,
        outcome = result.outcome.label(),
        detail = result.detail,
        status = result.http_status,
        rpc_code = result.rpc_error.as_ref().map(|e| e.code),
        ms = result.latency.as_secs_f64() * 1_000.0,
        "attempt"
    );
}
