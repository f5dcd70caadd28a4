//! The destination of an endpoint's requests: its addresses, the fixed parts of a request, and its
//! connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use pingora::protocols::{ALPN, Stream, TcpKeepalive};
use pingora::upstreams::peer::HttpPeer;
use tokio::net::TcpStream;

use super::connect_failure::{TIMED_OUT, UNRESOLVED, kind, plain_kind};
use super::idle::{Connection, IdlePool, WorkerId};
use super::request::Head;
use super::stream::PlainStream;
use super::transport::Transport;
use crate::model::Tick;
use crate::tls::EndpointTls;

/// Requests of one HTTP/2 connection under way at once. Pingora learns an endpoint's own limit late: a
/// request above it would wait for another client's, as long as that takes. nginx has one, too.
const MAX_STREAMS: usize = 1;
/// Bytes of one response over HTTP/2 that wait for a slow client.
const WINDOW: u32 = 256 << 10;
/// An endpoint that is silent for as long is asked whether it still exists. TCP asks: HTTP/2 servers
/// end connections that ping them often.
const KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(30),
    interval: Duration::from_secs(10),
    count: 3,
    #[cfg(target_os = "linux")]
    user_timeout: Duration::ZERO,
};
/// A placeholder for the address of a name that has none.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The connection settings of an upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// From the first packet to the end of the TLS handshake, without DNS.
    pub connect_timeout: Duration,
    /// For one attempt, connecting included; then for each read of a long answer.
    pub timeout: Duration,
    /// The longest silence within a stream.
    pub stream_timeout: Duration,
    /// Time after which an idle connection is closed.
    pub idle_timeout: Duration,
    /// Maximum idle connections per endpoint.
    pub max_idle: usize,
    /// Requests of other protocols than JSON-RPC are sent over HTTP/2.
    pub http2: bool,
    /// The verification of certificates.
    pub tls: Arc<EndpointTls>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 9112 and RFC 9113 define them")]
pub enum HttpVersion {
    Http1,
    Http2,
}

/// The fixed parts of an endpoint's requests. The path and the headers may hold keys, so there is
/// no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// Use TLS.
    pub tls: bool,
    /// The host name for DNS and TLS.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query of every request.
    pub path: String,
    /// The `Host` header.
    pub authority: HeaderValue,
    /// Headers that every request carries.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Destination {
    /// The path of the URL, without its query, followed by `path`.
    pub fn join(&self, path: &str) -> String {
        let (base, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
        format!("{}{path}", base.trim_end_matches('/'))
    }
}

