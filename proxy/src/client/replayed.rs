//! A connection with bytes that were read ahead.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Yields `first` before the bytes of the connection.
#[derive(Debug)]
pub(super) struct Replayed {
    first: BytesMut,
    stream: Stream,
}

impl Replayed {
    /// `stream`, with `first` to be read again.
    pub(super) fn boxed(first: BytesMut, stream: Stream) -> Stream {
        Box::new(Replayed { first, stream })
    }

    /// The connection itself; `None` if some of the bytes read ahead are left.
    pub(super) fn into_inner(stream: Stream) -> Option<Stream> {
        if !(*stream).as_any().is::<Replayed>() {
            return Some(stream);
        }
        let any: Box<dyn Any> = stream.into_any();
        let replayed = any.downcast::<Replayed>().ok()?;
        replayed.first.is_empty().then_some(replayed.stream)
    }
}

impl AsyncRead for Replayed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let fits = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..fits]);
        self.first.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Replayed {
    async fn shutdown(&mut self) {
        (*self.stream).shutdown().await;
    }
}

impl UniqueID for Replayed {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl GetTimingDigest for Replayed {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Replayed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }
}

impl GetSocketDigest for Replayed {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}

impl Ssl for Replayed {}
impl Peek for Replayed {}
