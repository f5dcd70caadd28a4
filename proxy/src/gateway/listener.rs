//! The beginning of a connection at a listener, before its first request: the header of the PROXY
//! protocol, then the TLS handshake.
//!
//! Invariants: both together have one time limit; until they are over, the connection counts as
//! idle, so it is shed like one; a handshake uses the certificates of the generation that serves
//! when it begins.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::rustls::{Error, HandshakeKind, ServerConfig};
use tokio_rustls::{TlsAcceptor, server};

use super::connections::{ConnectionCount, Full, Most};
use super::handshakes::{Handshakes, MOST_HANDSHAKES};
use super::head::{drain, turn_away};
use super::tls_stream::TlsStream;
use super::{ProxyService, proxy_protocol};
use crate::client::PlainStream;
use crate::config::Listener;
use crate::jsonrpc::Refusal;

/// Time limit from the acceptance of a connection to the end of its handshake. Heads of
/// requests have the same (`HeadLimits`).
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections.
pub(super) struct Opener {
    pub(super) service: Arc<ProxyService>,
    handshakes: Handshakes,
    timeout: Duration,
}

/// Why a connection is closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The time limit passed.
    Timeout,
    /// Shed for another connection or handshake.
    Shed,
    /// The client sent a plain HTTP request.
    Plaintext,
    /// The client doesn't speak TLS, or breaks it.
    Malformed,
    /// Client and listener have no version, cipher or signature in common.
    Incompatible,
    /// The client's certificate is missing or bad.
    ClientCertificate,
    /// The client refused the listener's certificate or another part of the handshake.
    Alert,
    /// The client went away.
    Closed,
}

impl Opener {
    pub(super) fn new(service: Arc<ProxyService>) -> Self {
        Opener { service, handshakes: Handshakes::new(MOST_HANDSHAKES), timeout: OPENING_TIMEOUT }
    }

    /// Counts a connection from `peer` under the limits of the serving generation.
    ///
    /// # Errors
    /// When a limit refuses it.
    pub(super) fn admit(&self, listener: &Listener, peer: SocketAddr) -> Result<ConnectionCount, Full> {
        match listener.proxy_protocol {
            // All connections have the load balancer's address; the client's is counted later.
            true => self.service.connections.enter_unnamed(self.most()),
            false => self.service.connections.enter(peer.ip(), self.most()),
        }
    }

    /// Completes the beginning of a connection. `None` when it is closed instead.
    pub(super) async fn open(
        &self,
        listener: &Listener,
        mut socket: TcpStream,
        peer: SocketAddr,
        seat: &ConnectionCount,
    ) -> Option<Stream> {
        let due = Instant::now() + self.timeout;
        let client = match listener.proxy_protocol {
            true => self.client(&mut socket, peer, seat, due).await?,
            false => peer,
        };
        if listener.tls.is_none() {
            return plain(socket, client);
        }
        // A listener that was opened with TLS has a configuration in every generation.
        let config = self.service.published.load().tls.server_config(listener.address)?;
        match self.handshake(config, socket, client, seat, due).await {
            Ok(stream) => Some(stream),
            Err(failure) => {
                self.service.metrics.count_handshake_failure(failure.label());
                tracing::debug!(%client, listener = %listener.address, reason = failure.label(), "a TLS handshake failed");
                None
            }
        }
    }

    /// Reads the PROXY header. The connection counts for the client that it names.
    async fn client(
        &self,
        socket: &mut TcpStream,
        peer: SocketAddr,
        seat: &ConnectionCount,
        due: Instant,
    ) -> Option<SocketAddr> {
        let reason = match unless_cut(proxy_protocol::read(socket, peer), seat, due).await {
            Ok(Ok(client)) => return seat.name_client(client.ip(), self.most()).is_ok().then_some(client),
            Ok(Err(error)) => error.label(),
            Err(failure) => failure.label(),
        };
        self.service.metrics.count_proxy_protocol_failure(reason);
        tracing::debug!(%peer, reason, "a connection has no good PROXY header");
        None
    }

    async fn handshake(
        &self,
        config: Arc<ServerConfig>,
        mut socket: TcpStream,
        client: SocketAddr,
        seat: &ConnectionCount,
        due: Instant,
    ) -> Result<Stream, Failure> {
        let mut first = [0];
        // Until a byte arrives the connection holds nothing that the limit protects.
        match unless_cut(socket.peek(&mut first), seat, due).await? {
            Ok(1..) if first[0].is_ascii_alphabetic() => {
                turn_away(&mut socket, &Refusal::NeedsTls).await;
                return Err(Failure::Plaintext);
            }
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(Failure::Closed),
        }
        let accepted = {
            let handshake = self.handshakes.begin();
            let accepting = TlsAcceptor::from(config).accept(socket).into_fallible();
            tokio::select! {
                biased;
                accepted = unless_cut(accepting, seat, due) => accepted?,
                () = handshake.cut() => return Err(Failure::Shed),
            }
        };
        match accepted {
            Ok(stream) => {
                let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                self.service.metrics.count_handshake(resumed);
                secured(stream, client)
            }
            Err((error, mut socket)) => {
                let failure = Failure::of(&error);
                if failure != Failure::Closed {
                    // The client shall see the alert.
                    drain(&mut socket).await;
                }
                Err(failure)
            }
        }
    }

    fn most(&self) -> Most {
        let server = &self.service.published.load().config.server;
        Most { in_all: server.max_connections, per_address: server.max_connections_per_address }
    }
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
            None => Failure::Closed,
            Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => Failure::ClientCertificate,
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Failure::Incompatible,
            Some(Error::AlertReceived(_)) => Failure::Alert,
            Some(_) => Failure::Malformed,
        }
    }

    /// The label in metrics.
    fn label(self) -> &'static str {
        match self {
            Failure::Timeout => "timeout",
            Failure::Shed => "shed",
            Failure::Plaintext => "plaintext",
            Failure::Malformed => "malformed",
            Failure::Incompatible => "incompatible",
            Failure::ClientCertificate => "client_certificate",
            Failure::Alert => "alert",
            Failure::Closed => "closed",
        }
    }
}

/// The stream of a connection without TLS.
pub(super) fn plain(socket: TcpStream, client: SocketAddr) -> Option<Stream> {
    match PlainStream::new(socket, client) {
        Ok(stream) => Some(Box::new(stream)),
        Err(error) => {
            tracing::debug!(%error, "a client was gone as soon as it came");
            None
        }
    }
}

fn secured(stream: server::TlsStream<TcpStream>, client: SocketAddr) -> Result<Stream, Failure> {
    let stream = TlsStream::new(stream, client).map_err(|_| Failure::Closed)?;
    Ok(Box::new(stream))
}

/// The result of `work`, unless the connection is shed or its time is over first.
async fn unless_cut<T>(work: impl Future<Output = T>, seat: &ConnectionCount, due: Instant) -> Result<T, Failure> {
    let shed = poll_fn(|cx| if seat.is_shed(cx) { Poll::Ready(()) } else { Poll::Pending });
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = shed => Err(Failure::Shed),
        () = sleep_until(due) => Err(Failure::Timeout),
    }
}
