//! Reading from and writing to the client.

use std::future::pending;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::protocols::http::{ReusableHttpStream, ServerSession};
use pingora::{Error, ErrorType, Result};
use siphasher::sip::SipHasher13;

use super::accepted::{check_content_type, forwarded};
use super::alarm::Alarm;
use super::chunked::ENDLESS;
use super::ctx::RequestCtx;
use super::path::normalise;
use super::sending::{PIECE, Sending, json_type};
use super::{body, framing};
use crate::clock;
use crate::config::ClientKey;
use crate::model::{PolicyTime, RequestFacts};
use crate::rpc::{Buffered, Call, Expected, Inspected, Outgoing, Refusal, Reply, ReplyBody, inspect};
use crate::upstream::{Admission, Attempt, Upstream};

/// How long a connection waits for its next request, in seconds (nginx's default).
const KEEPALIVE_SECS: u64 = 75;
/// How long a client may be silent in the middle of a request.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take no byte of its answer (nginx's default).
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the rest of a refused body is read, so that the client sees the refusal and not a reset.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a method that the log shows.
const LOGGED_METHOD: usize = 64;
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// No browser guesses another type.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// For a new session: the head is there already.
pub(super) fn begin(session: &mut ServerSession, head: BytesMut) {
    session.set_keepalive(Some(READ_TIMEOUT.as_secs()));
    session.set_pipelined_prefix(head);
}

/// Has a whole head parsed, and checks it: whether another request may follow, or why it is refused. `None` when it is no
/// request's.
pub(super) async fn parse_head(session: &mut ServerSession, alarm: &mut Alarm) -> Option<Result<bool, Refusal>> {
    // Nothing is to be read for it. If Pingora sees that otherwise, there is an end all the same.
    let parsed = tokio::select! {
        biased;
        parsed = session.read_request() => parsed,
        () = alarm.after(READ_TIMEOUT) => Ok(false),
    };
    match parsed {
        Ok(true) => Some(framing::check(session.req_header(), &session.to_h1_raw())),
        Ok(false) => None,
        // What was parsed before the error is no head to answer by.
        Err(error) if *error.etype() == ErrorType::InvalidHTTPHeader => {
            Some(Err(Refusal::Malformed("the head can't be parsed")))
        }
        Err(_) => {
            session.shutdown().await;
            None
        }
    }
}

/// Sets what Pingora leaves unlimited. The connection is kept if that `may_follow`, and nobody has ended it before.
pub(super) fn set_limits(session: &mut ServerSession, may_follow: bool) {
    let kept = may_follow && session.get_keepalive().is_some();
    session.set_keepalive(kept.then_some(KEEPALIVE_SECS));
    session.set_read_timeout(Some(READ_TIMEOUT));
    session.set_write_timeout(Some(WRITE_TIMEOUT));
    session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
    // A client may send its next request before it has this one's answer.
    session.set_pipelining_enabled(true);
}

/// The connection, for its next request, with the beginning of that. `None` when it is closed.
pub(super) async fn release(session: ServerSession) -> Option<(Stream, Option<BytesMut>)> {
    match session {
        // Its end is none that Pingora knows. Nothing came behind it, else the connection wouldn't be kept.
        ServerSession::H1(mut session) if session.will_keepalive() && is_endless(&session) => {
            session.finish_body().await.ok()?;
            Some((session.into_inner(), None))
        }
        session => session.finish().await.ok().flatten().map(ReusableHttpStream::into_parts),
    }
}

fn is_endless(session: &HttpSession) -> bool {
    let length = session.get_header(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()) == Some(ENDLESS)
}

/// Routes, reads and inspects.
pub(super) async fn read_request(
    buffered: &Arc<Buffered>,
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    alarm: &mut Alarm,
) -> Result<(Arc<Upstream>, Call), Refusal> {
    let head = session.req_header();
    let path = normalise(head.uri.path())?;
    let route = ctx.snapshot.route(&path).ok_or(Refusal::NoRoute)?;
    let upstream = Arc::clone(&route.upstream);
    ctx.upstream = Some(Arc::clone(&upstream));
    if head.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    if !route.accept_any_content_type {
        check_content_type(&head.headers)?;
    }
    let headers = forwarded(&head.headers)?;
    let max_body = ctx.snapshot.config.server.max_body;
    let body = body::read(buffered, session, ctx, alarm).await?;
    let inspected = inspect(&body, upstream.max_batch_size, upstream.methods())?;
    ctx.method = inspected.method[..inspected.method.floor_char_boundary(LOGGED_METHOD)].to_owned();
    ctx.batch_size = inspected.batch_size;
    let client_key = client_key(session, ctx.client_key);
    let call = good_call(upstream.deadline, inspected, headers, body, max_body, client_key);
    Ok((upstream, call))
}

