//! A request as endpoints get it: the client's own, the rest of its batch, or a piece of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::client::Outgoing;
use crate::jsonrpc::batch::{Expected, MemberAnswer, MemberRequest, array};
use crate::jsonrpc::inspect::{Inspected, method_of, of_members};
use crate::model::{AttemptResult, Outcome, RequestFacts, RequestShape, RpcError};

/// The bytes to send, and the facts about them.
#[derive(Clone, Debug)]
pub struct Call {
    /// The facts for policies and rules.
    pub facts: RequestFacts,
    /// The request for endpoints.
    pub outgoing: Outgoing,
}

impl Call {
    /// The members of a batch, if their answers can be told apart.
    pub(super) fn members(&self) -> Option<&Arc<[MemberRequest]>> {
        match &self.outgoing.expected {
            Expected::Batch(members) => Some(members),
            Expected::Single(_) | Expected::Nothing => None,
        }
    }

    /// A batch of some of the members, for the same client.
    pub(super) fn of_members(&self, members: Vec<MemberRequest>) -> Call {
        let body = array(members.iter().map(|member| member.raw.clone()));
        let mut names: Vec<String> = members.iter().map(|member| method_of(&member.raw)).collect();
        names.sort_unstable();
        names.dedup();
        let Inspected { shape, expected, renumbered: _ } = of_members(members, names);
        let resendable = shape.is_resendable();
        let facts = RequestFacts { shape, body_bytes: body.len(), ..self.facts.clone() };
        Call { facts, outgoing: Outgoing { body, expected, resendable, whole: true, ..self.outgoing.clone() } }
    }

    /// The facts of one member as a request of its own.
    fn facts_of(&self, member: &MemberRequest) -> RequestFacts {
        // Field by field: a copy of the batch's shape for each member would take quadratic time.
        let RequestFacts { shape: _, ref http, body_bytes: _, client_key, seed, deadline, ref policy_time } =
            self.facts;
        RequestFacts {
            shape: RequestShape::single(method_of(&member.raw), member.class),
            http: http.clone(),
            body_bytes: member.raw.len(),
            client_key,
            seed,
            deadline,
            policy_time: policy_time.clone(),
        }
    }
}

/// Members of a batch that failed in the same way: one question to the retry policy covers all of
/// them.
#[derive(Debug)]
pub(super) struct MemberFailure {
    /// The facts of one of them as a single request.
    pub(super) facts: RequestFacts,
    /// The result of one of them as a single attempt.
    pub(super) result: AttemptResult,
    /// Their positions in the batch.
    pub(super) members: Vec<usize>,
}

/// The failures of members of `call`, whose attempt ended as `whole`.
pub(super) fn member_failures(
    call: &Call,
    members: &[MemberRequest],
    slots: &[MemberAnswer],
    whole: &AttemptResult,
) -> Vec<MemberFailure> {
    let mut failures: Vec<MemberFailure> = Vec::new();
    let mut alike: HashMap<(String, Option<&RpcError>), usize> = HashMap::new();
    for (position, (slot, member)) in slots.iter().zip(members).enumerate() {
        let error = match slot {
            MemberAnswer::Failed(_, error) => Some(error),
            MemberAnswer::Open => None,
            MemberAnswer::Answered(_) | MemberAnswer::Notified => continue,
        };
        let facts = call.facts_of(member);
        match alike.entry((facts.shape.method.clone(), error)) {
            Entry::Occupied(known) => failures[*known.get()].members.push(position),
            Entry::Vacant(new) => {
                new.insert(failures.len());
                failures.push(MemberFailure { result: result(whole, error), facts, members: vec![position] });
            }
        }
    }
    failures
}

/// A member's error is the result of an attempt with that error; a member without an answer has the
/// outcome of the whole.
fn result(whole: &AttemptResult, error: Option<&RpcError>) -> AttemptResult {
    let outcome = match (error, whole.outcome) {
        (Some(_), _) => Outcome::RpcError,
        (None, Outcome::Success | Outcome::RpcError) => Outcome::BadResponse,
        (None, outcome) => outcome,
    };
    AttemptResult { outcome, rpc_error: error.cloned(), ..whole.clone() }
}
