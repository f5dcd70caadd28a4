//! Sending a call to one endpoint: whole, or a long batch in pieces that the endpoint accepts.
//!
//! The pieces of a batch are sent concurrently and are one attempt. Their answers are assembled
//! member by member; a failed piece leaves its members open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use super::call::Call;
use crate::client::HedgeTimer;
use crate::client::Target;
use crate::client::{Answer, AnswerBody, Exchanged, exchange};
use crate::jsonrpc::batch::{MemberAnswer, MemberRequest, find_answers};
use crate::model::{AttemptResult, Outcome, RpcError, Tick};
use crate::upstream::Attempt;

/// Sends `call` to the endpoint of `lease` now, and reads the answer within `timeout` and the
/// deadline. Signals `timer` when it takes long.
pub(super) fn send<'c>(
    call: &'c Call,
    lease: &Attempt,
    now: Tick,
    timeout: Duration,
    timer: &'c HedgeTimer,
) -> impl Future<Output = Exchanged> + Send + use<'c> {
    let target = lease.target().clone();
    let most = lease.max_batch_size().unwrap_or(usize::MAX);
    let budget = timeout.min(call.facts.deadline.since(now));
    async move {
        match call.members().filter(|members| members.len() > most) {
            None => exchange(&target, &call.outgoing, now, budget, timer).await,
            // Boxed, since it is rare.
            Some(members) => {
                let calls = members.chunks(most).map(|piece| (piece, call.of_members(piece.to_vec())));
                Box::pin(send_pieces(calls.collect(), &target, now, budget, timer)).await
            }
        }
    }
}

async fn send_pieces(
    pieces: Vec<(&[MemberRequest], Call)>,
    target: &Arc<Target>,
    now: Tick,
    budget: Duration,
    timer: &HedgeTimer,
) -> Exchanged {
    let ended = pieces.iter().map(|(_, call)| exchange(target, &call.outgoing, now, budget, timer));
    let ended = join_all(ended).await;
    put_together(&pieces, ended)
}

fn put_together(pieces: &[(&[MemberRequest], Call)], ended: Vec<Exchanged>) -> Exchanged {
    let mut slots = Vec::new();
    let mut whole: Option<AttemptResult> = None;
    for ((piece, _), (result, answer)) in pieces.iter().zip(ended) {
        slots.extend(slots_of(piece, &result, answer));
        whole = Some(match whole {
            None => result,
            Some(before) => worse(before, result),
        });
    }
    let result = whole.unwrap_or_else(|| AttemptResult::failed(Outcome::BadResponse, false, "a batch without members"));
    let said = slots.iter().any(MemberAnswer::is_said);
    let answer =
        said.then_some(Answer { status: StatusCode::OK, content_type: None, body: AnswerBody::Members(slots) });
    (result, answer)
}

fn slots_of(members: &[MemberRequest], result: &AttemptResult, answer: Option<Answer>) -> Vec<MemberAnswer> {
    let fate = |member: &MemberRequest| match (&member.id, &result.rpc_error) {
        (None, _) => MemberAnswer::Notified,
        (Some(id), Some(error)) => MemberAnswer::Failed(error_to(id, error), error.clone()),
        (Some(_), None) => MemberAnswer::Open,
    };
    let whole = || members.iter().map(fate).collect();
    match answer.map(|answer| answer.body) {
        Some(AnswerBody::Members(slots)) => slots,
        Some(AnswerBody::Whole(body)) if result.outcome == Outcome::Success => {
            find_answers(members, &body).map_or_else(whole, |answers| answers.slots)
        }
        _ => whole(),
    }
}

/// An error about a whole piece, as the answer to one of its members.
fn error_to(id: &[u8], error: &RpcError) -> Bytes {
    let error = json!({ "code": error.code, "message": error.message });
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, String::from_utf8_lossy(id)))
}

/// The first failure decides the result of the whole.
fn worse(before: AttemptResult, next: AttemptResult) -> AttemptResult {
    let (bytes_sent, latency) = (before.bytes_sent || next.bytes_sent, before.latency.max(next.latency));
    let first = if before.outcome == Outcome::Success { next } else { before };
    AttemptResult { bytes_sent, latency, ..first }
}
