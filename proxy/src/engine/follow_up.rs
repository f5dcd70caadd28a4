//! The consequences of an attempt: it is settled, and leads to a response, a part of one, or
//! another attempt.
//!
//! Invariants: every attempt that ended is settled here, once: as a success, or with the retry
//! policy's decisions. A batch may need many decisions; the thread is yielded between them
//! ([`give_way`]), and if the client goes away meanwhile the attempt settles as canceled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::attempts::{Reply, ReplyBody, Run};
use super::batch_response::BatchResponse;
use super::call::{Call, MemberFailure, member_failures};
use super::fairness::give_way;
use super::streaming::StreamingReply;
use crate::chain::Chain;
use crate::client::{Answer, AnswerBody, Exchanged};
use crate::clock;
use crate::jsonrpc::Refusal;
use crate::jsonrpc::batch::{Expected, MemberAnswer, MemberRequest, error_for_each, find_answers};
use crate::model::{Action, AttemptResult, Decision, Outcome, RequestFacts, is_provoked, may_retry};
use crate::upstream::{Attempt, Case, Selection};

/// An attempt that is under way.
pub(super) struct Try {
    pub(super) lease: Attempt,
    pub(super) attempt: u32,
    /// It began beside another attempt.
    pub(super) hedge: bool,
}

/// An attempt that ended and isn't settled yet.
pub(super) struct Ended {
    lease: Attempt,
    attempt: u32,
    result: AttemptResult,
    /// An attempt before this one reached the wire.
    prior_sent: bool,
}

/// An attempt at a batch that was answered in part.
struct InPart {
    ended: Ended,
    members: Arc<[MemberRequest]>,
    slots: Vec<MemberAnswer>,
}

/// An attempt that is settled, or whose members need decisions.
enum Judged {
    Done(Next),
    /// [`Run::judge_members`] decides what follows.
    InPart(Box<InPart>),
}

/// The consequence of an attempt.
pub(super) enum Next {
    Answer(Reply),
    /// Another attempt after a delay, with the rest of the batch if a part of it was answered.
    Again(Duration, Option<Box<Call>>),
    /// Nothing more can be tried.
    GiveUp,
}

