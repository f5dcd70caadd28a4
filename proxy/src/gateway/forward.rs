//! A request that streams through, from its head to its end: what the hooks do with the state of its
//! attempts ([`Relay`]). It is one to a pool of `protocol = "http"`, or opens a WebSocket connection.
//!
//! Invariants: a request is sent again only if all of its body that was read is kept (at most
//! `replay_buffer` bytes), and never once a byte of a response was passed on; a client that is slow
//! or goes away is no endpoint's failure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;

use super::bounds::Bounds;
use super::ctx::RequestCtx;
use super::direction;
use super::forwarding::{Hop, forwarding_headers};
use super::framing::{BodyLength, Framing};
use super::websocket;
use crate::client::target::Destination;
use crate::client::{Target, retry_after};
use crate::clock;
use crate::engine::{Relay, Trace, classify};
use crate::jsonrpc::{Refusal, whole_secs};
use crate::model::{
    AttemptResult, FloorRate, HttpFacts, HttpMethod, MethodClass, Outcome, Pace, PolicyTime, Protocol, RequestFacts,
    RequestShape, Tick,
};
use crate::snapshot;
use crate::upstream::Upstream;

/// The average rate at which a client must send a body (Apache's `RequestReadTimeout`).
const BODY_FLOOR: FloorRate = FloorRate { bytes_per_sec: 1 << 10, grace: Duration::from_secs(10) };
/// Longest pause of a client in the middle of a body.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Longest time in which a client reads no byte of its response (nginx's default).
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The average rate at which a client must read a response.
const READ_FLOOR: usize = 1 << 10;
const TEXT: &str = "text/plain; charset=utf-8";

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    /// The handshake of a WebSocket connection. `whole`: to the endpoint's URL, whatever the
    /// client's path.
    WebSocket {
        whole: bool,
    },
}

/// Where a request goes, in the client's words.
pub(super) struct Place<'h> {
    /// The normal form of the path.
    pub(super) path: &'h str,
    /// The hash of the host.
    pub(super) host: u64,
}

/// The state of a request that streams through.
pub(super) struct Forwarded {
    relay: Relay,
    kind: Kind,
    /// The path for endpoints behind their own, without the query.
    path: String,
    target: Option<Arc<Target>>,
    /// The time limit of each wait for the endpoint.
    limit: Duration,
    /// The attempt goes on over another connection to its endpoint, which happens once.
    again: bool,
    renewed: bool,
    replay_buffer: usize,
    /// The client's progress with its body.
    body: BodyPace,
    /// The client's fault that ended the request.
    refusal: Option<Refusal>,
}

/// The rate of a request's body, and what has come of it.
struct BodyPace {
    pace: Pace,
    since: Tick,
    bytes: usize,
}

impl Forwarded {
    /// Admits a request, whose head was checked.
    ///
    /// # Errors
    /// When too many are under way.
    pub(super) async fn begin(
        upstream: Arc<Upstream>,
        session: &mut ServerSession,
        kind: Kind,
        place: &Place<'_>,
        path: String,
        framing: &Framing,
        ctx: &RequestCtx,
    ) -> std::result::Result<Self, Refusal> {
        session.set_read_timeout(Some(MAX_SILENCE));
        session.set_write_timeout(Some(WRITE_TIMEOUT));
        session.set_min_send_rate(Some(READ_FLOOR));
        let replay_buffer = upstream.settings().replay_buffer;
        let (deadline, client_key) = (upstream.settings().deadline, ctx.client_hash);
        let facts = facts(session.req_header(), kind, place, framing, deadline, client_key);
        let relay = match kind {
            Kind::Http => Relay::admit(upstream, facts).await?,
            Kind::WebSocket { .. } => Relay::admit_tunnel(upstream, facts)?,
        };
        let body = BodyPace { pace: Pace::new(BODY_FLOOR), since: clock::now(), bytes: 0 };
        Ok(Forwarded {
            relay,
            kind,
            path,
            target: None,
            limit: Duration::ZERO,
            again: false,
            renewed: false,
            replay_buffer,
            body,
            refusal: None,
        })
    }

    /// The endpoint of the next attempt.
    ///
    /// # Errors
    /// When no endpoint takes the request.
    pub(super) async fn next_peer(&mut self, bounds: Option<&Bounds>, trace: &mut Trace) -> Result<Box<HttpPeer>> {
        let chosen = match self.target.take().filter(|_| std::mem::take(&mut self.again)) {
            Some(target) => Ok((target, self.limit)),
            None => self.relay.next(trace).await,
        };
        let (target, limit) = chosen.map_err(|refusal| self.refuse(refusal))?;
        self.limit = limit;
        let Some(mut peer) = target.peer_for_proxy(limit) else {
            let unresolved = AttemptResult::failed(Outcome::ConnectFailed, false, "the host name has no address");
            let retries = self.relay.fail(unresolved, true, trace);
            let mut error = Error::explain(ErrorType::ConnectError, "the host name has no address");
            error.set_retry(retries);
            return Err(error);
        };
        if let (Kind::WebSocket { .. }, Some(bounds)) = (self.kind, bounds) {
            // A time limit of the connection would go on after the handshake.
            peer.options.read_timeout = None;
            bounds.await_handshake(clock::now().after(limit));
        }
        self.target = Some(target);
        Ok(Box::new(peer))
    }

