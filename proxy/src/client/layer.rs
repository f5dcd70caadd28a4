//! A connection with a layer between it and Pingora's session, on either side.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The part of a layer that differs: what it does to the bytes.
pub trait Layer: Debug + Send + Sync + Unpin + 'static {
    /// Reads from the other side.
    fn poll_read(&mut self, inner: &mut Stream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// Writes to the other side.
    fn poll_write(&mut self, inner: &mut Stream, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(inner).poll_write(cx, buf)
    }
}

/// A connection with a layer.
#[derive(Debug)]
pub struct Layered<L> {
    inner: Stream,
    layer: L,
}

impl<L: Layer> Layered<L> {
    /// `inner` below `layer`.
    pub fn over(inner: Stream, layer: L) -> Stream {
        Box::new(Layered { inner, layer })
    }

    /// The connection and this layer, if it has it on top.
    pub fn split(stream: Stream) -> (Stream, Option<L>) {
        if !stream.as_any().is::<Self>() {
            return (stream, None);
        }
        match stream.into_any().downcast::<Self>() {
            Ok(layered) => {
                let Layered { inner, layer } = *layered;
                (inner, Some(layer))
            }
            // The type was checked above.
            Err(_) => unreachable!("a connection changed its type"),
        }
    }
}

impl<L: Layer> AsyncRead for Layered<L> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, layer } = &mut *self;
        layer.poll_read(inner, cx, buf)
    }
}

impl<L: Layer> AsyncWrite for Layered<L> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { inner, layer } = &mut *self;
        layer.poll_write(inner, cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl<L: Layer> Shutdown for Layered<L> {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl<L: Layer> UniqueID for Layered<L> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<L: Layer> GetSocketDigest for Layered<L> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl<L: Layer> GetTimingDigest for Layered<L> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl<L: Layer> GetProxyDigest for Layered<L> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl<L: Layer> Ssl for Layered<L> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl<L: Layer> Peek for Layered<L> {}