impl Run<'_> {
    /// Settles an attempt and decides what follows, unless it is a batch that was answered in part.
    fn judge(&mut self, call: &Call, ended: Try, (result, answer): Exchanged) -> Judged {
        log(&ended, call, &result);
        self.trace.endpoint = Some(Arc::clone(ended.lease.endpoint_name()));
        self.trace.outcome = Some(result.outcome);
        let Try { lease, attempt, hedge: _ } = ended;
        let prior_sent = self.prior_sent;
        self.doubtful = lease.is_doubtful();
        self.prior_sent |= result.bytes_sent;
        if self.is_cut_short(attempt, &result) {
            lease.lose();
            self.last = Some((result, None));
            return Judged::Done(Next::GiveUp);
        }
        let mut ended = Ended { lease, attempt, result, prior_sent };
        let Some(mut answer) = answer else { return Judged::Done(self.judge_whole(call, ended, None)) };
        if let (Some(members), Some(slots)) = (call.members(), self.take_apart(call, &mut answer)) {
            ended.lease.answered(ended.result.outcome, clock::now());
            return Judged::InPart(Box::new(InPart { ended, members: Arc::clone(members), slots }));
        }
        if ended.result.outcome != Outcome::Success {
            return Judged::Done(self.judge_whole(call, ended, Some(answer)));
        }
        self.answered.add(ended.lease.index());
        Judged::Done(Next::Answer(succeed(call, ended, answer)))
    }

    /// Settles an attempt and decides what follows, member by member if needed.
    pub(super) async fn judge_to_end(&mut self, call: &Call, ended: Try, exchanged: Exchanged) -> Next {
        match self.judge(call, ended, exchanged) {
            Judged::Done(next) => next,
            // Boxed, since it is rare.
            Judged::InPart(part) => Box::pin(self.judge_members(call, *part)).await,
        }
    }

    /// Whether the request's deadline ended its last attempt too early to blame the endpoint.
    fn is_cut_short(&self, attempt: u32, result: &AttemptResult) -> bool {
        let timeout = self.plan.map_or(Duration::ZERO, |plan| plan.timeout);
        attempt > 1 && result.outcome == Outcome::Timeout && result.latency < timeout / 2
    }

    /// The answers by member, if the response can't be passed on as it is.
    fn take_apart(&self, call: &Call, answer: &mut Answer) -> Option<Vec<MemberAnswer>> {
        match &mut answer.body {
            AnswerBody::Members(slots) => Some(std::mem::take(slots)),
            AnswerBody::Whole(body) if self.response.is_some() && answer.status.is_success() => {
                find_answers(call.members()?, body).map(|answers| answers.slots)
            }
            AnswerBody::Whole(_) | AnswerBody::Partial(_) => None,
        }
    }

    /// Settles a failed attempt with one answer at most.
    fn judge_whole(&mut self, call: &Call, ended: Ended, answer: Option<Answer>) -> Next {
        let allowed = self.allows(&call.facts, &ended.result);
        let case = Case {
            request: &call.facts,
            sent: Some(&call.outgoing),
            result: &ended.result,
            may_retry: allowed,
            member: false,
        };
        let selection = self.selection_of(call, ended.attempt, ended.prior_sent);
        let decision = ended.lease.decide(&selection, &case);
        let index = ended.lease.index();
        let blame = ended.lease.fail(&selection, &ended.result, &[(case, decision)]);
        self.held.extend(blame);
        if decision.success {
            self.answered.add(index);
        }
        self.failures += u32::from(is_provoked(&ended.result) && !decision.success);
        if let (true, Expected::Single(id)) = (decision.landed, &call.outgoing.expected)
            && let Some(body) = self.chain().known_answer(&call.outgoing.body, id)
        {
            return Next::Answer(rebuilt(body));
        }
        self.prefer = self.prefer.then(decision.prefer);
        match (decision.action, answer) {
            (Action::Retry { delay }, answer) if allowed => {
                self.last = Some((ended.result, answer));
                Next::Again(delay, None)
            }
            // The endpoint's own error is the response.
            (Action::Return, Some(answer @ Answer { body: AnswerBody::Whole(_), .. }))
                if decision.success && ended.result.rpc_error.is_some() && self.response.is_none() =>
            {
                Next::Answer(error_of(call, answer, &ended.result))
            }
            (_, answer) => {
                self.last = Some((ended.result, answer));
                Next::GiveUp
            }
        }
    }

    /// Settles a batch that was answered in part: members that another endpoint may answer better
    /// are sent elsewhere, the other answers are kept.
    async fn judge_members(&mut self, call: &Call, part: InPart) -> Next {
        let InPart { ended, members, mut slots } = part;
        let result = ended.result.clone();
        let failures = member_failures(call, &members, &slots, &result);
        let mut again = vec![false; slots.len()];
        let mut longest = Duration::ZERO;
        for (failure, decision, allowed) in self.settle_members(call, ended, &failures).await {
            match decision.action {
                Action::Retry { delay } if allowed => {
                    failure.members.iter().for_each(|&position| again[position] = true);
                    longest = longest.max(delay);
                    self.prefer = self.prefer.then(decision.prefer);
                }
                _ if decision.landed => {
                    let chain = self.chain();
                    failure.members.iter().for_each(|&position| land(chain, &members[position], &mut slots[position]));
                }
                _ => {}
            }
        }
        let response = self.response.get_or_insert_with(|| BatchResponse::new(members));
        let rest = response.take(slots, &again);
        if !rest.is_empty() {
            self.last = Some((result, None));
            return Next::Again(longest, Some(Box::new(call.of_members(rest))));
        }
        let refusal = refusal_after(&result, &call.facts);
        response.finish(|id| refusal.to_id(id)).map_or(Next::GiveUp, |body| Next::Answer(rebuilt(body)))
    }

    /// Settles the attempt. Returns each failure with the policy's decision and whether the host
    /// allows another attempt.
    async fn settle_members<'t>(
        &mut self,
        call: &Call,
        ended: Ended,
        failures: &'t [MemberFailure],
    ) -> Vec<(&'t MemberFailure, Decision, bool)> {
        let Ended { lease, attempt, result, prior_sent } = ended;
        if failures.is_empty() {
            self.answered.add(lease.index());
            lease.succeed(&call.facts, &result);
            return Vec::new();
        }
        let (mut decided, mut late) = (Vec::with_capacity(failures.len()), false);
        for failure in failures {
            late |= give_way(&call.facts.policy_time).await && call.facts.deadline <= clock::now();
            let may_retry = !late && self.allows(&failure.facts, &failure.result);
            let sent = Some(&call.outgoing);
            let case = Case { request: &failure.facts, sent, result: &failure.result, may_retry, member: true };
            let decision = if late {
                Decision::RETURN
            } else {
                lease.decide(&self.selection_of(call, attempt, prior_sent), &case)
            };
            decided.push((case, decision));
        }
        let index = lease.index();
        let blame = lease.fail(&self.selection_of(call, attempt, prior_sent), &result, &decided);
        let answered = decided.iter().all(|(_, decision)| decision.success);
        if answered {
            self.answered.add(index);
        }
        self.failures += u32::from(!answered);
        self.held.extend(blame);
        failures.iter().zip(decided).map(|(failure, (case, decision))| (failure, decision, case.may_retry)).collect()
    }

    pub(super) fn selection_of<'b>(&'b self, call: &'b Call, attempt: u32, prior_sent: bool) -> Selection<'b> {
        Selection { attempt, tried: &self.tried, prior_sent, ..Selection::first(&call.facts, clock::now()) }
    }

    fn chain(&self) -> Chain {
        self.upstream.settings().methods.chain()
    }

    /// Whether the host allows another attempt after this one.
    fn allows(&self, facts: &RequestFacts, result: &AttemptResult) -> bool {
        let now = clock::now();
        let max_attempts = self.plan.map_or(1, |plan| plan.max_attempts);
        may_retry(facts, result, self.trace.attempts, max_attempts, now) && self.may_spend(self.doubtful, facts, now)
    }

    /// The end without a success: passes on an endpoint's own JSON-RPC error or a batch's partial
    /// answers; anything else becomes a refusal.
    pub(super) fn conclude(&mut self, call: &Call, otherwise: Refusal) -> Result<Reply, Refusal> {
        self.trace.given_up = true;
        let refusal = match &self.last {
            Some((result, _)) => refusal_after(result, &call.facts),
            None => otherwise,
        };
        if let Some(body) = self.response.as_ref().and_then(|response| response.finish(|id| refusal.to_id(id))) {
            return Ok(rebuilt(body));
        }
        match self.last.take() {
            Some((result, Some(answer @ Answer { body: AnswerBody::Whole(_), .. }))) if result.rpc_error.is_some() => {
                Ok(error_of(call, answer, &result))
            }
            _ => Err(refusal),
        }
    }
}

