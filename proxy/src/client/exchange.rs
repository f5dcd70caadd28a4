//! One request to one endpoint, and its answer as far as it decides the outcome.
//!
//! An answer is read whole up to [`INSPECT_LIMIT`] and classified. A longer one is judged by its
//! beginning, and passed on while it arrives: no endpoint wraps an error in a megabyte.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::duplex::Sent;
use super::hedge_timer::HedgeTimer;
use super::idle::{Connection, WorkerId};
use super::response::{BROKEN_OFF, Failure, Response, ResponseHead};
use super::target::Target;
use crate::clock;
use crate::jsonrpc::classify::{classify, classify_long, leading_id};
use crate::jsonrpc::{Expected, MemberAnswer, RequestText, RequestWords};
use crate::model::{AttemptResult, Outcome, Tick};

/// An answer up to this size is held back until it is known to be good.
const INSPECT_LIMIT: usize = 1 << 20;
const TOO_LARGE: &str = "answer is larger than max_body";
const BROKE_SENDING: &str = "broke while the request was sent";

/// What is sent to whichever endpoint is chosen.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The client's body.
    pub body: Bytes,
    /// The client's headers that pass the allow-list.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What a good answer looks like.
    pub expected: Expected,
    /// It may be sent again over a new connection when a used one turns out to be closed.
    pub resendable: bool,
    /// No answer may be larger.
    pub max_answer: usize,
    /// The whole answer is needed, however long it is: it is a part of a larger one.
    pub whole: bool,
    /// Its words, once they were needed.
    pub words: RequestWords,
}

impl Outgoing {
    /// Its text, for a comparison with an endpoint's own words.
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
    /// What was said to each member of a batch, where it can't be passed on as it is.
    Members(Vec<MemberAnswer>),
    /// Its beginning; the rest is still arriving.
    Partial(Box<Arriving>),
}

/// A long answer whose end is still to be read.
pub struct Arriving {
    /// What was read so far.
    pub beginning: Bytes,
    /// The announced length of the whole body.
    pub length: Option<usize>,
    response: Response,
    target: Option<Arc<Target>>,
    timeout: Duration,
    worker: WorkerId,
    left: usize,
}

/// How an attempt ended, and the answer if there was one.
pub(crate) type Exchanged = (AttemptResult, Option<Answer>);

/// Sends `outgoing` to `target` now and reads the answer, within `budget`. Tells `timer` when it
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
            // Boxed, since it is large and rare: a request's future would carry room for it, and
            // for a hedge's, too.
            None => (Box::pin(target.connect()).await.map_err(connect_failed)?, true),
        };
        match converse(connection, fresh, target, outgoing, sent).await {
            // The endpoint closed the connection just as it was taken up: that says nothing about
            // the endpoint.
            Err(failure) if !fresh && failure.silent && outgoing.resendable => {}
            done => return done,
        }
    }
}

fn connect_failed(detail: &'static str) -> Failure {
    Failure::new(Outcome::ConnectFailed, detail)
}

/// `fresh`: the connection was made for this request.
async fn converse(
    connection: Connection,
    fresh: bool,
    target: &Arc<Target>,
    outgoing: &Outgoing,
    sent: &mut bool,
) -> Result<(AttemptResult, Answer), Failure> {
    let Connection { mut stream, worker } = connection;
    *sent = true;
    let Sent { complete: sent_whole, broken, early } =
        target.head.send(&mut stream, &outgoing.headers, Some(&outgoing.body)).await;
    // An endpoint that refuses a request need not read it to its end: the refusal counts, not the
    // broken connection. But what there is to read on a used connection may be of its past.
    if broken && !fresh {
        return Err(Failure::silent(BROKE_SENDING));
    }
    let mut response = match Response::read(stream, early).await {
        Err(failure) if failure.silent && !sent_whole => return Err(Failure::silent(BROKE_SENDING)),
        read => read?,
    };
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
            // Nothing is to be reused after a request that wasn't sent to its end.
            target: sent_whole.then(|| Arc::clone(target)),
            timeout: target.settings.timeout,
            worker,
            left,
        }))
    };
    Ok((result, Answer { status, content_type, body }))
}

/// Whether the client's id has to be put back at a place that isn't there yet.
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
    /// Whether the endpoint has said all.
    pub fn is_complete(&mut self) -> bool {
        self.response.is_complete()
    }

    /// The next piece of the body, within `timer`; `None` at its end.
    ///
    /// # Errors
    /// The attempt's result, when the endpoint breaks off, is silent for that long or the client
    /// timeout, or sends more than is allowed.
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

    /// Keeps the connection for a next request. To be called at the end of the body.
    pub async fn finish(self) {
        if let Some(target) = &self.target {
            self.response.release(target, self.worker).await;
        }
    }
}