    fn refuse(&mut self, refusal: Refusal) -> Box<Error> {
        let status = refusal.status().as_u16();
        self.refusal = Some(refusal);
        Error::explain(ErrorType::HTTPStatus(status), "no endpoint takes the request")
    }

    /// Directs the request to the endpoint: its host and path, the headers that tell of the client,
    /// the route's, and the endpoint's own, which win.
    pub(super) fn direct(&self, session: &Session, request: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
        let Some(target) = &self.target else { return Ok(()) };
        let destination = &target.destination;
        let from = session.req_header();
        if self.kind == (Kind::WebSocket { whole: true }) {
            websocket::keep_own_headers(request);
        } else if let Some(client) = ctx.identity {
            let hop = Hop { client, tls: ctx.tls, host: direction::host(from) };
            forwarding_headers(hop, &from.headers, || fastrand::u128(..)).apply(request);
        }
        if let Some(route) = ctx.route.and_then(|id| ctx.snapshot.route_by_id(id))
            && let snapshot::Target::Upstream(of_route) = &route.target
        {
            of_route.request_headers.apply(request);
        }
        let path = match self.kind {
            Kind::WebSocket { whole: true } => Cow::Borrowed(&*destination.path),
            _ => Cow::Owned(self.path_at(destination, from.uri.query())),
        };
        request.set_raw_path(path.as_bytes())?;
        request.insert_header(header::HOST, destination.authority.clone())?;
        for (name, value) in &destination.headers {
            request.insert_header(name.clone(), value.clone())?;
        }
        Ok(())
    }

    /// The path at the endpoint: its own, then the request's.
    fn path_at(&self, destination: &Destination, query: Option<&str>) -> String {
        let (base, _) = destination.path.split_once('?').unwrap_or((&destination.path, ""));
        let mut path = format!("{}{}", base.trim_end_matches('/'), self.path);
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        path
    }

    /// Counts a piece of the request's body.
    ///
    /// # Errors
    /// When the client sends below the floor rate.
    pub(super) fn count(&mut self, piece: Option<&Bytes>) -> Result<()> {
        let now = clock::now();
        let size = piece.map_or(0, Bytes::len);
        self.body.bytes += size;
        self.body.pace.record(size, now.since(self.body.since));
        self.body.since = now;
        if self.body.pace.allowance(0).is_zero() {
            self.refusal = Some(Refusal::Stalled);
            let error = Error::explain(ErrorType::ReadTimedout, "the client sends its body too slowly");
            return Err(error.into_down());
        }
        Ok(())
    }