/// An endpoint's addresses and connections, under one set of client settings.
pub struct Target {
    /// The fixed parts of its requests.
    pub destination: Destination,
    /// The connection settings.
    pub settings: ClientSettings,
    /// The head of its requests.
    pub(super) head: Head,
    pub(super) transport: Arc<Transport>,
    needs_dns: bool,
    addresses: ArcSwap<Vec<SocketAddr>>,
    preferred: AtomicUsize,
    idle: IdlePool,
    /// Unique in the process.
    number: u64,
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl Target {
    /// A target without an address, unless its host is one: [`Target::set_addresses`] follows DNS.
    pub fn new(destination: Destination, settings: ClientSettings, transport: Arc<Transport>) -> Self {
        let fixed = ip_of(&destination.host).map(|ip| SocketAddr::new(ip, destination.port));
        Target {
            idle: IdlePool::new(settings.max_idle, settings.idle_timeout, transport.workers),
            needs_dns: fixed.is_none(),
            addresses: ArcSwap::from_pointee(fixed.into_iter().collect()),
            preferred: AtomicUsize::new(0),
            head: Head::of_posts(&destination),
            destination,
            settings,
            transport,
            number: NEXT_NUMBER.fetch_add(1, Relaxed),
        }
    }

    /// Whether the host is a name, whose addresses come from DNS.
    pub fn needs_dns(&self) -> bool {
        self.needs_dns
    }

    /// Whether there is an address to connect to.
    pub fn is_resolved(&self) -> bool {
        !self.addresses.load().is_empty()
    }

    /// Sets the addresses that DNS returned. Connections to other addresses aren't reused.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        if **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
            self.idle.retain(|stream| self.is_current(stream));
        }
    }

    /// The current addresses, to carry over a reload.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.load().as_ref().clone()
    }

    /// Takes an idle connection.
    pub(super) fn reuse(&self, now: Tick) -> Option<Connection> {
        self.idle.take(now)
    }

    /// Opens a connection, to the address that worked last or the next one that does. A name such
    /// as `localhost` may have an address without a listener.
    pub(super) async fn connect(&self) -> Result<Connection, &'static str> {
        let addresses = self.addresses.load_full();
        let preferred = self.preferred.load(Relaxed);
        let mut failure = UNRESOLVED;
        for position in (preferred..preferred + addresses.len()).map(|p| p % addresses.len()) {
            match self.connect_to(addresses[position]).await {
                Ok(stream) => {
                    self.preferred.store(position, Relaxed);
                    return Ok(Connection { stream, worker: WorkerId::here() });
                }
                Err(kind) => failure = kind,
            }
        }
        Err(failure)
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Stream, &'static str> {
        if self.destination.tls {
            // Boxed: it is large, and plain connections don't need it.
            let connecting = async { self.transport.connector.new_stream(&self.peer(address)).await };
            return Box::pin(connecting).await.map_err(|error| kind(&error, address));
        }
        let connecting = tokio::time::timeout(self.settings.connect_timeout, TcpStream::connect(address));
        let socket = connecting.await.map_err(|_| TIMED_OUT)?;
        let stream =
            socket.and_then(|socket| PlainStream::new(socket, address)).map_err(|error| plain_kind(&error, address))?;
        Ok(Box::new(stream))
    }

    /// The endpoint as Pingora's proxy connects to it, with the address that worked last. `wait`
    /// limits each wait for the endpoint.
    pub fn peer_for_proxy(&self, wait: Duration, version: HttpVersion) -> Option<HttpPeer> {
        let addresses = self.addresses.load();
        let position = self.preferred.load(Relaxed).checked_rem(addresses.len())?;
        let mut peer = self.peer(addresses[position]);
        peer.options.read_timeout = Some(wait);
        peer.options.write_timeout = Some(wait);
        peer.options.idle_timeout = Some(self.settings.idle_timeout);
        // Connections belong to this target: another one has other settings or headers.
        peer.group_key = self.number;
        if version == HttpVersion::Http2 {
            peer.options.alpn = ALPN::H2;
            peer.options.max_h2_streams = MAX_STREAMS;
            peer.options.h2_stream_window_size = Some(WINDOW);
            peer.options.h2_connection_window_size = Some(WINDOW);
            peer.options.tcp_keepalive = Some(KEEPALIVE);
        }
        Some(peer)
    }

    /// The version of HTTP for requests that aren't JSON-RPC.
    pub fn version(&self) -> HttpVersion {
        if self.settings.http2 { HttpVersion::Http2 } else { HttpVersion::Http1 }
    }

    /// Prefers the next address, after a connection by [`Target::peer_for_proxy`] failed. Returns
    /// the kind of the failure.
    pub fn fail_to_connect(&self, error: &pingora::Error) -> &'static str {
        self.preferred.fetch_add(1, Relaxed);
        let address = self.addresses.load().first().copied().unwrap_or(NO_ADDRESS);
        kind(error, address)
    }

    /// Returns a connection to the idle pool, unless its address is no longer current.
    pub fn release(&self, connection: Connection, now: Tick) {
        if self.is_current(&connection.stream) {
            self.idle.put(connection, now);
        }
    }

    /// Whether the connection leads to one of the addresses.
    fn is_current(&self, stream: &Stream) -> bool {
        let peer = || stream.get_socket_digest()?.peer_addr()?.as_inet().copied();
        !self.needs_dns || peer().is_none_or(|peer| self.addresses.load().contains(&peer))
    }

    /// Closes connections that were idle for too long.
    pub fn reap(&self, now: Tick) {
        self.idle.reap(now);
    }

    /// The number of idle connections.
    pub fn idle_connections(&self) -> usize {
        self.idle.len()
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        let tls = &self.settings.tls;
        // The name is never empty (the conf checks that): with an empty one rustls would verify
        // nothing.
        let name = tls.server_name.as_deref().unwrap_or_else(|| unbracketed(&self.destination.host));
        let mut peer = HttpPeer::new(address, self.destination.tls, name.to_owned());
        peer.client_cert_key = tls.certificate.clone();
        peer.options.ca = tls.authorities.clone();
        peer.options.connection_timeout = Some(self.settings.connect_timeout);
        peer.options.total_connection_timeout = Some(self.settings.connect_timeout);
        peer.options.alpn = ALPN::H1;
        peer
    }
}

/// The address of an IPv6 host without its brackets.
fn unbracketed(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn ip_of(host: &str) -> Option<IpAddr> {
    unbracketed(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn target() -> Target {
        let destination = Destination {
            tls: false,
            host: "localhost".into(),
            port: 1,
            path: "/".into(),
            authority: HeaderValue::from_static("localhost"),
            headers: Vec::new(),
        };
        let second = Duration::from_secs(1);
        let settings = ClientSettings {
            connect_timeout: second,
            timeout: second,
            stream_timeout: second,
            idle_timeout: second,
            max_idle: 1,
            http2: false,
            tls: Arc::default(),
        };
        Target::new(destination, settings, Arc::new(Transport::new(1)))
    }

    #[tokio::test]
    async fn an_address_that_nobody_listens_on_is_passed_over() {
        let target = target();
        assert_eq!(target.connect().await.err(), Some("the host name has no address"));

        let (open, closed) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [&closed, &open].map(|listener| listener.local_addr().unwrap());
        drop(closed);
        target.set_addresses(addresses.to_vec());
        for _ in 0..3 {
            assert!(target.connect().await.is_ok());
        }
        assert_eq!(target.preferred.load(Relaxed), 1, "the one that works is remembered");
        drop(open);
        assert_eq!(target.connect().await.err(), Some("connection refused"));
    }

    #[tokio::test]
    async fn a_connection_that_is_not_taken_in_time_is_given_up() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        // The backlog holds one connection that is never accepted.
        let _first = TcpStream::connect(address).await.unwrap();
        let target = target();
        target.set_addresses(vec![address]);
        assert_eq!(target.connect().await.err(), Some("connect timed out"));
    }

    #[tokio::test]
    async fn a_name_that_moves_is_followed() {
        let target = target();
        let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let [old, new] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        target.set_addresses(vec![old]);
        let (waiting, in_use) = (target.connect().await.unwrap(), target.connect().await.unwrap());
        target.release(waiting, Tick::START);
        assert_eq!(target.idle_connections(), 1);
        target.set_addresses(vec![new]);
        assert_eq!(target.idle_connections(), 0, "it led to the old place");
        target.release(in_use, Tick::START);
        assert_eq!(target.idle_connections(), 0, "so did this one");
        let moved = target.connect().await.unwrap();
        target.release(moved, Tick::START);
        assert_eq!(target.idle_connections(), 1);
        target.set_addresses(vec![old, new]);
        assert_eq!(target.idle_connections(), 1, "still one of its addresses");
    }
}
