//! The response to a client's batch, put together from the answers of several attempts.

use std::sync::Arc;

use bytes::Bytes;

use crate::jsonrpc::batch::{MemberAnswer, MemberRequest, array};

/// The answer to a client's batch, as far as attempts have given it.
#[derive(Debug)]
pub(super) struct BatchResponse {
    requests: Arc<[MemberRequest]>,
    held: Vec<Member>,
    /// The position in the client's batch of each member of the request that is under way.
    asked: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Member {
    Nothing,
    /// An error that is passed on if no later attempt has anything better.
    Meanwhile(Bytes),
    Final(Bytes),
    Notified,
}

impl BatchResponse {
    /// Nothing is answered yet, and all members are asked for.
    pub(super) fn new(requests: Arc<[MemberRequest]>) -> Self {
        let held = requests.iter().map(|r| if r.id.is_some() { Member::Nothing } else { Member::Notified }).collect();
        BatchResponse { held, asked: (0..requests.len()).collect(), requests }
    }

    /// Takes what an attempt said. `again` tells which members of the request under way are to be
    /// asked elsewhere; those are returned, and are what is asked for from now on.
    pub(super) fn take(&mut self, slots: Vec<MemberAnswer>, again: &[bool]) -> Vec<MemberRequest> {
        let mut rest = Vec::new();
        let asked = std::mem::take(&mut self.asked);
        for ((slot, position), &again) in slots.into_iter().zip(asked).zip(again) {
            match slot {
                MemberAnswer::Answered(raw) => self.held[position] = Member::Final(raw),
                MemberAnswer::Failed(raw, _) if again => self.held[position] = Member::Meanwhile(raw),
                MemberAnswer::Failed(raw, _) => self.held[position] = Member::Final(raw),
                MemberAnswer::Open | MemberAnswer::Notified => {}
            }
            if again {
                self.asked.push(position);
                rest.push(self.requests[position].clone());
            }
        }
        rest
    }

    /// The whole answer; `refuse` gives it for a member that nobody answered. `None` when there is
    /// nothing of an endpoint's.
    pub(super) fn finish(&self, refuse: impl Fn(&[u8]) -> Bytes) -> Option<Bytes> {
        let is_endpoints = |held: &Member| matches!(held, Member::Final(_) | Member::Meanwhile(_));
        if !self.held.iter().any(is_endpoints) {
            return None;
        }
        let members = self.held.iter().zip(&*self.requests).filter_map(|(held, request)| match held {
            Member::Final(raw) | Member::Meanwhile(raw) => Some(raw.clone()),
            Member::Nothing => request.id.as_deref().map(&refuse),
            Member::Notified => None,
        });
        Some(array(members))
    }
}

#[cfg(test)]
#[path = "batch_response_tests.rs"]
mod tests;
