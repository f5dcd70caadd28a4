//! Reading from and writing to the client.

use std::future::pending;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::{ReusableHttpStream, ServerSession};
use pingora::{Error, ErrorType, Result};
use siphasher::sip::SipHasher13;

use super::accepted::Accepted;
use super::alarm::Alarm;
use super::body;
use super::ctx::RequestCtx;
use super::fields::Fields;
use super::framing::{self, Framing};
use super::path::normalise;
use super::sending::{Sending, json_type};
use crate::client::Outgoing;
use crate::clock;
use crate::config::ClientKey;
use crate::engine::{Call, Reply, ReplyBody};
use crate::jsonrpc::{Expected, Inspected, Refusal, RequestWords, inspect, whole_secs};
use crate::model::{Buffered, PolicyTime, RequestFacts};
use crate::snapshot::Target;
use crate::upstream::{Ticket, Upstream};

/// Seconds that a connection waits for its next request (nginx's default).
const KEEPALIVE_SECS: u64 = 75;
/// Time limit for parsing a head that has already arrived.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for draining a refused body, so that the client sees the refusal and not a reset.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Capacity for a response's own headers and the two that Pingora adds.
const ANSWER_HEADERS: usize = 6;
/// Bytes of a method name that are logged.
const LOGGED_METHOD: usize = 64;
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Keeps browsers from guessing another type.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Gives a new session the head that was read already.
pub(super) fn begin(session: &mut ServerSession, head: BytesMut) {
    session.set_keepalive(Some(READ_TIMEOUT.as_secs()));
    session.set_pipelined_prefix(head);
}

/// A head that passed the checks.
pub(super) struct Head {
    framing: Framing,
    accepted: Accepted,
}

impl Head {
    /// Whether another request may follow on the connection.
    pub(super) fn may_follow(&self) -> bool {
        self.framing.may_follow
    }
}

/// Parses and checks a whole head. `bare_lf`: one of its lines ends without CR. `None` when it
/// isn't a request's.
pub(super) async fn parse_head(
    session: &mut ServerSession,
    alarm: &mut Alarm,
    bare_lf: bool,
) -> Option<Result<Head, Refusal>> {
    // Parsing needs no read. The timeout holds even if Pingora disagrees.
    let parsed = tokio::select! {
        biased;
        parsed = session.read_request() => parsed,
        () = alarm.after(READ_TIMEOUT) => Ok(false),
    };
    match parsed {
        Ok(true) if bare_lf => Some(Err(Refusal::Malformed("a line of the head ends without a carriage return"))),
        Ok(true) => Some(check_head(session)),
        Ok(false) => None,
        // The parts parsed before the error don't suffice for a response.
        Err(error) if *error.etype() == ErrorType::InvalidHTTPHeader => {
            Some(Err(Refusal::Malformed("the head can't be parsed")))
        }
        Err(_) => {
            session.shutdown().await;
            None
        }
    }
}

fn check_head(session: &ServerSession) -> Result<Head, Refusal> {
    let head = session.req_header();
    let fields = Fields::of(&head.headers);
    let framing = framing::check(head, &fields, &session.to_h1_raw())?;
    Ok(Head { framing, accepted: Accepted::of(&fields, &head.headers) })
}

/// Sets the limits that Pingora leaves open. The connection is kept alive if it `may_follow` and
/// nothing has ended keep-alive before.
pub(super) fn set_limits(session: &mut ServerSession, may_follow: bool) {
    let kept = may_follow && session.get_keepalive().is_some();
    session.set_keepalive(kept.then_some(KEEPALIVE_SECS));
    // Bodies and responses have limits of their own, which cost nothing unless they wait.
    session.set_read_timeout(None);
    session.set_write_timeout(None);
    session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
    // A client may send its next request before it has this response.
    session.set_pipelining_enabled(true);
}

/// Takes the connection of a session with a chunked request for the next one; `None` when it is
/// closed. Pingora doesn't know the body's end. No bytes follow it, or the connection wouldn't be
/// kept.
pub(super) async fn release_endless(session: ServerSession) -> Option<(Stream, Option<BytesMut>)> {
    match session {
        ServerSession::H1(mut session) if session.will_keepalive() => {
            session.finish_body().await.ok()?;
            Some((session.into_inner(), None))
        }
        session => session.finish().await.ok().flatten().map(ReusableHttpStream::into_parts),
    }
}

