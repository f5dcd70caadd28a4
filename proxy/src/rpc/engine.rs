//! The attempt engine: endpoints are tried until there is an answer or no further attempt is allowed.
//!
//! ```text
//! select ── exchange ── settle ──┬─ success ────────────────► the answer
//!   ▲                            ├─ the policy says return ──► the answer, or a refusal
//!   └────── delay ◄── may retry ─┘
//! ```
//!
//! Invariants: every selected endpoint is settled exactly once (a [`Lease`] that is dropped settles itself as canceled);
//! no endpoint is tried twice; a retry happens only where [`may_retry`] and the policy agree.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::exchange::{Answer, AnswerBody, Arriving, Outgoing, exchange};
use super::refusal::Refusal;
use super::target::Target;
use crate::clock;
use crate::model::{Action, AttemptResult, Outcome, RequestFacts, Tick, may_retry};

/// What the engine asks of an upstream.
pub trait Pool {
    /// An attempt that was granted.
    type Lease: Lease;

    /// Chooses an endpoint for attempt number `attempt` (from 1), none of `tried`.
    ///
    /// # Errors
    /// [`Refusal::NoEndpoint`] or [`Refusal::RateLimited`] when there is none.
    fn select(&self, request: &RequestFacts, attempt: u32, tried: &[u32], now: Tick) -> Result<Self::Lease, Refusal>;

    /// Attempts that a request may have.
    fn max_attempts(&self) -> u32;
}

/// An attempt at an endpoint, from selection to settlement. Dropping it settles it as canceled.
pub trait Lease: Send {
    /// Where the request goes.
    fn target(&self) -> &Arc<Target>;

    /// The endpoint's position, for `tried`.
    fn index(&self) -> u32;

    /// The endpoint's name, for the log.
    fn endpoint_name(&self) -> &Arc<str>;

    /// Ends the attempt: statistics, cooldown, metrics and, unless it is a clean success, the retry policy.
    fn settle(
        self,
        request: &RequestFacts,
        result: &AttemptResult,
        attempt: u32,
        may_retry: bool,
        tried: &[u32],
    ) -> Action;
}

/// What the client gets.
pub struct Reply<L> {
    /// The endpoint's HTTP status.
    pub status: StatusCode,
    /// The endpoint's `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// The endpoint's body.
    pub body: ReplyBody<L>,
}

/// The body of a reply.
pub enum ReplyBody<L> {
    /// All of it.
    Whole(Bytes),
    /// A long success whose end is still arriving; its attempt settles when it does.
    Arriving {
        /// The rest of the body.
        rest: Box<Arriving>,
        /// The attempt.
        lease: L,
        /// What to settle it with.
        result: AttemptResult,
        /// Its number.
        attempt: u32,
    },
}

/// What happened on the way, for the access log.
#[derive(Debug, Default)]
pub struct Trace {
    /// Attempts so far.
    pub attempts: u32,
    /// The endpoint of the last one.
    pub endpoint: Option<Arc<str>>,
    /// How it ended; `None` while it is under way.
    pub outcome: Option<Outcome>,
}

/// Runs attempts for one request.
///
/// # Errors
/// A [`Refusal`] when no endpoint gave an answer that can be passed on.
pub async fn run<P: Pool>(
    pool: &P,
    request: &RequestFacts,
    outgoing: &Outgoing,
    trace: &mut Trace,
) -> Result<Reply<P::Lease>, Refusal> {
    let mut tried = Vec::new();
    let mut last: Option<(AttemptResult, Option<Answer>)> = None;
    loop {
        let attempt = trace.attempts + 1;
        let lease = match pool.select(request, attempt, &tried, clock::now()) {
            Ok(lease) => lease,
            Err(refusal) => return conclude(last, request, refusal),
        };
        tried.push(lease.index());
        trace.attempts = attempt;
        trace.endpoint = Some(Arc::clone(lease.endpoint_name()));
        trace.outcome = None;

        let (result, answer) = exchange(lease.target(), outgoing, budget(lease.target(), request)).await;
        trace.outcome = Some(result.outcome);
        log_attempt(request, &lease, &result, attempt);
        let answer = match (result.outcome, answer) {
            (Outcome::Success, Some(answer)) => return Ok(succeed(lease, request, result, answer, attempt, &tried)),
            (_, answer) => answer,
        };
        let allowed = may_retry(request, &result, attempt, pool.max_attempts(), clock::now());
        let action = lease.settle(request, &result, attempt, allowed, &tried);
        let Action::Retry { delay } = action else {
            return conclude(Some((result, answer)), request, Refusal::EndpointsFailed);
        };
        if !allowed {
            return conclude(Some((result, answer)), request, Refusal::EndpointsFailed);
        }
        last = Some((result, answer));
        wait(delay, request).await;
    }
}

fn succeed<L: Lease>(
    lease: L,
    request: &RequestFacts,
    result: AttemptResult,
    answer: Answer,
    attempt: u32,
    tried: &[u32],
) -> Reply<L> {
    let body = match answer.body {
        AnswerBody::Whole(body) => {
            lease.settle(request, &result, attempt, false, tried);
            ReplyBody::Whole(body)
        }
        AnswerBody::Partial(rest) => ReplyBody::Arriving { rest, lease, result, attempt },
    };
    Reply { status: answer.status, content_type: answer.content_type, body }
}

/// The end without a success: an endpoint's own JSON-RPC error is passed on, anything else becomes a refusal.
fn conclude<L>(
    last: Option<(AttemptResult, Option<Answer>)>,
    request: &RequestFacts,
    otherwise: Refusal,
) -> Result<Reply<L>, Refusal> {
    match last {
        None => Err(otherwise),
        Some((AttemptResult { rpc_error: Some(_), .. }, Some(answer))) => match answer.body {
            AnswerBody::Whole(body) => {
                Ok(Reply { status: answer.status, content_type: answer.content_type, body: ReplyBody::Whole(body) })
            }
            AnswerBody::Partial(_) => Err(Refusal::EndpointsFailed),
        },
        Some((result, _)) if result.outcome == Outcome::Timeout || clock::now() >= request.deadline => {
            Err(Refusal::TimedOut)
        }
        Some(_) => Err(Refusal::EndpointsFailed),
    }
}

/// The per-try timeout, or what is left until the deadline.
fn budget(target: &Target, request: &RequestFacts) -> Duration {
    target.settings.timeout.min(request.deadline.since(clock::now()))
}

async fn wait(delay: Duration, request: &RequestFacts) {
    if !delay.is_zero() {
        tokio::time::sleep(delay.min(request.deadline.since(clock::now()))).await;
    }
}

fn log_attempt<L: Lease>(request: &RequestFacts, lease: &L, result: &AttemptResult, attempt: u32) {
    tracing::debug!(
        method = request.method,
        endpoint = &**lease.endpoint_name(),
        attempt,
        outcome = result.outcome.label(),
        detail = result.detail,
        status = result.http_status,
        rpc_code = result.rpc_error.as_ref().map(|e| e.code),
        ms = result.latency.as_secs_f64() * 1_000.0,
        "attempt"
    );
}
