//! Facts about one request for the log and the metrics, however it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use pingora::server::ShutdownWatch;

use super::ProxyService;
use super::bounds::Bounds;
use super::client_identity::{ClientAddress, ClientKeyMaterial};
use super::forward::Forwarded;
use super::framing::Framing;
use super::own_answers::complete;
use crate::clock;
use crate::config::ClientKey;
use crate::engine::Trace;
use crate::logging::AccessLine;
use crate::metrics::NO_UPSTREAM;
use crate::model::Held;
use crate::model::Tick;
use crate::snapshot::{Headers, RouteId, Snapshot};
use crate::upstream::Upstream;

/// The logged status of a request whose client went away first, as in nginx.
pub(super) const STATUS_CLIENT_GONE: u16 = 499;

/// One request.
pub struct RequestCtx {
    /// The generation that serves it.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) began: Tick,
    pub(super) upstream: Option<Arc<Upstream>>,
    pub(super) method: String,
    pub(super) batch_size: u32,
    pub(super) trace: Trace,
    /// The status of the response, once it was sent.
    pub(super) status: Option<StatusCode>,
    pub(super) refusal: Option<&'static str>,
    /// The memory counted for its body.
    pub(super) held: Held,
    /// The client's address; port 0 if another proxy named it.
    pub(super) client: Option<SocketAddr>,
    /// How that address is known.
    pub(super) identity: Option<ClientAddress>,
    /// The hash of the client's key, for policies and rules.
    pub(super) client_hash: u64,
    /// The connection has TLS.
    pub(super) tls: bool,
    /// The route of the request.
    pub(super) route: Option<RouteId>,
    /// The framing of a head of HTTP/1, which was read before.
    pub(super) framing: Option<Framing>,
    /// The bounds of a request over HTTP/1.
    pub(super) bounds: Option<Bounds>,
    /// Tells when the process drains.
    pub(super) shutdown: Option<ShutdownWatch>,
    /// The attempts of a request that streams through.
    pub(super) forwarded: Option<Box<Forwarded>>,
    /// The key that hashes client addresses.
    client_key: ClientKey,
    _in_flight: InFlight,
}

struct InFlight(Arc<AtomicUsize>);

impl RequestCtx {
    pub(super) fn new(service: &ProxyService) -> Self {
        let snapshot = service.published.load();
        RequestCtx {
            client_key: snapshot.config.server.client_key.unwrap_or(service.client_key),
            snapshot,
            began: clock::now(),
            upstream: None,
            method: String::new(),
            batch_size: 0,
            trace: Trace::default(),
            status: None,
            refusal: None,
            held: Held::default(),
            client: None,
            identity: None,
            client_hash: 0,
            tls: false,
            route: None,
            framing: None,
            bounds: None,
            shutdown: None,
            forwarded: None,
            _in_flight: InFlight::new(&service.in_flight),
        }
    }

    /// Finds out who the client is. `peer` is the other end of the connection, `headers` are the
    /// request's.
    pub(super) fn identify(&mut self, peer: SocketAddr, headers: &HeaderMap, certificate: Option<&[u8]>) {
        let server = &self.snapshot.config.server;
        let found = ClientAddress::find(peer.ip(), &server.trusted_proxies, headers);
        let port = if found.address == found.peer { peer.port() } else { 0 };
        let material = ClientKeyMaterial::find(&server.client_key_source, found.address, headers, certificate);
        self.client_hash = material.hash(self.client_key);
        self.client = Some(SocketAddr::new(found.address, port));
        self.identity = Some(found);
    }

    /// Adds to a response what its route adds to every one. `headers` are the request's.
    pub(super) fn complete(&self, headers: &HeaderMap, response: &mut impl Headers) {
        if let Some(route) = self.route.and_then(|id| self.snapshot.route_by_id(id)) {
            complete(route, headers, response);
        }
    }

    /// The access log line.
    pub(super) fn access_line(&self, status: u16, latency: Duration) -> AccessLine<'_> {
        let outcome = self.refusal.or(self.trace.outcome.map(|outcome| outcome.label()));
        AccessLine {
            client: self.client.as_ref(),
            upstream: self.upstream.as_ref().map_or(NO_UPSTREAM, |upstream| upstream.name()),
            method: &self.method,
            batch: self.batch_size,
            endpoint: self.trace.endpoint.as_deref(),
            attempts: self.trace.attempts,
            outcome: outcome.unwrap_or("canceled"),
            status,
            latency,
            generation: self.snapshot.generation,
        }
    }
}

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        InFlight(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
