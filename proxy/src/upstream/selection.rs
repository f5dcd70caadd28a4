//! The engine's queries to an upstream: an endpoint for an attempt, and a decision about a failed
//! one.

use crate::client::Outgoing;
use crate::model::{AttemptResult, Preference, RequestFacts, Tick};

/// The reason for an additional attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The previous attempt failed.
    Retry,
    /// The previous attempt takes long.
    Hedge,
}

/// A query for an endpoint.
pub struct Selection<'a> {
    /// The request.
    pub request: &'a RequestFacts,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Endpoints that were tried.
    pub tried: &'a [u32],
    /// Bytes of an earlier attempt were sent.
    pub prior_sent: bool,
    /// The preferred endpoint, compared with those that were tried.
    pub prefer: Preference,
    /// Another attempt is still under way.
    pub hedge: bool,
    /// The present time.
    pub now: Tick,
}

/// A query to the retry policy.
pub struct Case<'a> {
    /// The request, or some members of its batch as a request of their own.
    pub request: &'a RequestFacts,
    /// The request as sent: the whole batch, even for a query about some members. None once it was
    /// dropped, after the beginning of a long response: then there is no message to search.
    pub sent: Option<&'a Outgoing>,
    /// The result of the attempt.
    pub result: &'a AttemptResult,
    /// Whether the host would allow another attempt.
    pub may_retry: bool,
    /// The query is about members of a batch.
    pub member: bool,
}

impl<'a> Selection<'a> {
    /// A query for the first endpoint of `request`.
    pub fn first(request: &'a RequestFacts, now: Tick) -> Self {
        Selection { request, attempt: 1, tried: &[], prior_sent: false, prefer: Preference::None, hedge: false, now }
    }
}
