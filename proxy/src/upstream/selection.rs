//! The engine's questions to an upstream: which endpoint takes an attempt, and what follows from
//! one that failed.

use crate::client::Outgoing;
use crate::model::{AttemptResult, Preference, RequestFacts, Tick};

/// Why there is more than one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The one before failed.
    Retry,
    /// The one before takes long.
    Hedge,
}

/// A wish for an endpoint.
pub struct Selection<'a> {
    /// For what.
    pub request: &'a RequestFacts,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Endpoints that had their turn.
    pub tried: &'a [u32],
    /// Some of an earlier attempt reached the wire.
    pub prior_sent: bool,
    /// Who should take it, in comparison to those that were tried.
    pub prefer: Preference,
    /// Another attempt is still under way.
    pub hedge: bool,
    /// The present.
    pub now: Tick,
}

/// What the retry policy is asked about.
pub struct Case<'a> {
    /// The request, or some members of its batch as one of their own.
    pub request: &'a RequestFacts,
    /// What the endpoint got: the whole batch, also when it is about some of its members. None once
    /// it is gone, after the beginning of a long answer: then the endpoint said no words.
    pub sent: Option<&'a Outgoing>,
    /// How its attempt ended.
    pub result: &'a AttemptResult,
    /// Whether the host would allow another attempt.
    pub may_retry: bool,
    /// It is about members of a batch.
    pub member: bool,
}

impl<'a> Selection<'a> {
    /// The first endpoint for `request`.
    pub fn first(request: &'a RequestFacts, now: Tick) -> Self {
        Selection { request, attempt: 1, tried: &[], prior_sent: false, prefer: Preference::None, hedge: false, now }
    }
}
