//! A request that streams through, from its head to its end: what the hooks do with the state of its
//! attempts ([`Relay`]). It is one to a pool of `protocol = "http"`, or opens a WebSocket connection.
//!
//! Invariants: a request is sent again only if all of its body that was read is kept (at most
//! `replay_buffer` bytes), and never once a byte of a response was passed on; a client that is slow
//! or goes away is no endpoint's failure.

mod outcome;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::body_pace::BodyPace;
use super::bounds::Bounds;
use super::ctx::RequestCtx;
use super::direction;
use super::failure;
use super::forwarding::{Hop, forwarding_headers};
use super::framing::{BodyLength, Framing};
use super::grpc;
use super::message_headers;
use super::websocket;
use crate::client::target::Destination;
use crate::client::{HttpVersion, Target, UNRESOLVED};
use crate::clock;
use crate::engine::{Relay, Trace};
use crate::jsonrpc::{Refusal, whole_secs};
use crate::model::{
    AttemptResult, HttpFacts, HttpMethod, MethodClass, Outcome, PolicyTime, Protocol, RequestFacts, RequestShape, Tick,
};
use crate::snapshot;
use crate::upstream::Upstream;

/// Longest pause of a client in the middle of a body.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Longest time in which a client reads no byte of its response (nginx's default).
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// The average rate at which a client must read a response.
const READ_FLOOR: usize = 1 << 10;
/// Headers that an endpoint gets beside the client's.
const ROOM: usize = 8;
const TEXT: &str = "text/plain; charset=utf-8";

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    /// A gRPC call, and the time that its client gives it.
    Call {
        timeout: Option<Duration>,
    },
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
    /// The version of HTTP of the attempt.
    version: HttpVersion,
    /// The time limit of the attempt's head.
    limit: Duration,
    /// The attempt goes on over another connection to its endpoint, which happens once.
    again: bool,
    renewed: bool,
    replay_buffer: usize,
    /// The body may have more bytes than that.
    is_long: bool,
    body: BodyPace,
    /// The head of a call's response was passed on, which its status must follow.
    awaits_status: bool,
    /// The client's fault that ended the request.
    refusal: Option<Refusal>,
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
        let is_call = matches!(kind, Kind::Call { .. });
        session.set_read_timeout((!is_call).then_some(MAX_SILENCE));
        session.set_write_timeout(Some(WRITE_TIMEOUT));
        session.set_min_send_rate(Some(READ_FLOOR));
        let replay_buffer = upstream.settings().replay_buffer;
        let limit = match kind {
            Kind::Call { timeout: Some(timeout) } if timeout.is_zero() => return Err(Refusal::TimedOut),
            Kind::Call { timeout: Some(timeout) } => timeout,
            _ => upstream.settings().deadline,
        };
        let deadline = clock::now().after(limit);
        let facts = facts(session.req_header(), kind, place, framing, deadline, ctx.client_hash);
        let relay = match kind {
            Kind::Http | Kind::Call { .. } => Relay::admit(upstream, facts).await?,
            Kind::WebSocket { .. } => Relay::admit_tunnel(upstream, facts)?,
        };
        let is_long = match framing.body {
            BodyLength::Bytes(length) => length > replay_buffer,
            _ => !session.is_body_done(),
        };
        Ok(Forwarded {
            relay,
            kind,
            path,
            target: None,
            version: HttpVersion::Http1,
            limit: Duration::ZERO,
            again: false,
            renewed: false,
            replay_buffer,
            is_long,
            body: BodyPace::begin(),
            awaits_status: false,
            refusal: None,
        })
    }

    /// The endpoint of the next attempt.
    ///
    /// # Errors
    /// When no endpoint takes the request.
    pub(super) async fn next_peer(&mut self, bounds: Option<&Bounds>, trace: &mut Trace) -> Result<Box<HttpPeer>> {
        let chosen = match self.target.take().filter(|_| std::mem::take(&mut self.again)) {
            Some(target) => Ok((target, self.limit.min(self.relay.deadline().since(clock::now())))),
            None => self.relay.next(trace).await,
        };
        let (target, limit) = chosen.map_err(|refusal| self.refuse(refusal))?;
        self.limit = limit;
        self.awaits_status = false;
        self.body.rewind();
        // A handshake of HTTP/1 opens a WebSocket.
        let is_websocket = matches!(self.kind, Kind::WebSocket { .. });
        self.version = if is_websocket { HttpVersion::Http1 } else { target.version() };
        let Some(mut peer) = target.peer_for_proxy(self.wait_for(&target), self.version) else {
            let unresolved = AttemptResult::failed(Outcome::ConnectFailed, false, UNRESOLVED);
            let retries = self.relay.fail(unresolved, true, trace);
            let mut error = Error::explain(ErrorType::ConnectError, UNRESOLVED);
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

    /// The time limit of each wait for the endpoint. It can't be changed at the head of a response;
    /// over HTTP/2 the wait for the head includes the body of the request.
    fn wait_for(&self, target: &Target) -> Duration {
        let stream = target.settings.stream_timeout;
        match self.kind {
            Kind::Call { timeout: Some(_) } => self.relay.deadline().since(clock::now()).min(stream),
            Kind::Call { timeout: None } => stream,
            Kind::Http if self.is_long && self.version == HttpVersion::Http2 => stream.max(self.limit),
            Kind::Http | Kind::WebSocket { .. } => self.limit,
        }
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
        if self.version == HttpVersion::Http2 && request.version != Version::HTTP_2 {
            return Err(failure::no_http2());
        }
        let destination = &target.destination;
        let from = session.req_header();
        let mut head = message_headers::take(request);
        let headers = &mut head.headers;
        headers.reserve(ROOM + destination.headers.len());
        if self.version == HttpVersion::Http1 {
            message_headers::join_cookies(headers);
        }
        if self.kind == (Kind::WebSocket { whole: true }) {
            websocket::keep_own_headers(headers);
        } else if let Some(client) = ctx.identity {
            let hop = Hop { client, tls: ctx.tls, host: direction::host(from) };
            forwarding_headers(hop, &from.headers, || fastrand::u128(..)).apply(headers);
        }
        if let Some(route) = ctx.route.and_then(|id| ctx.snapshot.route_by_id(id))
            && let snapshot::Target::Upstream(of_route) = &route.target
        {
            of_route.request_headers.apply(headers);
        }
        headers.insert(header::HOST, destination.authority.clone());
        for (name, value) in &destination.headers {
            headers.insert(name, value.clone());
        }
        *request = head.into();
        match self.kind {
            Kind::WebSocket { whole: true } => request.set_raw_path(destination.path.as_bytes()),
            _ => request.set_raw_path(self.path_at(destination, from.uri.query()).as_bytes()),
        }
    }

    /// The path at the endpoint: its own, then the request's.
    fn path_at(&self, destination: &Destination, query: Option<&str>) -> String {
        let mut path = destination.join(&self.path);
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
        self.body.count(piece);
        // A stream of messages has no rate.
        if !matches!(self.kind, Kind::Call { .. }) && self.body.is_too_slow() {
            self.refusal = Some(Refusal::Stalled);
            let error = Error::explain(ErrorType::ReadTimedout, "the client sends its body too slowly");
            return Err(error.into_down());
        }
        Ok(())
    }
}

fn facts(
    head: &RequestHeader,
    kind: Kind,
    place: &Place<'_>,
    framing: &Framing,
    deadline: Tick,
    client_key: u64,
) -> RequestFacts {
    let method = head.method.as_str();
    let (protocol, shape) = match kind {
        Kind::Call { .. } => (Protocol::Grpc, http_shape(head)),
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
        deadline,
        policy_time: PolicyTime::default(),
    }
}

fn http_shape(head: &RequestHeader) -> RequestShape {
    RequestShape::http(head.method.as_str(), head.headers.contains_key("idempotency-key"))
}

/// Refuses a request in plain text, or a gRPC call with its status.
///
/// # Errors
/// When the client is gone.
pub(super) async fn refuse(session: &mut ServerSession, ctx: &mut RequestCtx, why: &Refusal) -> Result<()> {
    ctx.status = Some(why.status());
    ctx.refusal = Some(why.label());
    let request = session.req_header();
    if grpc::is_grpc_call(request) {
        let mut head = grpc::refusal(why)?;
        ctx.status = Some(head.status);
        ctx.complete(&request.headers, &mut head);
        // Clients take the status only from a head that ends the stream.
        return match session {
            ServerSession::H2(stream) => stream.write_response_header(Box::new(head), true),
            _ => session.write_response_header(Box::new(head)).await,
        };
    }
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
