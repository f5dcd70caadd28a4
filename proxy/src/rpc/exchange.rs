//! One request to one endpoint, and its answer as far as it decides the outcome.
//!
//! An answer is read whole up to [`INSPECT_LIMIT`] and classified. A longer one is judged by its beginning, and passed on while
//! it arrives: no endpoint wraps an error in a megabyte.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;

use super::batch::{Expected, Slot};
use super::classify::{classify, classify_long};
use super::target::Target;
use crate::clock;
use crate::model::{AttemptResult, Outcome};

/// An answer up to this size is held back until it is known to be good.
const INSPECT_LIMIT: usize = 1 << 20;
const TOO_LARGE: &str = "answer is larger than max_body";
const BROKE_SENDING: &str = "broke while the request was sent";
const BROKEN_OFF: &str = "broke while the answer was read";
/// Seconds are the only form of `Retry-After` that endpoints use; a date is passed over.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

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
    Members(Vec<Slot>),
    /// Its beginning; the rest is still arriving.
    Partial(Box<Arriving>),
}

/// A long answer whose end is still to be read.
pub struct Arriving {
    /// What was read so far.
    pub beginning: Bytes,
    /// The announced length of the whole body.
    pub length: Option<usize>,
    session: Box<HttpSession>,
    target: Arc<Target>,
    left: usize,
}

/// How an attempt ended, and the answer if there was one.
pub(super) type Exchanged = (AttemptResult, Option<Answer>);

/// Sends `outgoing` to `target` and reads the answer, within `budget`.
pub(super) async fn exchange(target: &Arc<Target>, outgoing: &Outgoing, budget: Duration) -> Exchanged {
    let began = clock::now();
    let mut sent = false;
    let answer = tokio::time::timeout(budget, attempt(target, outgoing, &mut sent)).await;
    let (mut result, answer) = match answer {
        Ok(Ok((result, answer))) => (result, Some(answer)),
        Ok(Err(failure)) => (AttemptResult::failed(failure.outcome, sent, failure.detail), None),
        Err(_) => (AttemptResult::failed(Outcome::Timeout, sent, "timed out"), None),
    };
    result.latency = clock::now().since(began);
    (result, answer)
}

/// Why there is no answer.
pub(super) struct Failure {
    outcome: Outcome,
    pub(super) detail: &'static str,
    /// Not a byte of an answer was read.
    pub(super) silent: bool,
}

impl Failure {
    pub(super) const fn new(outcome: Outcome, detail: &'static str) -> Self {
        Failure { outcome, detail, silent: false }
    }

    pub(super) const fn silent(detail: &'static str) -> Self {
        Failure { outcome: Outcome::Reset, detail, silent: true }
    }
}

