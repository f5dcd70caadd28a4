//! The response to a client's batch, assembled from the answers of several attempts.

use std::sync::Arc;

use bytes::Bytes;

use crate::jsonrpc::batch::{MemberAnswer, MemberRequest, array};

/// The answers to a client's batch so far.
#[derive(Debug)]
pub(super) struct BatchResponse {
    requests: Arc<[MemberRequest]>,
    held: Vec<Member>,
    /// Positions in the client's batch of the members of the request under way.
    asked: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Member {
    Nothing,
    /// An error that is passed on unless a later attempt has something better.
    Meanwhile(Bytes),
    Final(Bytes),
    Notified,
}

impl BatchResponse {
    /// A response without answers, whose members are all under way.
    pub(super) fn new(requests: Arc<[MemberRequest]>) -> Self {
        let held = requests.iter().map(|r| if r.id.is_some() { Member::Nothing } else { Member::Notified }).collect();
        BatchResponse { held, asked: (0..requests.len()).collect(), requests }
    }

    /// Stores the answers of an attempt. `again` marks the members of the request under way that
    /// are to be sent elsewhere; they are returned, and are the next request.
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

    /// The whole response. `refuse` writes the error of an unanswered member. `None` when no
    /// endpoint answered any member.
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
mod tests;
