//! A connection without TLS, to a client or an endpoint, for Pingora's sessions.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::gathered::Gathered;

/// A plain TCP connection.
#[derive(Debug)]
pub struct PlainStream {
    io: Gathered<TcpStream>,
    digest: Arc<SocketDigest>,
}

impl PlainStream {
    /// A connection to `peer`.
    ///
    /// # Errors
    /// When it is broken already.
    pub fn new(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        let digest = socket_digest(&socket, peer)?;
        Ok(PlainStream { io: Gathered::new(socket), digest })
    }
}

/// Prepares a socket whose writes will be [`Gathered`]. `peer` is shown as the other side.
///
/// # Errors
/// When it is broken already.
pub fn socket_digest(socket: &TcpStream, peer: SocketAddr) -> io::Result<Arc<SocketDigest>> {
    // Gathering replaces Nagle's algorithm.
    socket.set_nodelay(true)?;
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // A new digest has no address yet.
    digest.peer_addr.set(Some(peer.into())).ok();
    Ok(Arc::new(digest))
}

impl AsyncWrite for PlainStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

#[async_trait]
impl Shutdown for PlainStream {
    async fn shutdown(&mut self) {
        // The peer may have closed first.
        AsyncWriteExt::shutdown(self).await.ok();
    }
}

impl UniqueID for PlainStream {
    fn id(&self) -> UniqueIDType {
        self.io.get_ref().as_raw_fd()
    }
}

impl GetSocketDigest for PlainStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetTimingDigest for PlainStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for PlainStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl Ssl for PlainStream {}
impl Peek for PlainStream {}
