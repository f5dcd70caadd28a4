//! What the engine asks of an upstream: endpoints for attempts, and what to make of how they ended.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::Outgoing;
use super::refusal::Refusal;
use super::target::Target;
use crate::model::{AttemptResult, Blame, Decision, Elsewhere, Plan, Preference, RequestFacts, Tick};

/// What the engine asks of an upstream.
pub trait Pool {
    /// An attempt that was granted.
    type Lease: Lease;

    /// A request of this client arrived: its retry budget grows with it.
    fn arrived(&self, client: u64, now: Tick);

    /// Chooses an endpoint.
    ///
    /// # Errors
    /// [`Refusal::NoEndpoint`], [`Refusal::RateLimited`] or [`Refusal::ByPolicy`] when there is none.
    fn select(&self, ask: &Ask<'_>) -> Result<Self::Lease, Refusal>;

    /// How the attempts of a request are made whose first endpoint was chosen.
    fn plan(&self, ask: &Ask<'_>, first: &Self::Lease) -> Plan;

    /// Whether the client's retry budget allows another attempt.
    fn has_budget(&self, client: u64, now: Tick) -> bool;

    /// An attempt is made beyond the request's first, at the cost of `client` if there is one to bear it.
    fn spend(&self, extra: Extra, client: Option<u64>);

    /// Holds against an endpoint what the rest of the request bears out.
    fn rule(&self, blame: &Blame, elsewhere: Elsewhere, now: Tick);

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
    /// What the endpoint got: the whole batch, also when it is about some of its members. None once it is gone, after the
    /// beginning of a long answer: then the endpoint said no words.
    pub sent: Option<&'a Outgoing>,
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

    /// The endpoint sends an answer that takes its time: it isn't silent.
    fn heard(&self);

    /// Ends the attempt with a clean success.
    fn succeed(self, request: &RequestFacts, result: &AttemptResult);

    /// Whether its endpoint was known to be doubtful when the host let it be chosen: it is on its way back.
    fn is_doubtful(&self) -> bool;

    /// Whether it is the trial of a half-open endpoint.
    fn is_trial(&self) -> bool;

    /// How long its endpoint may say nothing before it counts as silent.
    fn silence_limit(&self) -> Duration;

    /// Whether its endpoint, having said nothing for that long, needs help: it answers nobody, or this attempt is its trial.
    fn is_silent(&self, now: Tick) -> bool;

    /// Asks the retry policy, before the attempt ends with anything but a clean success.
    fn decide(&self, ask: &Ask<'_>, case: &Case<'_>) -> Decision;

    /// Ends the attempt with anything else: `result` of the whole, and each case with its decision. Returns what is held against
    /// the endpoint if the rest of the request bears it out.
    fn fail(self, ask: &Ask<'_>, result: &AttemptResult, decided: &[(Case<'_>, Decision)]) -> Option<Blame>;

    /// Gives the attempt up.
    fn lose(self);

    /// Ends the attempt because another one was faster, which took so long.
    fn overtaken(self, ask: &Ask<'_>, sent: &Outgoing, took: Duration);
}

impl<'a> Ask<'a> {
    /// The first endpoint for `request`.
    pub fn first(request: &'a RequestFacts, now: Tick) -> Self {
        Ask { request, attempt: 1, tried: &[], prior_sent: false, prefer: Preference::None, hedge: false, now }
    }
}