fn succeed(call: &Call, ended: Ended, answer: Answer) -> Reply {
    let Ended { lease, attempt, result, .. } = ended;
    let body = match answer.body {
        AnswerBody::Partial(rest) => {
            ReplyBody::Streaming(Box::new(StreamingReply::new(rest, lease, result, &call.facts, attempt)))
        }
        AnswerBody::Whole(body) => {
            lease.succeed(&call.facts, &result);
            ReplyBody::Whole(body)
        }
        // Split into members before.
        AnswerBody::Members(_) => ReplyBody::Whole(Bytes::new()),
    };
    Reply { status: answer.status, content_type: answer.content_type, retry_after: None, body }
}

/// A reply with an endpoint's own JSON-RPC error. A single error about a batch becomes the answer
/// to each of its members.
fn error_of(call: &Call, answer: Answer, result: &AttemptResult) -> Reply {
    let Answer { status, content_type, body } = answer;
    let body = match body {
        AnswerBody::Whole(body) => body,
        AnswerBody::Members(_) | AnswerBody::Partial(_) => Bytes::new(),
    };
    let each = call.members().and_then(|members| error_for_each(members, &body));
    let body = ReplyBody::Whole(each.unwrap_or(body));
    Reply { status, content_type, retry_after: result.retry_after, body }
}

/// A reply that the proxy assembled.
fn rebuilt(body: Bytes) -> Reply {
    Reply { status: StatusCode::OK, content_type: None, retry_after: None, body: ReplyBody::Whole(body) }
}

/// Replaces the error of a member that the endpoint has carried out before with the original
/// answer.
fn land(chain: Chain, member: &MemberRequest, slot: &mut MemberAnswer) {
    if let Some(answer) = member.id.as_deref().and_then(|id| chain.known_answer(&member.raw, id)) {
        *slot = MemberAnswer::Answered(answer);
    }
}

/// The refusal for the client when the last attempt had no answer of its own.
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

fn log(ended: &Try, call: &Call, result: &AttemptResult) {
    tracing::debug!(
        method = call.facts.shape.method,
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