/// Routes, reads and inspects the request.
pub(super) async fn read_request(
    buffered: &Arc<Buffered>,
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    alarm: &mut Alarm,
    head: Head,
) -> Result<(Arc<Upstream>, Call), Refusal> {
    let request = session.req_header();
    let path = normalise(request.uri.path())?;
    let route = ctx.snapshot.route(None, &path).ok_or(Refusal::NoRoute)?;
    let Target::Upstream(route) = &route.target else { return Err(Refusal::NoRoute) };
    let upstream = Arc::clone(&route.upstream);
    ctx.upstream = Some(Arc::clone(&upstream));
    if request.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    if !route.accept_any_content_type && !head.accepted.json {
        return Err(Refusal::NotJsonType);
    }
    let headers = head.accepted.forwarded?;
    let (max_body, max_buffered) = (ctx.snapshot.config.server.max_body, ctx.snapshot.config.server.max_buffered);
    let body = body::read(buffered, session, ctx, alarm, &head.framing).await?;
    let settings = upstream.settings();
    let inspected = inspect(&body, settings.max_batch_size, &settings.methods)?;
    // The copy exists before it is counted, but a worker makes only one at a time.
    let copied = inspected.renumbered.as_ref().map_or(0, Bytes::len);
    if copied > 0 && !ctx.held.cover(buffered, body.len() + copied, max_buffered) {
        return Err(Refusal::NoMemory);
    }
    ctx.method = inspected.shape.method[..inspected.shape.method.floor_char_boundary(LOGGED_METHOD)].to_owned();
    ctx.batch_size = inspected.shape.size();
    let client_key = client_key(session, ctx.client_key);
    let call = good_call(settings.deadline, inspected, headers, body, max_body, client_key);
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
    let resendable = inspected.shape.is_resendable();
    // The response to a renumbered batch is rebuilt.
    let whole = inspected.renumbered.is_some() && inspected.shape.is_batch();
    let facts = RequestFacts {
        shape: inspected.shape,
        body_bytes: body.len(),
        client_key,
        seed: fastrand::u64(..),
        deadline: clock::now().after(deadline),
        policy_time: PolicyTime::default(),
    };
    let outgoing = Outgoing {
        body: inspected.renumbered.unwrap_or(body),
        headers,
        expected: inspected.expected,
        resendable,
        max_answer,
        whole,
        words: RequestWords::default(),
    };
    Call { facts, outgoing }
}

/// Waits until the client closes its connection.
pub(super) async fn until_gone(session: &mut ServerSession) -> Box<Error> {
    match session.read_body_or_idle(true).await {
        // A byte after a chunked body is lost, so the connection closes after this response.
        Err(error) if *error.etype() == ErrorType::ConnectError => {
            session.set_keepalive(None);
            pending().await
        }
        Err(error) => error,
        Ok(_) => Error::new(ErrorType::ConnectionClosed),
    }
}

/// Forwards an endpoint's response. `place` is the request's under `max_concurrency`.
pub(super) async fn respond(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    reply: Reply,
    place: Option<Ticket>,
) -> Result<()> {
    let content_type = json_type(reply.content_type);
    ctx.status = Some(reply.status);
    match reply.body {
        ReplyBody::Whole(body) => {
            drop(place);
            write_whole(session, reply.status, content_type, reply.retry_after, body).await
        }
        ReplyBody::Streaming(body) => {
            let head = build_head(session, reply.status, content_type, body.length)?;
            let mut sending = Sending::new(session, place);
            sending.begin(head).await?;
            sending.pass_on(*body).await
        }
    }
}

/// Refuses a request. `answer` holds the ids for the error, if the request was valid.
pub(super) async fn respond_refusal(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    why: &Refusal,
    answer: Option<&Expected>,
) -> Result<()> {
    ctx.status = Some(why.status());
    ctx.refusal = Some(why.label());
    // The end of the body is unknown: the bytes that follow can't be parsed as a request.
    if matches!(why, Refusal::Stalled | Refusal::BrokenBody) {
        session.set_keepalive(None);
    }
    write_whole(session, why.status(), JSON, why.retry_after(), why.render(answer)).await
}

async fn write_whole(
    session: &mut ServerSession,
    status: StatusCode,
    content_type: HeaderValue,
    retry_after: Option<Duration>,
    body: Bytes,
) -> Result<()> {
    if status == StatusCode::NO_CONTENT {
        let mut head = ResponseHeader::build_no_case(status, Some(1))?;
        head.insert_header(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)?;
        return Sending::new(session, None).begin(head).await;
    }
    let mut head = build_head(session, status, content_type, Some(body.len()))?;
    if let Some(after) = retry_after {
        head.insert_header(header::RETRY_AFTER, whole_secs(after))?;
    }
    let mut sending = Sending::new(session, None);
    sending.begin(head).await?;
    sending.finish(body).await
}

fn build_head(
    session: &ServerSession,
    status: StatusCode,
    content_type: HeaderValue,
    length: Option<usize>,
) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(status, Some(ANSWER_HEADERS))?;
    head.insert_header(header::CONTENT_TYPE, content_type)?;
    head.insert_header(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)?;
    match length {
        Some(length) => head.insert_header(header::CONTENT_LENGTH, length)?,
        // Without either, the response ends when the connection closes.
        None if session.req_header().version < Version::HTTP_11 => {}
        None => head.insert_header(header::TRANSFER_ENCODING, "chunked")?,
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        head.insert_header(header::ALLOW, "POST")?;
    }
    Ok(head)
}

/// A hash of the client's address without its port. Without the key nobody can compute it or choose
/// addresses that collide.
fn client_key(session: &ServerSession, key: ClientKey) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&key.0);
    session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip).hash(&mut hasher);
    hasher.finish()
}
