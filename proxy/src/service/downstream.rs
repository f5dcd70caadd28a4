//! Reading from and writing to the client.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};

use super::ctx::RequestCtx;
use crate::clock;
use crate::model::{PolicyTime, RequestFacts};
use crate::rpc::{Ask, Call, Case, Expected, Inspected, Lease, Outgoing, Refusal, Reply, ReplyBody, inspect};
use crate::upstream::{Attempt, Place, Upstream};

/// How long a connection waits for its next request, in seconds (nginx's default).
const KEEPALIVE_SECS: u64 = 75;
/// How long a client may be silent in the middle of a request.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take no byte of its answer (nginx's default).
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Memory that is taken for a body on the word of its client alone.
const MOST_AT_ONCE: usize = 1 << 20;
/// How long the rest of a refused body is read, so that the client sees the refusal and not a reset.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a method that the log shows.
const LOGGED_METHOD: usize = 64;
/// The client's headers that endpoints get. All others stay here: cookies and credentials are meant for the proxy.
const FORWARDED: [HeaderName; 4] = [
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// For a new connection: a client may not connect and be silent.
pub(super) fn begin(session: &mut ServerSession) {
    session.set_keepalive(Some(READ_TIMEOUT.as_secs()));
}

/// Reads a request's head. Tells whether there is one: most connections end by being closed before their next.
pub(super) async fn read_head(session: &mut ServerSession) -> bool {
    match session.read_request().await {
        Ok(has_one) => has_one,
        Err(error) => {
            if *error.etype() == ErrorType::InvalidHTTPHeader {
                session.respond_error(StatusCode::BAD_REQUEST.as_u16()).await.ok();
            }
            session.shutdown().await;
            false
        }
    }
}

/// Sets what Pingora leaves unlimited. A process that is `ending` keeps no connection.
pub(super) fn set_limits(session: &mut ServerSession, ending: bool) {
    let head = session.req_header();
    // A client of HTTP/1.0 takes the end of the connection for the end of the answer. After CONNECT nothing is a request.
    let last = ending || head.version < Version::HTTP_11 || head.method == Method::CONNECT;
    session.set_keepalive(if last { None } else { Some(KEEPALIVE_SECS) });
    session.set_read_timeout(Some(READ_TIMEOUT));
    session.set_write_timeout(Some(WRITE_TIMEOUT));
    session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
    // A client may send its next request before it has this one's answer.
    session.set_pipelining_enabled(true);
}

/// Routes, finds a place, reads and inspects.
pub(super) async fn read_request(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
) -> Result<(Arc<Upstream>, Place, Call), Refusal> {
    let upstream = ctx.snapshot.route(session.req_header().uri.path()).map(Arc::clone).ok_or(Refusal::NoRoute)?;
    ctx.upstream = Some(Arc::clone(&upstream));
    if session.req_header().method != Method::POST {
        return Err(Refusal::NotPost);
    }
    let place = upstream.enter()?;
    let max_body = ctx.snapshot.config.server.max_body;
    let body = read_body(session, max_body).await?;
    let inspected = inspect(&body, upstream.max_batch_size, upstream.methods())?;
    ctx.method = inspected.method[..inspected.method.floor_char_boundary(LOGGED_METHOD)].to_owned();
    ctx.batch_size = inspected.batch_size;
    let call = good_call(session, &upstream, inspected, body, max_body);
    Ok((upstream, place, call))
}

fn good_call(
    session: &ServerSession,
    upstream: &Upstream,
    inspected: Inspected,
    body: Bytes,
    max_answer: usize,
) -> Call {
    let facts = RequestFacts {
        method: inspected.method,
        methods: inspected.methods,
        batch_size: inspected.batch_size,
        batch: inspected.batch,
        write: inspected.write,
        idempotent: inspected.idempotent,
        body_bytes: body.len(),
        client_key: client_key(session),
        seed: fastrand::u64(..),
        deadline: clock::now().after(upstream.deadline),
        policy_time: PolicyTime::default(),
    };
    let headers = &session.req_header().headers;
    let forwarded = FORWARDED.into_iter().filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)));
    let outgoing = Outgoing {
        body,
        headers: forwarded.filter(|(name, _)| !is_nominated(headers, name)).collect(),
        expected: inspected.expected,
        resendable: !facts.write || facts.idempotent,
        max_answer,
        whole: false,
    };
    Call { facts, outgoing }
}

