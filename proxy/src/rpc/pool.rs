//! What the engine asks of an upstream: endpoints for attempts, and what to make of how they ended.

use std::sync::Arc;

use super::refusal::Refusal;
use super::target::Target;
use crate::model::{AttemptResult, Decision, Plan, Preference, RequestFacts, Tick};

/// What the engine asks of an upstream.
pub trait Pool {
    /// An attempt that was granted.
    type Lease: Lease;

    /// A request arrived: the retry budget grows with it.
    fn arrived(&self, now: Tick);

    /// Chooses an endpoint.
    ///
    /// # Errors
    /// [`Refusal::NoEndpoint`], [`Refusal::RateLimited`] or [`Refusal::ByPolicy`] when there is none.
    fn select(&self, ask: &Ask<'_>) -> Result<Self::Lease, Refusal>;

    /// How the attempts of a request are made whose first endpoint was chosen.
    fn plan(&self, ask: &Ask<'_>, first: &Self::Lease) -> Plan;

    /// Whether the retry budget allows another attempt.
    fn has_budget(&self, now: Tick) -> bool;

    /// An attempt is made beyond the request's first.
    fn spend(&self, extra: Extra);

    /// A hedge came to its end.
    fn hedged(&self, won: bool);
}

/// Why there is more than one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The one before failed.
    Retry,
    /// The one before takes long.
    Hedge,
}

/// A wish for an endpoint.
pub struct Ask<'a> {
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
    /// How its attempt ended.
    pub result: &'a AttemptResult,
    /// Whether the host would allow another attempt.
    pub may_retry: bool,
    /// It is about members of a batch.
    pub member: bool,
}

/// An attempt at an endpoint, from selection to settlement. Dropping it settles it as canceled.
pub trait Lease: Send {
    /// Where the request goes.
    fn target(&self) -> &Arc<Target>;

    /// The endpoint's position, for `tried`.
    fn index(&self) -> u32;

    /// The endpoint's name, for the log.
    fn endpoint_name(&self) -> &Arc<str>;

    /// Larger batches are split for this endpoint.
    fn max_batch_size(&self) -> Option<usize>;

    /// Ends the attempt with a clean success.
    fn succeed(self, request: &RequestFacts, result: &AttemptResult);

    /// Ends the attempt with anything else: `result` of the whole, and what the policy is asked about. One decision for each
    /// of `cases`.
    fn fail(self, ask: &Ask<'_>, result: &AttemptResult, cases: &[Case<'_>]) -> Vec<Decision>;

    /// Ends the attempt because another one was faster.
    fn lose(self);
}

impl<'a> Ask<'a> {
    /// The first endpoint for `request`.
    pub fn first(request: &'a RequestFacts, now: Tick) -> Self {
        Ask { request, attempt: 1, tried: &[], prior_sent: false, prefer: Preference::None, hedge: false, now }
    }
}
