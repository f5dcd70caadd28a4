//! A request as endpoints get it: the client's own, what is left of its batch, or a piece of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::client::Outgoing;
use crate::jsonrpc::batch::{Expected, MemberAnswer, MemberRequest, array};
use crate::jsonrpc::inspect::{Inspected, method_of, of_members};
use crate::model::{AttemptResult, Outcome, RequestFacts, RequestShape, RpcError};

/// What is sent, and what is known about it.
#[derive(Clone, Debug)]
pub struct Call {
    /// What policies and rules see.
    pub facts: RequestFacts,
    /// What endpoints get.
    pub outgoing: Outgoing,
}

impl Call {
    /// The members of its batch, if it is one whose answers can be told apart.
    pub(super) fn members(&self) -> Option<&Arc<[MemberRequest]>> {
        match &self.outgoing.expected {
            Expected::Batch(members) => Some(members),
            Expected::Single(_) | Expected::Nothing => None,
        }
    }

    /// A batch of some of its members, for the same client.
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

    /// One of its members by itself.
    fn facts_of(&self, member: &MemberRequest) -> RequestFacts {
        // Named one by one: a copy of the batch's shape for each member would take quadratic time.
        let RequestFacts { shape: _, body_bytes: _, client_key, seed, deadline, ref policy_time } = self.facts;
        RequestFacts {
            shape: RequestShape::single(method_of(&member.raw), member.class),
            body_bytes: member.raw.len(),
            client_key,
            seed,
            deadline,
            policy_time: policy_time.clone(),
        }
    }
}

/// Members of a batch that went wrong in the same way: the retry policy is asked once about all of
/// them.
#[derive(Debug)]
pub(super) struct MemberFailure {
    /// As a request of its own.
    pub(super) facts: RequestFacts,
    /// As an attempt of its own.
    pub(super) result: AttemptResult,
    /// Positions in the batch.
    pub(super) members: Vec<usize>,
}

/// What went wrong with the members of `call`, whose attempt ended as `whole` says.
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

/// A member's error is an attempt's that ended so; a member without an answer shares the fate of
/// the whole.
fn result(whole: &AttemptResult, error: Option<&RpcError>) -> AttemptResult {
    let outcome = match (error, whole.outcome) {
        (Some(_), _) => Outcome::RpcError,
        (None, Outcome::Success | Outcome::RpcError) => Outcome::BadResponse,
        (None, outcome) => outcome,
    };
    AttemptResult { outcome, rpc_error: error.cloned(), ..whole.clone() }
}