async fn read_body(session: &mut ServerSession, max: usize) -> Result<Bytes, Refusal> {
    let announced = content_length(session);
    if announced.is_some_and(|length| length > max) {
        return Err(Refusal::BodyTooLarge(max));
    }
    if expects_continue(session) {
        session.write_continue_response().await.map_err(|_| Refusal::Stalled)?;
    }
    // What a client announces is believed up to a point: beyond it memory is taken as the bytes come.
    let mut body = BytesMut::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(piece)) if body.is_empty() && Some(piece.len()) == announced => return Ok(piece),
            Ok(Some(piece)) => {
                if body.is_empty() {
                    body.reserve(announced.unwrap_or_default().min(MOST_AT_ONCE).max(piece.len()));
                }
                body.extend_from_slice(&piece);
            }
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(unreadable(&error)),
        }
        if body.len() > max {
            return Err(Refusal::BodyTooLarge(max));
        }
    }
}

fn unreadable(error: &Error) -> Refusal {
    match error.etype() {
        ErrorType::ReadTimedout => Refusal::Stalled,
        _ => Refusal::BrokenBody,
    }
}

/// Ends when the client closes its connection.
pub(super) async fn until_gone(session: &mut ServerSession) -> Box<Error> {
    match session.read_body_or_idle(true).await {
        Err(error) => error,
        Ok(_) => Error::new(ErrorType::ConnectionClosed),
    }
}

/// Passes an endpoint's answer on.
pub(super) async fn respond(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    call: &Call,
    reply: Reply<Attempt>,
) -> Result<()> {
    let content_type = reply.content_type.unwrap_or(JSON);
    ctx.status = Some(reply.status);
    match reply.body {
        ReplyBody::Whole(body) => write_whole(session, reply.status, content_type, body).await,
        ReplyBody::Arriving { mut rest, lease, result } => {
            let passing_on = clock::now();
            let head = build_head(session, reply.status, content_type, rest.length)?;
            session.write_response_header(Box::new(head)).await?;
            let mut piece = Some(std::mem::take(&mut rest.beginning));
            while let Some(bytes) = piece {
                // An error drops the lease: the attempt is settled as canceled.
                session.write_response_body(bytes, false).await?;
                piece = match rest.next().await {
                    Ok(piece) => piece,
                    Err(mut broken) => {
                        broken.latency = result.latency + clock::now().since(passing_on);
                        let case = Case { request: &call.facts, result: &broken, may_retry: false, member: false };
                        let ask = Ask { attempt: ctx.trace.attempts, ..Ask::first(&call.facts, clock::now()) };
                        lease.fail(&ask, &broken, &[case]);
                        return Err(Error::explain(ErrorType::ReadError, broken.detail));
                    }
                };
            }
            session.write_response_body(Bytes::new(), true).await?;
            rest.finish().await;
            // The latency stays that of the answer's beginning: the rest comes as fast as the client takes it.
            lease.succeed(&call.facts, &result);
            Ok(())
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
        return session.write_response_header(Box::new(ResponseHeader::build(status, None)?)).await;
    }
    let head = build_head(session, status, content_type, Some(body.len()))?;
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(body, true).await
}

fn build_head(
    session: &ServerSession,
    status: StatusCode,
    content_type: HeaderValue,
    length: Option<usize>,
) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(4))?;
    head.insert_header(header::CONTENT_TYPE, content_type)?;
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

/// What `Connection` names is meant for this hop alone (RFC 9110, section 7.6.1).
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
}

/// The client's address without its port: what its requests have in common.
fn client_key(session: &ServerSession) -> u64 {
    let mut hasher = DefaultHasher::new();
    session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip).hash(&mut hasher);
    hasher.finish()
}

fn content_length(session: &ServerSession) -> Option<usize> {
    session.req_header().headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn expects_continue(session: &ServerSession) -> bool {
    let expect = session.req_header().headers.get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