    /// Judges the head of a response, before any of it is passed on.
    ///
    /// # Errors
    /// When another endpoint is tried instead.
    pub(super) fn judge(&mut self, head: &ResponseHeader, replayable: bool, trace: &mut Trace) -> Result<()> {
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        let after = head.headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value.as_bytes()));
        let result = classify(head.status.as_u16(), after);
        if result.outcome == Outcome::Success {
            self.relay.begin_answer(result, trace);
            return Ok(());
        }
        if self.relay.fail(result, replayable && self.is_replayable(), trace) {
            return Err(
                Error::explain(ErrorType::HTTPStatus(head.status.as_u16()), "another endpoint is tried").into_up()
            );
        }
        Ok(())
    }

    /// The connection that a response of 101 opens, if it answers a handshake.
    pub(super) fn opens(&self, head: &ResponseHeader) -> Option<(Arc<Upstream>, u32)> {
        let is_open = head.status == StatusCode::SWITCHING_PROTOCOLS && self.kind != Kind::Http;
        is_open.then(|| self.relay.endpoint()).flatten()
    }

    /// Whether the body, as far as it was read, fits into the replay buffer.
    fn is_replayable(&self) -> bool {
        self.body.bytes <= self.replay_buffer
    }

    /// Ends an attempt that couldn't connect.
    pub(super) fn fail_to_connect(&mut self, error: &Error, trace: &mut Trace) -> bool {
        let Some(target) = &self.target else { return false };
        let result = AttemptResult::failed(Outcome::ConnectFailed, false, target.fail_to_connect(error));
        self.relay.fail(result, self.is_replayable(), trace)
    }

    /// Ends an attempt that broke. Returns whether another one follows.
    pub(super) fn fail(
        &mut self,
        session: &mut Session,
        bounds: Option<&Bounds>,
        (error, reused): (&Error, bool),
        trace: &mut Trace,
    ) -> bool {
        if self.relay.is_retrying() {
            return true;
        }
        if bounds.is_some_and(Bounds::is_handshake_late) {
            let late = AttemptResult::failed(Outcome::Timeout, true, "timed out in the handshake");
            return self.relay.fail(late, true, trace);
        }
        if *error.esource() == ErrorSource::Downstream || self.refusal.is_some() || is_client_late(session, error) {
            if self.refusal.is_none() && *error.etype() == ErrorType::ReadTimedout {
                self.refusal = Some(Refusal::Stalled);
            }
            self.relay.cancel(trace);
            return false;
        }
        let result = broken(error);
        let replayable = self.is_replayable() && !session.as_ref().retry_buffer_truncated();
        if session.response_written().is_some_and(|head| !head.status.is_informational()) {
            self.relay.break_off(result, trace);
            return false;
        }
        // The endpoint closed the idle connection just as it was reused.
        if reused && result.outcome == Outcome::Reset && replayable && !self.renewed && self.relay.is_resendable() {
            (self.renewed, self.again) = (true, true);
            return true;
        }
        self.relay.fail(result, replayable, trace)
    }

    /// Ends the request.
    pub(super) fn end(&mut self, error: Option<&Error>, trace: &mut Trace) {
        match error {
            None => self.relay.finish(),
            Some(_) => self.relay.cancel(trace),
        }
        self.relay.end(trace);
    }

    /// The refusal for the client, after `error` ended the request without a response.
    pub(super) fn refusal(&self) -> Refusal {
        self.refusal.clone().unwrap_or_else(|| self.relay.refusal())
    }
}

/// Whether the wait for the endpoint was a wait for the client, whose body isn't complete.
fn is_client_late(session: &mut Session, error: &Error) -> bool {
    *error.etype() == ErrorType::ReadTimedout && !session.as_mut().is_body_done()
}

/// The result of an attempt whose connection broke.
fn broken(error: &Error) -> AttemptResult {
    use ErrorType as E;
    match error.etype() {
        E::ReadTimedout | E::WriteTimedout => AttemptResult::failed(Outcome::Timeout, true, "timed out"),
        E::InvalidHTTPHeader | E::InvalidH2 | E::H2Error | E::H2Downgrade => {
            AttemptResult::failed(Outcome::BadResponse, true, "the response is not well-formed HTTP")
        }
        _ => AttemptResult::failed(Outcome::Reset, true, "the connection broke"),
    }
}

fn facts(
    head: &RequestHeader,
    kind: Kind,
    place: &Place<'_>,
    framing: &Framing,
    deadline: Duration,
    client_key: u64,
) -> RequestFacts {
    let method = head.method.as_str();
    let (protocol, shape) = match kind {
        Kind::Http if is_grpc(head) => (Protocol::Grpc, http_shape(head)),
        Kind::Http => (Protocol::Http, http_shape(head)),
        Kind::WebSocket { .. } => {
            (Protocol::WebSocket, RequestShape::single(websocket::METHOD.to_owned(), MethodClass::Read))
        }
    };
    RequestFacts {
        shape,
        http: HttpFacts::new(protocol, HttpMethod::named(method)).at(place.path).of_host(place.host),
        body_bytes: if let BodyLength::Bytes(length) = framing.body { length } else { 0 },
        client_key,
        seed: fastrand::u64(..),
        deadline: clock::now().after(deadline),
        policy_time: PolicyTime::default(),
    }
}

fn http_shape(head: &RequestHeader) -> RequestShape {
    RequestShape::http(head.method.as_str(), head.headers.contains_key("idempotency-key"))
}

fn is_grpc(head: &RequestHeader) -> bool {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Refuses a request in plain text.
///
/// # Errors
/// When the client is gone.
pub(super) async fn refuse(session: &mut ServerSession, ctx: &mut RequestCtx, why: &Refusal) -> Result<()> {
    ctx.status = Some(why.status());
    ctx.refusal = Some(why.label());
    let text = Bytes::from(format!("{why}\n"));
    let mut head = ResponseHeader::build_no_case(why.status(), Some(4))?;
    head.insert_header(header::CONTENT_TYPE, TEXT)?;
    head.insert_header(header::CONTENT_LENGTH, text.len())?;
    if let Some(after) = why.retry_after() {
        head.insert_header(header::RETRY_AFTER, whole_secs(after))?;
    }
    ctx.complete(&session.req_header().headers, &mut head);
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(text, true).await
}
