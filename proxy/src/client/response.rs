//! An endpoint's answer, as far as it was read.
//!
//! Most answers are small and as plain as can be: HTTP/1.1, one `Content-Length`, a connection that
//! stays open, no byte too many. They are read here, out of one buffer. All others are Pingora's to
//! read, from their first byte on: chunks, long bodies, ends of connections, odd heads. What isn't
//! plain beyond doubt isn't plain, so there is one place that decides what is odd and what is
//! wrong.
//!
//! Lines of a head may end with a bare LF, as RFC 9112 (section 2.2) lets a recipient accept:
//! nothing of a head is passed on as it is written, and one connection bears one answer at a time,
//! so nobody behind us could find the head's end elsewhere.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use httparse::ParserConfig;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use tokio::io::AsyncReadExt;

use super::idle::{Connection, WorkerId};
use super::replayed::Replayed;
use super::request::JSON;
use super::target::Target;
use crate::clock;
use crate::jsonrpc::decimal;
use crate::model::Outcome;

/// A larger answer isn't read here.
const MAX_HEAD: usize = 16 << 10;
/// Room for a small answer.
const FIRST_READ: usize = 4 << 10;
/// A head with more isn't read here.
const MOST_HEADERS: usize = 64;
/// Seconds are the only form of `Retry-After` that endpoints use; a date is passed over.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const BROKEN_OFF: &str = "broke while the answer was read";

/// Why there is no answer.
pub(super) struct Failure {
    pub(super) outcome: Outcome,
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

/// What a head says that matters here.
#[derive(Debug, PartialEq)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) retry_after: Option<Duration>,
    /// The announced length of the body.
    pub(super) length: Option<usize>,
    /// It is not JSON as it stands there. Chunks are undone by whoever reads the body; nothing else
    /// is.
    pub(super) encoded: bool,
}

/// An answer whose head was read.
pub(super) struct Response {
    pub(super) head: ResponseHead,
    rest: Rest,
    framed_once: bool,
}

enum Rest {
    /// The body, and a connection that can be used again.
    Whole(Bytes, Stream),
    Session(Box<HttpSession>),
}

impl Response {
    /// Reads an answer as far as its head, or all of it if that is easy. It begins with the bytes
    /// of `buffer`.
    pub(super) async fn read(mut stream: Stream, mut buffer: BytesMut) -> Result<Self, Failure> {
        buffer.reserve(FIRST_READ);
        if let Some((head, size)) = read_plain(&mut stream, &mut buffer).await {
            let body = buffer.split_off(size).freeze();
            return Ok(Response { head, rest: Rest::Whole(body, stream), framed_once: true });
        }
        // Boxed, as all that only the others need: a request's future has room for the way of most
        // alone.
        Box::pin(Self::read_by_session(stream, buffer)).await
    }

    async fn read_by_session(stream: Stream, buffer: BytesMut) -> Result<Self, Failure> {
        let framed_once = is_framed_once(&buffer);
        let stream = if buffer.is_empty() { stream } else { Replayed::boxed(buffer, stream) };
        let mut session = Box::new(HttpSession::new(stream));
        let status = read_head(&mut session).await?;
        Ok(Response { head: head_of(status, &session), rest: Rest::Session(session), framed_once })
    }

    /// Reads the body to its end or until there are more than `limit` bytes.
    pub(super) async fn read_body(&mut self, limit: usize) -> Result<Bytes, Failure> {
        match &mut self.rest {
            Rest::Whole(body, _) => Ok(body.clone()),
            Rest::Session(session) => Box::pin(read_body(session, limit)).await,
        }
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ()> {
        match &mut self.rest {
            Rest::Whole(..) => Ok(None),
            Rest::Session(session) => next(session).await,
        }
    }

    /// Whether the body was read to its end.
    pub(super) fn is_complete(&mut self) -> bool {
        match &mut self.rest {
            Rest::Whole(..) => true,
            Rest::Session(session) => session.is_body_done(),
        }
    }

    /// Keeps the connection, which is `worker`'s, for a next request to `target`, if that can be.
    pub(super) async fn release(self, target: &Target, worker: WorkerId) {
        let stream = match self.rest {
            Rest::Whole(_, stream) => Some(stream),
            Rest::Session(_) if !self.framed_once => None,
            Rest::Session(mut session) => {
                session.respect_keepalive();
                Box::pin(session.reuse()).await.and_then(Replayed::into_inner)
            }
        };
        if let Some(stream) = stream {
            target.release(Connection { stream, worker }, clock::now());
        }
    }
}

async fn next(session: &mut HttpSession) -> Result<Option<Bytes>, ()> {
    session.read_body_bytes().await.map_err(drop)
}

async fn read_body(session: &mut HttpSession, limit: usize) -> Result<Bytes, Failure> {
    let mut read = async || next(session).await.map_err(|()| Failure::new(Outcome::Reset, BROKEN_OFF));
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

async fn read_head(session: &mut HttpSession) -> Result<StatusCode, Failure> {
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

fn count(session: &HttpSession, name: &header::HeaderName) -> usize {
    session.resp_header().map_or(0, |head| head.headers.get_all(name).iter().count())
}

/// Whether the head in these bytes says once at most where its body ends, and that beyond doubt.
/// After another the connection isn't used again: the endpoint may think that it ended elsewhere
/// (RFC 9112, section 6.3).
fn is_framed_once(bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let is_read = matches!(response.parse(bytes), Ok(httparse::Status::Complete(_)));
    let is_final = response.code.is_some_and(|code| code >= 200);
    let is_framing = |header: &&httparse::Header<'_>| {
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name.as_str()))
    };
    is_read && is_final && response.headers.iter().filter(is_framing).count() <= 1
}

