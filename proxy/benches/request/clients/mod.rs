//! Clients of our own, for what wrk and h2load can't do: full handshakes, and connections that stay
//! idle.

mod http1;
mod http2;
mod websocket;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::ServerName;

use super::authority::{self, NAMES};
use super::parts::{Case, Downstream};

/// Time limit of a handshake, and of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Runs all of them, and the origin of WebSocket connections.
pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"));
static HTTP1_TLS: LazyLock<TlsConnector> = LazyLock::new(|| connector(&[]));
static HTTP2_TLS: LazyLock<TlsConnector> = LazyLock::new(|| connector(&[b"h2"]));

/// A client's connection.
pub enum Connection {
    Http1(http1::Client),
    Http2(http2::Client),
    WebSocket(websocket::Client),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection {
    /// Opens a connection as the clients of this case do.
    ///
    /// # Errors
    /// If it isn't accepted in time.
    pub async fn open(address: SocketAddr, case: &Case) -> anyhow::Result<Connection> {
        limited(Connection::connect(address, case)).await
    }

    /// Sends the case's request, or a WebSocket message, and reads the response.
    ///
    /// # Errors
    /// If there is no response with status 200, or another message, in time.
    pub async fn exchange(&mut self, case: &Case) -> anyhow::Result<()> {
        limited(async {
            match self {
                Connection::Http1(client) => client.exchange(case).await,
                Connection::Http2(client) => client.exchange(case).await,
                Connection::WebSocket(client) => client.exchange().await,
            }
        })
        .await
    }

    async fn connect(address: SocketAddr, case: &Case) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(match case.downstream {
            Downstream::Cleartext => Connection::Http1(http1::Client::over(Box::new(socket))),
            Downstream::Tls | Downstream::Handshakes => {
                Connection::Http1(http1::Client::over(Box::new(HTTP1_TLS.connect(name(), socket).await?)))
            }
            Downstream::Http2 { .. } => {
                Connection::Http2(http2::Client::over(HTTP2_TLS.connect(name(), socket).await?).await?)
            }
            Downstream::WebSocket => Connection::WebSocket(websocket::Client::over(socket).await?),
        })
    }
}

async fn limited<T>(exchange: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(TIMEOUT, exchange).await.context("timed out")?
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAMES[0]).expect("a host name")
}

/// Each connection has a full handshake.
fn connector(protocols: &[&[u8]]) -> TlsConnector {
    let mut config: ClientConfig = (*authority::client().config()).clone();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}
