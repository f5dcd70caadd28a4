//! The attempts of a request that Pingora carries: its bytes stream through the gateway, and the
//! gateway's hooks report what became of each attempt.
//!
//! Invariants are those of [`attempts`](super::attempts): every selected endpoint is settled
//! exactly once, no endpoint is tried twice, and a retry happens only where
//! [`may_retry`](crate::model::may_retry), the retry budget and the policy agree. There are no
//! hedges: the body of the request may exist only once.

use std::sync::Arc;
use std::time::Duration;

use super::attempts::Trace;
use super::extra::{Spending, elsewhere};
use crate::client::Target;
use crate::clock;
use crate::jsonrpc::Refusal;
use crate::model::{Action, AttemptResult, Blame, GrpcCode, Outcome, Plan, RequestFacts, Tick, is_provoked, may_retry};
use crate::upstream::{Attempt, Case, Extra, Selection, Ticket, TunnelPlace, Upstream};

/// HTTP 429.
const TOO_MANY_REQUESTS: u16 = 429;
/// HTTP 200, which every gRPC call ends with.
const OK: u16 = 200;

/// The result of an attempt whose response has this status. A server's error and a refusal for lack
/// of capacity are failures; any other status is the endpoint's answer.
pub fn classify(status: u16, retry_after: Option<Duration>) -> AttemptResult {
    let outcome = match status {
        500.. | TOO_MANY_REQUESTS => Outcome::HttpError,
        _ => Outcome::Success,
    };
    let result = AttemptResult::failed(outcome, true, "");
    AttemptResult { http_status: Some(status), retry_after, ..result }
}

/// The result of an attempt whose call ended with this gRPC status. The retry policy tells an
/// endpoint's failure from an answer to the client.
pub fn classify_grpc(status: u32) -> AttemptResult {
    let outcome = if status == GrpcCode::Ok.code() { Outcome::Success } else { Outcome::RpcError };
    let result = AttemptResult::failed(outcome, true, "gRPC error");
    AttemptResult { http_status: Some(OK), grpc_status: Some(status), ..result }
}

/// The state of one request.
pub struct Relay {
    upstream: Arc<Upstream>,
    facts: RequestFacts,
    place: Option<Place>,
    arrived: Tick,
    plan: Option<Plan>,
    tried: Vec<u32>,
    attempt: Option<UnderWay>,
    /// The delay before the next attempt; set between two attempts.
    delay: Option<Duration>,
    /// Bytes of an earlier attempt were sent.
    prior_sent: bool,
    /// The endpoint of the last attempt was known to be doubtful.
    doubtful: bool,
    spending: Spending,
    /// Blame that counts only if another endpoint answers.
    held: Vec<Blame>,
    failures: u32,
    answered: bool,
    /// The result of the last attempt that failed.
    last: Option<AttemptResult>,
}

