//! The life of a client's connection, request by request.
//!
//! ```text
//! head ── strict reading ──┬─ plain ──► express lane ─┐
//!   ▲                      ├─ other ──► ProxyHttp ────┼─► closed, or
//!   │                      └─ malformed ► 400, closed │
//!   └───────────────────── next request ◄─────────────┘
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};

use super::ProxyService;
use super::alarm::Alarm;
use super::bounds::Bounds;
use super::connections::ConnectionCount;
use super::ctx::RequestCtx;
use super::express::Plain;
use super::framing::Framing;
use super::head::{Arrival, Entrance, HeadLimits, turn_away};
use super::hooks::{Gateway, HandedOver};
use super::http2;
use super::raw_head::RawHead;
use crate::client::{Layered, Replayed};
use crate::clock;
use crate::jsonrpc::Refusal;

/// Tries of one request in Pingora. The plan of the request and the retry policy end it earlier.
const MAX_TRIES: usize = 1_000;
/// Seconds within which Pingora reads a head that has arrived already.
const READ_SECS: u64 = 10;

/// The ways of requests on one thread. Connections to endpoints stay on it, too.
pub struct Lanes {
    service: Arc<ProxyService>,
    proxy: Arc<HttpProxy<Gateway>>,
}

impl Lanes {
    /// The ways of `service`.
    pub fn new(service: Arc<ProxyService>) -> Self {
        let conf = ServerConf { max_retries: MAX_TRIES, ..ServerConf::default() };
        let proxy = http_proxy(&Arc::new(conf), Gateway(Arc::clone(&service)));
        Lanes { service, proxy: Arc::new(proxy) }
    }

    /// Serves a client's connection to its end. `http2`: it may be of HTTP/2.
    pub async fn serve(&self, stream: Stream, http2: bool, seat: ConnectionCount, shutdown: ShutdownWatch) {
        let (service, proxy) = (Arc::clone(&self.service), Arc::clone(&self.proxy));
        Connection { service, proxy, http2, seat, shutdown }.serve(stream).await;
    }
}

/// A client's connection.
pub(super) struct Connection {
    pub(super) service: Arc<ProxyService>,
    /// The way of requests that aren't plain.
    pub(super) proxy: Arc<HttpProxy<Gateway>>,
    /// Clients may speak HTTP/2.
    pub(super) http2: bool,
    pub(super) seat: ConnectionCount,
    pub(super) shutdown: ShutdownWatch,
}

/// The way of a request.
#[expect(clippy::large_enum_variant, reason = "the large variant is the usual one, and lives for one match")]
enum Lane {
    Express(Plain, RequestCtx, bool),
    Session(Framing, usize),
}

impl Connection {
    /// Serves the connection's requests, one after the other, until either side ends it.
    pub(super) async fn serve(self, mut stream: Stream) {
        if self.http2 && matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return Box::pin(http2::serve(self, stream)).await;
        }
        let client = client_of(&stream);
        let mut alarm = Alarm::new(clock::now().after(HeadLimits::USUAL.head));
        let mut entrance =
            Entrance { stream: &mut stream, seat: &self.seat, alarm: &mut alarm, limits: &HeadLimits::USUAL };
        let mut arrival = entrance.first().await;
        loop {
            let (bytes, bare_lf) = match arrival {
                Arrival::Whole { bytes, bare_lf } => (bytes, bare_lf),
                Arrival::Nothing => return,
                Arrival::Refused(why) => return Box::pin(turn_away(&mut stream, &why)).await,
            };
            if self.http2 && bytes.starts_with(http2::PREFACE_HEAD) {
                let stream = Replayed::boxed(bytes, stream);
                return Box::pin(http2::serve(self, stream)).await;
            }
            let next = match self.choose(client, &bytes, bare_lf) {
                Ok(Lane::Express(plain, mut ctx, may_follow)) => {
                    // Boxed, so that an idle connection has no room for it.
                    let buffered = &self.service.buffered;
                    let serving = plain.serve(buffered, &mut stream, bytes, &mut ctx, &mut alarm, may_follow);
                    let next = Box::pin(serving).await;
                    self.service.log(&ctx);
                    next.map(|next| (stream, next))
                }
                Ok(Lane::Session(framing, head)) => self.hand_over(stream, bytes, framing, head).await,
                Err(refusal) => return Box::pin(self.reject(&mut stream, client, &refusal)).await,
            };
            let Some((kept, beginning)) = next else { return };
            stream = kept;
            let mut entrance =
                Entrance { stream: &mut stream, seat: &self.seat, alarm: &mut alarm, limits: &HeadLimits::USUAL };
            arrival = entrance.next(beginning).await;
        }
    }

    /// The lane of the request whose head begins `bytes`.
    fn choose(&self, client: Option<SocketAddr>, bytes: &BytesMut, bare_lf: bool) -> Result<Lane, Refusal> {
        let head = RawHead::read(bytes, bare_lf)?;
        // A tunnel's bytes are no requests.
        if head.line.method == "CONNECT" {
            return Err(Refusal::NotPost);
        }
        // A process that shuts down keeps no connection alive.
        let may_follow = head.framing.may_follow && !*self.shutdown.borrow();
        let mut ctx = RequestCtx::new(&self.service);
        if let Some(plain) = Plain::of(&head, &ctx) {
            if let Some(client) = client {
                ctx.identify(client, &head.fields.forwarding_map(), None);
            }
            return Ok(Lane::Express(plain, ctx, may_follow));
        }
        Ok(Lane::Session(Framing { may_follow, ..head.framing }, head.length))
    }

    /// Hands a request over to Pingora, whose session reads its `head` bytes of a head again.
    /// Returns the connection, and the bytes that follow the request, if the connection is kept.
    async fn hand_over(
        &self,
        stream: Stream,
        mut bytes: BytesMut,
        framing: Framing,
        head: usize,
    ) -> Option<(Stream, BytesMut)> {
        let bounds = Bounds::new(framing.body, &mut bytes, head);
        let mut session = ServerSession::new_http1(Layered::over(stream, bounds.clone()));
        session.set_keepalive(Some(READ_SECS));
        session.set_pipelined_prefix(bytes);
        session.set_connection_user_context(Some(Box::new(HandedOver {
            framing,
            bounds: bounds.clone(),
            shutdown: self.shutdown.clone(),
        })));
        let (stream, _) = self.proxy.process_new_http(session, &self.shutdown).await?.consume();
        Some((Layered::<Bounds>::split(stream).0, bounds.behind()))
    }

    /// Refuses a head that is malformed, and closes the connection.
    async fn reject(&self, stream: &mut Stream, client: Option<SocketAddr>, why: &Refusal) {
        let mut ctx = RequestCtx::new(&self.service);
        ctx.client = client;
        (ctx.status, ctx.refusal) = (Some(why.status()), Some(why.label()));
        self.service.log(&ctx);
        drop(ctx);
        turn_away(stream, why).await;
    }
}

/// The client's address: behind a load balancer the one that the PROXY protocol names.
fn client_of(stream: &Stream) -> Option<SocketAddr> {
    stream.get_socket_digest()?.peer_addr()?.as_inet().copied()
}
