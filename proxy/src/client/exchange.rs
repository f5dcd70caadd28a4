//! One request to one endpoint, and as much of its response as decides the outcome.
//!
//! A response of up to [`INSPECT_LIMIT`] is read whole and classified. A longer one is judged by
//! its beginning, and forwarded while it arrives: no endpoint wraps an error in a megabyte.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::protocols::Stream;

use super::duplex::Sent;
use super::hedge_timer::HedgeTimer;
use super::idle::{Connection, WorkerId};
use super::request::Head;
use super::response::{BROKEN_OFF, Failure, Response, ResponseHead};
use super::target::Target;
use crate::clock;
use crate::jsonrpc::classify::{classify, classify_long, leading_id};
use crate::jsonrpc::{Expected, MemberAnswer, RequestText, RequestWords};
use crate::model::{AttemptResult, Outcome, Tick};

/// A response up to this size is held back until it is known to be good.
const INSPECT_LIMIT: usize = 1 << 20;
const TOO_LARGE: &str = "answer is larger than max_body";
const BROKE_SENDING: &str = "broke while the request was sent";

/// A request, ready for any endpoint.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The request body.
    pub body: Bytes,
    /// The client's headers that pass the allow-list.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The response that counts as good.
    pub expected: Expected,
    /// The request may be resent on a new connection if a reused one turns out to be closed.
    pub resendable: bool,
    /// The maximum size of the response.
    pub max_answer: usize,
    /// The response must be read whole, whatever its length: it is a part of a larger one.
    pub whole: bool,
    /// The request's words, found when first needed.
    pub words: RequestWords,
}

impl Outgoing {
    /// The text of the request, for a comparison with an endpoint's message.
    pub fn text(&self) -> RequestText<'_> {
        RequestText { body: &self.body, headers: &self.headers, words: &self.words }
    }
}

/// An endpoint's answer.
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// The body.
    pub body: AnswerBody,
}

/// The body of an answer.
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// The answer to each member of a batch, if the body can't be passed on as it is.
    Members(Vec<MemberAnswer>),
    /// Its beginning; the rest is still arriving.
    Partial(Box<Arriving>),
}

/// A long response whose end is still to be read.
pub struct Arriving {
    /// The part that was read so far.
    pub beginning: Bytes,
    /// The announced length of the whole body.
    pub length: Option<usize>,
    response: Response,
    target: Option<Arc<Target>>,
    timeout: Duration,
    worker: WorkerId,
    left: usize,
}

/// The result of an attempt, and the answer if there was one.
pub(crate) type Exchanged = (AttemptResult, Option<Answer>);

/// Sends `outgoing` to `target` now and reads the answer, within `budget`. Signals `timer` when it
/// takes long.
pub(crate) async fn exchange(
    target: &Arc<Target>,
    outgoing: &Outgoing,
    now: Tick,
    budget: Duration,
    timer: &HedgeTimer,
) -> Exchanged {
    let mut sent = false;
    let answer = timer.within(budget, pin!(attempt(target, outgoing, now, &mut sent))).await;
    let (mut result, answer) = match answer {
        Some(Ok((result, answer))) => (result, Some(answer)),
        Some(Err(failure)) => (AttemptResult::failed(failure.outcome, sent, failure.detail), None),
        None => (AttemptResult::failed(Outcome::Timeout, sent, "timed out"), None),
    };
    result.latency = clock::now().since(now);
    (result, answer)
}

async fn attempt(
    target: &Arc<Target>,
    outgoing: &Outgoing,
    now: Tick,
    sent: &mut bool,
) -> Result<(AttemptResult, Answer), Failure> {
    let mut used = target.reuse(now);
    loop {
        let (connection, fresh) = match used.take() {
            Some(connection) => (connection, false),
            // Boxed, since it is large and rare: the futures of every request and hedge would have
            // room for it.
            None => (Box::pin(target.connect()).await.map_err(connect_failed)?, true),
        };
        match converse(connection, fresh, target, outgoing, sent).await {
            // The endpoint closed the idle connection just as it was reused, which isn't a failure
            // of the endpoint.
            Err(failure) if !fresh && failure.silent && outgoing.resendable => {}
            done => return done,
        }
    }
}

fn connect_failed(detail: &'static str) -> Failure {
    Failure::new(Outcome::ConnectFailed, detail)
}

/// Sends a request of any kind and reads the head of its response. `fresh`: the connection was made
/// for this request. Returns the response, and whether the request was sent to its end.
pub(super) async fn send(
    mut stream: Stream,
    fresh: bool,
    head: &Head,
    headers: &[(HeaderName, HeaderValue)],
    body: Option<&[u8]>,
) -> Result<(Response, bool), Failure> {
    let Sent { complete, broken, early } = head.send(&mut stream, headers, body).await;
    // An endpoint that refuses a request need not read all of it: the refusal counts, not the
    // broken connection. But bytes on a reused connection may belong to an earlier request.
    if broken && !fresh {
        return Err(Failure::silent(BROKE_SENDING));
    }
    match Response::read(stream, early).await {
        Err(failure) if failure.silent && !complete => Err(Failure::silent(BROKE_SENDING)),
        read => Ok((read?, complete)),
    }
}