fn head_of(status: StatusCode, session: &HttpSession) -> ResponseHead {
    let value = |name| session.get_header(name).map(HeaderValue::as_bytes);
    let is_chunked_at_most = value(header::TRANSFER_ENCODING).is_none_or(|v| v.eq_ignore_ascii_case(b"chunked"));
    ResponseHead {
        status,
        content_type: session.get_header(header::CONTENT_TYPE).cloned(),
        retry_after: value(header::RETRY_AFTER).and_then(retry_after),
        length: value(header::CONTENT_LENGTH).and_then(|value| decimal(value.trim_ascii())),
        encoded: !is_chunked_at_most
            || count(session, &header::TRANSFER_ENCODING) > 1
            || !value(header::CONTENT_ENCODING).is_none_or(is_identity),
    }
}

/// Reads into `buffer` until a plain answer is there; the second number is the size of its head.
/// `None` when the answer turns out not to be plain, or when it ends early: what was read is in the
/// buffer.
async fn read_plain(stream: &mut Stream, buffer: &mut BytesMut) -> Option<(ResponseHead, usize)> {
    loop {
        if !buffer.is_empty() {
            match parse(buffer) {
                Parsed::Whole(head, size) => return Some((head, size)),
                Parsed::Unfinished if buffer.len() < MAX_HEAD => {}
                Parsed::Unfinished | Parsed::Other => return None,
            }
        }
        if buffer.spare_capacity_mut().is_empty() {
            buffer.reserve(buffer.len());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

#[derive(Debug, PartialEq)]
enum Parsed {
    /// A plain answer; the number is the size of its head.
    Whole(ResponseHead, usize),
    /// As far as it is there it is plain.
    Unfinished,
    Other,
}

fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut headers);
    let size = match parsed {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Parsed::Unfinished,
        Err(_) => return Parsed::Other,
    };
    let Some(head) = plain_head(&response) else { return Parsed::Other };
    let there = bytes.len() - size;
    match head.length {
        Some(length) if length == there => Parsed::Whole(head, size),
        Some(length) if length > there && length <= MAX_HEAD.saturating_sub(size) => Parsed::Unfinished,
        _ => Parsed::Other,
    }
}

/// The head, if nothing about it asks for more than reading as many bytes as it announces.
fn plain_head(response: &httparse::Response<'_, '_>) -> Option<ResponseHead> {
    let status = StatusCode::from_u16(response.code?).ok()?;
    let has_body = !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    if response.version != Some(1) || !has_body {
        return None;
    }
    let mut head = ResponseHead { status, content_type: None, retry_after: None, length: None, encoded: false };
    for header in &*response.headers {
        let (name, value) = (header.name, header.value);
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        // By their lengths, since most headers of an answer are none of these.
        match name.len() {
            14 if is("content-length") => {
                if head.length.is_some() {
                    return None;
                }
                head.length = Some(decimal(value)?);
            }
            12 if is("content-type") && head.content_type.is_none() => head.content_type = content_type(value),
            17 if is("transfer-encoding") => return None,
            7 if is("upgrade") => return None,
            10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            16 if is("content-encoding") => head.encoded |= !is_identity(value),
            11 if is("retry-after") && head.retry_after.is_none() => head.retry_after = retry_after(value),
            _ => {}
        }
    }
    Some(head)
}

fn content_type(value: &[u8]) -> Option<HeaderValue> {
    if value == JSON.as_bytes() { Some(JSON) } else { HeaderValue::from_bytes(value).ok() }
}

fn retry_after(value: &[u8]) -> Option<Duration> {
    let seconds = decimal(value.trim_ascii())?;
    Some(Duration::from_secs(seconds as u64).min(MAX_RETRY_AFTER))
}

fn is_identity(encoding: &[u8]) -> bool {
    encoding.eq_ignore_ascii_case(b"identity")
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