fn good_call(
    deadline: Duration,
    inspected: Inspected,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    max_answer: usize,
    client_key: u64,
) -> Call {
    let facts = RequestFacts {
        method: inspected.method,
        methods: inspected.methods,
        batch_size: inspected.batch_size,
        batch: inspected.batch,
        write: inspected.write,
        idempotent: inspected.idempotent,
        body_bytes: body.len(),
        client_key,
        seed: fastrand::u64(..),
        deadline: clock::now().after(deadline),
        policy_time: PolicyTime::default(),
    };
    // The answer to a batch with ids of our own is put together anew.
    let whole = inspected.renumbered.is_some() && inspected.batch;
    let outgoing = Outgoing {
        body: inspected.renumbered.unwrap_or(body),
        headers,
        expected: inspected.expected,
        resendable: !facts.write || facts.idempotent,
        max_answer,
        whole,
    };
    Call { facts, outgoing }
}

/// Ends when the client closes its connection.
pub(super) async fn until_gone(session: &mut ServerSession) -> Box<Error> {
    match session.read_body_or_idle(true).await {
        // Behind a body in chunks: the byte is lost, and so is the connection, once this request is answered.
        Err(error) if *error.etype() == ErrorType::ConnectError => {
            session.set_keepalive(None);
            pending().await
        }
        Err(error) => error,
        Ok(_) => Error::new(ErrorType::ConnectionClosed),
    }
}

/// Passes an endpoint's answer on. `place`: the request's, under `max_concurrency`.
pub(super) async fn respond(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    facts: &RequestFacts,
    reply: Reply<Attempt>,
    place: Option<Admission>,
) -> Result<()> {
    let content_type = json_type(reply.content_type);
    ctx.status = Some(reply.status);
    match reply.body {
        ReplyBody::Whole(body) => {
            drop(place);
            write_whole(session, reply.status, content_type, body).await
        }
        ReplyBody::Arriving { rest, lease, result } => {
            let head = build_head(session, reply.status, content_type, rest.length)?;
            session.write_response_header(Box::new(head)).await?;
            Sending::new(session, place).pass_on(ctx, facts, rest, (lease, result)).await
        }
    }
}

/// Refuses a request; `answer` is what it expected, once it was found to be good: its ids are told.
pub(super) async fn respond_refusal(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    why: &Refusal,
    answer: Option<&Expected>,
) -> Result<()> {
    ctx.status = Some(why.status());
    ctx.refusal = Some(why.label());
    // Where the body ends is not known: what follows can't be taken for a request.
    if matches!(why, Refusal::Stalled | Refusal::BrokenBody) {
        session.set_keepalive(None);
    }
    let body = why.render(answer);
    let mut head = build_head(session, why.status(), JSON, Some(body.len()))?;
    if let Some(seconds) = why.retry_after_secs() {
        head.insert_header(header::RETRY_AFTER, seconds)?;
    }
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(body, true).await
}

async fn write_whole(
    session: &mut ServerSession,
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
) -> Result<()> {
    if status == StatusCode::NO_CONTENT {
        let mut head = ResponseHeader::build(status, Some(1))?;
        head.insert_header(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)?;
        return session.write_response_header(Box::new(head)).await;
    }
    let head = build_head(session, status, content_type, Some(body.len()))?;
    session.write_response_header(Box::new(head)).await?;
    if body.len() <= PIECE {
        return session.write_response_body(body, true).await;
    }
    Sending::new(session, None).finish(body).await
}

fn build_head(
    session: &ServerSession,
    status: StatusCode,
    content_type: HeaderValue,
    length: Option<usize>,
) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(4))?;
    head.insert_header(header::CONTENT_TYPE, content_type)?;
    head.insert_header(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)?;
    match length {
        Some(length) => head.insert_header(header::CONTENT_LENGTH, length)?,
        // Without either the answer ends with the connection.
        None if session.req_header().version < Version::HTTP_11 => {}
        None => head.insert_header(header::TRANSFER_ENCODING, "chunked")?,
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        head.insert_header(header::ALLOW, "POST")?;
    }
    Ok(head)
}

/// The client's address without its port: what its requests have in common. Without the key nobody
/// can compute it, nor choose addresses that collide.
fn client_key(session: &ServerSession, key: ClientKey) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&key.0);
    session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip).hash(&mut hasher);
    hasher.finish()
}