async fn attempt(
    target: &Arc<Target>,
    outgoing: &Outgoing,
    sent: &mut bool,
) -> Result<(AttemptResult, Answer), Failure> {
    let mut used = target.reuse(clock::now());
    loop {
        let (stream, fresh) = match used.take() {
            Some(stream) => (stream, false),
            // Boxed, since it is large and rare: a request's future would carry room for it, and for a hedge's, too.
            None => (Box::pin(target.connect()).await.map_err(connect_failed)?, true),
        };
        match converse(stream, fresh, target, outgoing, sent).await {
            // The endpoint closed the connection just as it was taken up: that says nothing about the endpoint.
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
    mut stream: Stream,
    fresh: bool,
    target: &Arc<Target>,
    outgoing: &Outgoing,
    sent: &mut bool,
) -> Result<(AttemptResult, Answer), Failure> {
    *sent = true;
    let sent_whole = target.head.send(&mut stream, &outgoing.headers, Some(&outgoing.body)).await.is_ok();
    // For the answer alone: its own way to send takes two writes. Boxed, since it is moved often.
    let mut session = Box::new(HttpSession::new(stream));
    // An endpoint that refuses a request need not read it to its end: the refusal counts, not the broken connection. But what
    // there is to read on a used connection may be of its past.
    if !sent_whole && !fresh {
        return Err(Failure::silent(BROKE_SENDING));
    }
    let status = match read_head(&mut session).await {
        Err(failure) if failure.silent && !sent_whole => return Err(Failure::silent(BROKE_SENDING)),
        read => read?,
    };
    let length = content_length(&session);
    if length.is_some_and(|length| length > outgoing.max_answer) {
        return Err(Failure::new(Outcome::BadResponse, TOO_LARGE));
    }
    let limit = if outgoing.whole { outgoing.max_answer } else { INSPECT_LIMIT.min(outgoing.max_answer) };
    let body = read_up_to(&mut session, limit).await?;
    if body.len() > outgoing.max_answer {
        return Err(Failure::new(Outcome::BadResponse, TOO_LARGE));
    }
    let complete = session.is_body_done();
    let classified = if complete {
        classify(status, is_encoded(&session), &body, &outgoing.expected)
    } else {
        classify_long(status, is_encoded(&session), &body, &outgoing.expected)
    };
    let result = AttemptResult {
        outcome: classified.outcome,
        bytes_sent: true,
        http_status: Some(status.as_u16()),
        rpc_error: classified.rpc_error,
        text: classified.text,
        retry_after: retry_after(&session),
        latency: Duration::ZERO,
        detail: classified.detail,
    };
    let content_type = session.get_header(header::CONTENT_TYPE).cloned();
    let body = if complete {
        if sent_whole {
            release(session, target).await;
        }
        classified.members.map_or(AnswerBody::Whole(body), AnswerBody::Members)
    } else {
        let left = outgoing.max_answer.saturating_sub(body.len());
        AnswerBody::Partial(Box::new(Arriving { beginning: body, length, session, target: Arc::clone(target), left }))
    };
    Ok((result, Answer { status, content_type, body }))
}

impl Arriving {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The attempt's result, when the endpoint breaks off, is silent for the client timeout, or sends more than is allowed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Box<AttemptResult>> {
        let failed = |outcome, detail| Box::new(AttemptResult::failed(outcome, true, detail));
        let read = tokio::time::timeout(self.target.settings.timeout, self.session.read_body_bytes()).await;
        let piece = read
            .map_err(|_| failed(Outcome::Timeout, "timed out in the middle of the answer"))?
            .map_err(|_| failed(Outcome::Reset, BROKEN_OFF))?;
        let size = piece.as_ref().map_or(0, Bytes::len);
        let too_long = || failed(Outcome::BadResponse, TOO_LARGE);
        self.left = self.left.checked_sub(size).ok_or_else(too_long)?;
        Ok(piece)
    }

    /// Keeps the connection for a next request. To be called at the end of the body.
    pub async fn finish(self) {
        release(self.session, &self.target).await;
    }
}

pub(super) async fn read_head(session: &mut HttpSession) -> Result<StatusCode, Failure> {
    loop {
        session.read_response().await.map_err(|error| match error.etype() {
            pingora::ErrorType::InvalidHTTPHeader => Failure::new(Outcome::BadResponse, "answer is not HTTP"),
            _ => Failure::silent("closed without an answer"),
        })?;
        match session.get_status() {
            Some(status) if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS => {}
            Some(status) => return Ok(status),
            None => return Err(Failure::new(Outcome::BadResponse, "answer has no status")),
        }
    }
}

/// Reads the body to its end or until it has more than `limit` bytes.
pub(super) async fn read_up_to(session: &mut HttpSession, limit: usize) -> Result<Bytes, Failure> {
    let mut read = async || session.read_body_bytes().await.map_err(|_| Failure::new(Outcome::Reset, BROKEN_OFF));
    let Some(first) = read().await? else { return Ok(Bytes::new()) };
    let Some(second) = read().await? else { return Ok(first) };
    let mut body = BytesMut::with_capacity(first.len() + second.len());
    body.extend_from_slice(&first);
    body.extend_from_slice(&second);
    while body.len() <= limit {
        match read().await? {
            Some(piece) => body.extend_from_slice(&piece),
            None => break,
        }
    }
    Ok(body.freeze())
}

pub(super) async fn release(mut session: Box<HttpSession>, target: &Target) {
    session.respect_keepalive();
    if let Some(stream) = session.reuse().await {
        target.release(stream, clock::now());
    }
}

fn content_length(session: &HttpSession) -> Option<usize> {
    session.get_header(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Chunks are undone by whoever reads the body; nothing else is.
pub(super) fn is_encoded(session: &HttpSession) -> bool {
    let has_other =
        |name, plain: &[u8]| session.get_header(name).is_some_and(|c| !c.as_bytes().eq_ignore_ascii_case(plain));
    has_other(header::CONTENT_ENCODING, b"identity") || has_other(header::TRANSFER_ENCODING, b"chunked")
}

fn retry_after(session: &HttpSession) -> Option<Duration> {
    let seconds = session.get_header(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}
