//! An endpoint's response, as far as it was read.
//!
//! Most responses are small and plain: HTTP/1.1, one `Content-Length`, a connection that stays
//! open, no surplus bytes. They are parsed here, from one buffer. Pingora parses all others from
//! their first byte on: chunks, long bodies, ends of connections, odd heads. Any doubt makes a
//! response not plain, so one place decides what is odd and what is wrong.
//!
//! Lines of a head may end with a bare LF, which RFC 9112 (section 2.2) lets a recipient accept: no
//! part of a head is passed on as it is written, and a connection carries one response at a time,
//! so no reader behind the proxy could find another end of the head.

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

/// The largest response that is parsed here.
const MAX_HEAD: usize = 16 << 10;
/// Buffer size for a small response.
const FIRST_READ: usize = 4 << 10;
/// Maximum headers of a response that is parsed here.
const MOST_HEADERS: usize = 64;
/// The longest delay that is believed. Endpoints send seconds in `Retry-After`; a date is ignored.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
pub(super) const BROKEN_OFF: &str = "broke while the answer was read";

/// The reason for a missing response.
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) detail: &'static str,
    /// No byte of a response was read.
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

/// The relevant fields of a response's head.
#[derive(Debug, PartialEq)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) retry_after: Option<Duration>,
    /// The announced length of the body.
    pub(super) length: Option<usize>,
    /// The body as it is isn't JSON. Chunks are decoded when the body is read; no other coding is.
    pub(super) encoded: bool,
}

/// A response whose head was read.
pub(super) struct Response {
    pub(super) head: ResponseHead,
    rest: Rest,
    framed_once: bool,
}

enum Rest {
    /// The body, and a reusable connection.
    Whole(Bytes, Stream),
    Session(Box<HttpSession>),
}

impl Response {
    /// Reads the head of a response, or all of it if it is plain. The bytes of `buffer` are its
    /// beginning.
    pub(super) async fn read(mut stream: Stream, mut buffer: BytesMut) -> Result<Self, Failure> {
        buffer.reserve(FIRST_READ);
        if let Some((head, size)) = read_plain(&mut stream, &mut buffer).await {
            let body = buffer.split_off(size).freeze();
            return Ok(Response { head, rest: Rest::Whole(body, stream), framed_once: true });
        }
        // Boxed, as is all that only odd responses need: the future of each request would have room
        // for it.
        Box::pin(Self::read_by_session(stream, buffer)).await
    }

    async fn read_by_session(stream: Stream, buffer: BytesMut) -> Result<Self, Failure> {
        let framed_once = is_framed_once(&buffer);
        let stream = if buffer.is_empty() { stream } else { Replayed::boxed(buffer, stream) };
        let mut session = Box::new(HttpSession::new(stream));
        let status = read_head(&mut session).await?;
        Ok(Response { head: head_of(status, &session), rest: Rest::Session(session), framed_once })
    }

    /// Reads the body to its end, or until it exceeds `limit` bytes.
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

    /// Returns the connection of `worker` to the idle pool of `target`, if it is reusable.
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

/// Whether the head declares the end of its body at most once and without doubt. Otherwise the
/// connection isn't reused: the endpoint may have meant another end (RFC 9112, section 6.3).
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

/// Reads into `buffer` until it holds a plain response. Returns its head and the head's size.
/// `None` when the response isn't plain or ends early; `buffer` keeps the bytes.
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
    /// Plain so far, but incomplete.
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

/// The head, if reading as many bytes as it announces completes the response.
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
        // By length first: most response headers match none of these.
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

/// The delay of a `Retry-After`, if it is in seconds.
pub fn retry_after(value: &[u8]) -> Option<Duration> {
    let seconds = decimal(value.trim_ascii())?;
    Some(Duration::from_secs(seconds as u64).min(MAX_RETRY_AFTER))
}

fn is_identity(encoding: &[u8]) -> bool {
    encoding.eq_ignore_ascii_case(b"identity")
}

#[cfg(test)]
mod tests;
