//! The attempt engine: endpoints are tried until there is an answer or no further attempt is allowed.
//!
//! ```text
//! select ── exchange ── settle ──┬─ success ────────────────► the answer
//!   ▲      (and a hedge          ├─ the policy says return ──► the answer, or a refusal
//!   │       beside it)           └─ a batch answered in part ─┐
//!   └────── delay ◄── may retry ◄──── what is left of it ◄────┘
//! ```
//!
//! Invariants: every selected endpoint is settled exactly once (a [`Lease`] that is dropped settles itself as canceled);
//! no endpoint is tried twice; a retry happens only where [`may_retry`](crate::model::may_retry), the retry budget and the policy agree; at most two
//! attempts of a request are under way at once, and only of a request without a write.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::batch::Assembly;
use super::exchange::{Answer, Arriving, Exchanged};
use super::judge::{Next, Try};
use super::part::Call;
use super::patience::Patience;
use super::pieces::send;
use super::pool::{Ask, Extra, Lease, Pool};
use super::refusal::Refusal;
use crate::clock;
use crate::model::{AttemptResult, Outcome, Plan, Preference, Tick};

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
    /// No attempt had a good answer, and no other is made.
    pub given_up: bool,
}

/// Runs attempts for one request.
///
/// # Errors
/// A [`Refusal`] when no endpoint gave an answer that can be passed on.
pub async fn run<P: Pool>(pool: &P, call: &Call, trace: &mut Trace) -> Result<Reply<P::Lease>, Refusal> {
    let now = clock::now();
    pool.arrived(now);
    let state = Run {
        pool,
        trace,
        plan: None,
        tried: Vec::new(),
        prior_sent: false,
        prefer: Preference::None,
        assembly: None,
        last: None,
    };
    state.run(call, now).await
}

/// A request on its way.
pub(super) struct Run<'a, P: Pool> {
    pub(super) pool: &'a P,
    pub(super) trace: &'a mut Trace,
    pub(super) plan: Option<Plan>,
    pub(super) tried: Vec<u32>,
    pub(super) prior_sent: bool,
    pub(super) prefer: Preference,
    /// Once a part of the client's batch was answered.
    pub(super) assembly: Option<Assembly>,
    /// The last attempt that failed as a whole.
    pub(super) last: Option<(AttemptResult, Option<Answer>)>,
}

impl<P: Pool> Run<'_, P> {
    async fn run(mut self, call: &Call, mut now: Tick) -> Result<Reply<P::Lease>, Refusal> {
        let mut call = Cow::Borrowed(call);
        loop {
            let lease = match self.pool.select(&self.ask(&call, false, now)) {
                Ok(lease) => lease,
                Err(refusal) => return self.conclude(&call, refusal),
            };
            let plan = *self.plan.get_or_insert_with(|| self.pool.plan(&Ask::first(&call.facts, now), &lease));
            let first = self.begin(lease);
            match self.attempt(&call, first, plan, now).await {
                Next::Answer(reply) => return Ok(reply),
                Next::GiveUp => return self.conclude(&call, Refusal::EndpointsFailed),
                // There will be no time for it.
                Next::Again(delay, _) if delay >= call.facts.deadline.since(clock::now()) => {
                    return self.conclude(&call, Refusal::TimedOut);
                }
                Next::Again(delay, rest) => {
                    call = rest.map_or(call, Cow::Owned);
                    self.pool.spend(Extra::Retry);
                    if !delay.is_zero() {
                        tokio::time::sleep(delay).await;
                    }
                    now = clock::now();
                }
            }
        }
    }

    fn ask<'b>(&'b self, call: &'b Call, hedge: bool, now: Tick) -> Ask<'b> {
        Ask {
            attempt: self.trace.attempts + 1,
            tried: &self.tried,
            prior_sent: self.prior_sent,
            prefer: self.prefer,
            hedge,
            ..Ask::first(&call.facts, now)
        }
    }

    fn begin(&mut self, lease: P::Lease) -> Try<P::Lease> {
        self.tried.push(lease.index());
        self.trace.attempts += 1;
        self.trace.endpoint = Some(Arc::clone(lease.endpoint_name()));
        self.trace.outcome = None;
        Try { lease, attempt: self.trace.attempts }
    }

    /// One attempt, and a second one beside it when the first takes long.
    async fn attempt(&mut self, call: &Call, first: Try<P::Lease>, plan: Plan, now: Tick) -> Next<P::Lease> {
        let patience = Patience::new(plan.hedge_after.filter(|_| !call.facts.write));
        let mut ours = pin!(send(call, &first.lease, now, plan.timeout, &patience));
        if let Some(ended) = patience.wait_for(&mut ours).await {
            return self.judge(call, first, ended);
        }
        // Boxed, since few requests are hedged and all would carry room for it.
        Box::pin(self.attempt_beside(call, first, ours, plan)).await
    }

    /// Goes on with the first attempt, and makes a second one beside it if it can.
    async fn attempt_beside(
        &mut self,
        call: &Call,
        first: Try<P::Lease>,
        mut ours: Pin<&mut impl Future<Output = Exchanged>>,
        plan: Plan,
    ) -> Next<P::Lease> {
        let now = clock::now();
        let Some(second) = self.hedge(call, plan, now) else {
            return self.judge(call, first, ours.await);
        };
        let endless = Patience::default();
        let mut theirs = pin!(send(call, &second.lease, now, plan.timeout, &endless));
        tokio::select! {
            biased;
            ended = &mut ours => self.first_of_two(call, (first, ended), second, theirs, false).await,
            ended = &mut theirs => self.first_of_two(call, (second, ended), first, ours, true).await,
        }
    }

    /// A second endpoint, if there is one that isn't needed for anything more urgent.
    fn hedge(&mut self, call: &Call, plan: Plan, now: Tick) -> Option<Try<P::Lease>> {
        if self.trace.attempts >= plan.max_attempts || !self.pool.has_budget(now) {
            return None;
        }
        let lease = self.pool.select(&self.ask(call, true, now)).ok()?;
        self.pool.spend(Extra::Hedge);
        Some(self.begin(lease))
    }

    /// The first good answer wins. After a bad one the other attempt is waited for. `hedge`: what ended is the second to begin.
    async fn first_of_two(
        &mut self,
        call: &Call,
        ended: (Try<P::Lease>, Exchanged),
        other: Try<P::Lease>,
        rest: Pin<&mut impl Future<Output = Exchanged>>,
        hedge: bool,
    ) -> Next<P::Lease> {
        let next = self.judge(call, ended.0, ended.1);
        if let Next::Answer(_) | Next::Again(_, Some(_)) = next {
            other.lease.lose();
            self.pool.hedged(hedge);
            return next;
        }
        let next = self.judge(call, other, rest.await);
        self.pool.hedged(!hedge && matches!(next, Next::Answer(_)));
        next
    }
}