/// `fresh`: the connection was made for this request.
async fn converse(
    connection: Connection,
    fresh: bool,
    target: &Arc<Target>,
    outgoing: &Outgoing,
    sent: &mut bool,
) -> Result<(AttemptResult, Answer), Failure> {
    let Connection { stream, worker } = connection;
    *sent = true;
    let (mut response, sent_whole) = send(stream, fresh, &target.head, &outgoing.headers, Some(&outgoing.body)).await?;
    let length = response.head.length;
    if length.is_some_and(|length| length > outgoing.max_answer) {
        return Err(Failure::new(Outcome::BadResponse, TOO_LARGE));
    }
    let limit = if outgoing.whole { outgoing.max_answer } else { INSPECT_LIMIT.min(outgoing.max_answer) };
    let mut body = response.read_body(limit).await?;
    if !response.is_complete() && is_needed_whole(&outgoing.expected, &body) {
        let rest = Box::pin(response.read_body(outgoing.max_answer.saturating_sub(body.len()))).await?;
        body = [body, rest].concat().into();
    }
    if body.len() > outgoing.max_answer {
        return Err(Failure::new(Outcome::BadResponse, TOO_LARGE));
    }
    let complete = response.is_complete();
    let ResponseHead { status, encoded, retry_after, .. } = response.head;
    let classified = if complete {
        classify(status, encoded, &body, &outgoing.expected)
    } else {
        classify_long(status, encoded, &body, &outgoing.expected)
    };
    let is_error = classified.rpc_error.is_some();
    let result = AttemptResult {
        outcome: classified.outcome,
        bytes_sent: true,
        http_status: Some(status.as_u16()),
        rpc_error: classified.rpc_error,
        grpc_status: None,
        text: classified.text,
        retry_after,
        latency: Duration::ZERO,
        detail: classified.detail,
    };
    let content_type = response.head.content_type.take();
    let body = if complete {
        if sent_whole {
            response.release(target, worker).await;
        }
        if let Expected::Single(id) = &outgoing.expected {
            body = if is_error { id.restore_error(body) } else { id.restore(body) };
        }
        classified.members.map_or(AnswerBody::Whole(body), AnswerBody::Members)
    } else {
        let left = outgoing.max_answer.saturating_sub(body.len());
        let beginning = restore_leading(&outgoing.expected, &body);
        let length = length.map(|length| length.saturating_sub(body.len()) + beginning.len());
        AnswerBody::Partial(Box::new(Arriving {
            beginning,
            length,
            response,
            // A connection is not reused after an incomplete request.
            target: sent_whole.then(|| Arc::clone(target)),
            timeout: target.settings.timeout,
            worker,
            left,
        }))
    };
    Ok((result, Answer { status, content_type, body }))
}

/// Whether the client's id has to be restored at a place that hasn't arrived yet.
fn is_needed_whole(expected: &Expected, beginning: &[u8]) -> bool {
    matches!(expected, Expected::Single(id) if id.is_replaced() && leading_id(beginning).is_none())
}

fn restore_leading(expected: &Expected, beginning: &Bytes) -> Bytes {
    match (expected, leading_id(beginning)) {
        (Expected::Single(id), Some(given)) => id.put_back(beginning, given),
        _ => beginning.clone(),
    }
}

impl Arriving {
    /// Whether the body was read to its end.
    pub fn is_complete(&mut self) -> bool {
        self.response.is_complete()
    }

    /// The next piece of the body, within `timer`; `None` at its end.
    ///
    /// # Errors
    /// The attempt's result, when the endpoint breaks off, sends nothing for `timer` or the client
    /// timeout, or exceeds the size limit.
    pub async fn next(&mut self, timer: Duration) -> Result<Option<Bytes>, Box<AttemptResult>> {
        let failed = |outcome, detail| Box::new(AttemptResult::failed(outcome, true, detail));
        let read = tokio::time::timeout(self.timeout.min(timer), self.response.next()).await;
        let piece = read
            .map_err(|_| failed(Outcome::Timeout, "timed out in the middle of the answer"))?
            .map_err(|()| failed(Outcome::Reset, BROKEN_OFF))?;
        let size = piece.as_ref().map_or(0, Bytes::len);
        let too_long = || failed(Outcome::BadResponse, TOO_LARGE);
        self.left = self.left.checked_sub(size).ok_or_else(too_long)?;
        Ok(piece)
    }

    /// Returns the connection to the pool. To be called at the end of the body.
    pub async fn finish(self) {
        if let Some(target) = &self.target {
            self.response.release(target, self.worker).await;
        }
    }
}