/// The request's place among those under way.
enum Place {
    Request(#[expect(dead_code, reason = "dropping it frees the place")] Ticket),
    Tunnel(#[expect(dead_code, reason = "dropping it frees the place")] TunnelPlace),
}

/// An attempt that isn't settled.
struct UnderWay {
    lease: Attempt,
    number: u32,
    began: Tick,
    /// The result of the head, once it is passed on.
    head: Option<AttemptResult>,
}

/// The latency of an attempt: that of its head. A stream may take any time.
fn latency(head: Option<&AttemptResult>, began: Tick, now: Tick) -> Duration {
    head.map_or(now.since(began), |head| head.latency)
}

impl Relay {
    /// Admits the request, and waits for its turn.
    ///
    /// # Errors
    /// When too many are under way.
    pub async fn admit(upstream: Arc<Upstream>, facts: RequestFacts) -> Result<Relay, Refusal> {
        let place = Place::Request(upstream.enter()?.turn().await?);
        Ok(Relay::begin(upstream, facts, place))
    }

    /// Admits a WebSocket connection.
    ///
    /// # Errors
    /// When too many are open.
    pub fn admit_tunnel(upstream: Arc<Upstream>, facts: RequestFacts) -> Result<Relay, Refusal> {
        let place = Place::Tunnel(upstream.enter_tunnel(facts.client_key)?);
        Ok(Relay::begin(upstream, facts, place))
    }

    fn begin(upstream: Arc<Upstream>, facts: RequestFacts, place: Place) -> Relay {
        let arrived = clock::now();
        upstream.arrived(facts.client_key, arrived);
        Relay {
            upstream,
            facts,
            place: Some(place),
            arrived,
            plan: None,
            tried: Vec::new(),
            attempt: None,
            delay: None,
            prior_sent: false,
            doubtful: false,
            spending: Spending::default(),
            held: Vec::new(),
            failures: 0,
            answered: false,
            last: None,
        }
    }

    /// The time limit of the request with all of its attempts.
    pub fn deadline(&self) -> Tick {
        self.facts.deadline
    }

    /// The upstream and the position of the endpoint of the attempt under way.
    pub fn endpoint(&self) -> Option<(Arc<Upstream>, u32)> {
        self.attempt.as_ref().map(|attempt| (Arc::clone(&self.upstream), attempt.lease.index()))
    }

    /// Chooses the endpoint of the next attempt, after the delay that the retry policy asked for.
    /// Returns its target and the time limit of the attempt.
    ///
    /// # Errors
    /// When no endpoint takes it, or the delay would outlast the deadline.
    pub async fn next(&mut self, trace: &mut Trace) -> Result<(Arc<Target>, Duration), Refusal> {
        let retry = self.wait().await?;
        let now = clock::now();
        let selection = Selection {
            attempt: trace.attempts + 1,
            tried: &self.tried,
            prior_sent: self.prior_sent,
            ..Selection::first(&self.facts, now)
        };
        let lease = match self.upstream.select(&selection) {
            Ok(lease) => lease,
            Err(_) if self.last.is_some() => return Err(self.refusal()),
            Err(refusal) => return Err(refusal),
        };
        let plan = *self.plan.get_or_insert_with(|| self.upstream.plan(&Selection::first(&self.facts, now), &lease));
        if retry {
            self.spending.spend(&self.upstream, Extra::Retry, self.doubtful, self.facts.client_key);
        }
        self.tried.push(lease.index());
        trace.attempts += 1;
        trace.endpoint = Some(Arc::clone(lease.endpoint_name()));
        trace.outcome = None;
        let target = match self.place {
            Some(Place::Tunnel(_)) => lease.ws_target(),
            _ => lease.target(),
        };
        let (target, limit) = (Arc::clone(target), plan.timeout.min(self.facts.deadline.since(now)));
        self.attempt = Some(UnderWay { lease, number: trace.attempts, began: now, head: None });
        Ok((target, limit))
    }

    /// Waits before a retry. Whether this is one.
    async fn wait(&mut self) -> Result<bool, Refusal> {
        let Some(delay) = self.delay.take() else { return Ok(false) };
        if delay >= self.facts.deadline.since(clock::now()) {
            return Err(Refusal::TimedOut);
        }
        tokio::time::sleep(delay).await;
        Ok(true)
    }

    /// Whether an endpoint may get the request although another one may have executed it.
    pub fn is_resendable(&self) -> bool {
        self.facts.shape.is_resendable()
    }

    /// Whether the next attempt is decided.
    pub fn is_retrying(&self) -> bool {
        self.delay.is_some()
    }

    /// Ends the attempt as `result`. `replayable`: the request could be sent once more, since
    /// nothing of a response was passed on. Returns whether another attempt follows.
    pub fn fail(&mut self, mut result: AttemptResult, replayable: bool, trace: &mut Trace) -> bool {
        let Some(UnderWay { lease, number, began, head }) = self.attempt.take() else { return false };
        let now = clock::now();
        result.latency = latency(head.as_ref(), began, now);
        trace.outcome = Some(result.outcome);
        self.doubtful = lease.is_doubtful();
        let selection = Selection {
            attempt: number,
            tried: &self.tried,
            prior_sent: self.prior_sent,
            ..Selection::first(&self.facts, now)
        };
        let allowed = replayable && self.allows(&selection, &result);
        let case = Case { request: &self.facts, sent: None, result: &result, may_retry: allowed, member: false };
        let decision = lease.decide(&selection, &case);
        self.held.extend(lease.fail(&selection, &result, &[(case, decision)]));
        self.failures += u32::from(is_provoked(&result) && !decision.success);
        self.prior_sent |= result.bytes_sent;
        let retries = match decision.action {
            Action::Retry { delay } if allowed => {
                self.delay = Some(delay);
                true
            }
            _ => false,
        };
        self.last = Some(result);
        self.answered = decision.success;
        trace.given_up = !retries && !decision.success;
        retries
    }

    /// Whether the host allows another attempt. A response that could be passed on isn't given up
    /// for an endpoint that doesn't exist.
    fn allows(&self, selection: &Selection<'_>, result: &AttemptResult) -> bool {
        let max_attempts = self.plan.map_or(1, |plan| plan.max_attempts);
        may_retry(&self.facts, result, selection.attempt, max_attempts, selection.now)
            && (result.http_status.is_none() || self.upstream.candidates_left(selection) > 0)
            && self.spending.allows(&self.upstream, self.doubtful, self.facts.client_key, selection.now)
    }

    /// The response has begun with a head that counts as an answer.
    pub fn begin_answer(&mut self, mut result: AttemptResult, trace: &mut Trace) {
        if let Some(attempt) = &mut self.attempt {
            let now = clock::now();
            result.latency = now.since(attempt.began);
            trace.outcome = Some(result.outcome);
            attempt.lease.streams(now);
            attempt.head = Some(result);
            self.answered = true;
        }
    }

    /// The response has come to its end.
    pub fn finish(&mut self) {
        if let Some(UnderWay { lease, head: Some(result), .. }) = self.attempt.take() {
            lease.succeed(&self.facts, &result);
        }
        self.place = None;
    }

    /// The endpoint broke off in the middle of a response that had begun.
    pub fn break_off(&mut self, mut result: AttemptResult, trace: &mut Trace) {
        let Some(UnderWay { lease, number, began, head }) = self.attempt.take() else { return };
        let now = clock::now();
        result.latency = latency(head.as_ref(), began, now);
        trace.outcome = Some(result.outcome);
        trace.given_up = true;
        let case = Case { request: &self.facts, sent: None, result: &result, may_retry: false, member: false };
        let selection = Selection { attempt: number, ..Selection::first(&self.facts, now) };
        lease.break_off(&selection, &result, case);
    }

    /// Gives up the attempt because the client went away.
    pub fn cancel(&mut self, trace: &mut Trace) {
        if self.attempt.take().is_some() {
            trace.outcome = Some(Outcome::Canceled);
        }
    }

    /// The refusal for the client when the last attempt has no response that can be passed on.
    pub fn refusal(&self) -> Refusal {
        match &self.last {
            Some(result) if result.is_own_lack() => Refusal::OwnLack,
            Some(result) if result.outcome == Outcome::Timeout => Refusal::TimedOut,
            _ if clock::now() >= self.facts.deadline => Refusal::TimedOut,
            _ => Refusal::EndpointsFailed,
        }
    }

    /// Passes judgement on the blamed endpoints at the end of the request, and counts the request
    /// for a canary.
    pub fn end(&mut self, trace: &Trace) {
        let now = clock::now();
        for blame in self.held.drain(..) {
            self.upstream.rule(&blame, elsewhere(self.answered, self.failures), now);
        }
        if let Some(watched) = self.upstream.watch_since(self.facts.seed, self.arrived) {
            watched.end(!trace.given_up, trace.attempts);
        }
    }
}
