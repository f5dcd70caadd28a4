//! Both ends of a request without a network: a client that repeats one request, and an endpoint
//! that repeats one response.
//!
//! Each is a connection for Pingora. No operation waits, so only the proxy's own work is measured.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A peer that always sends the same bytes.
#[derive(Debug)]
pub(crate) struct Mock {
    says: &'static [u8],
    /// Number of messages that it sends unprompted before it closes; `None` for an endpoint.
    asks: Option<u64>,
    /// A message was received and not answered yet.
    spoken_to: bool,
}

impl Mock {
    /// A client that sends `request` `times` times, each after the previous response.
    pub(crate) fn client(request: &'static [u8], times: u64) -> Self {
        Mock { says: request, asks: Some(times), spoken_to: true }
    }

    /// An endpoint that responds to each write.
    pub(crate) fn endpoint(answer: &'static [u8]) -> Self {
        Mock { says: answer, asks: None, spoken_to: false }
    }
}

impl AsyncRead for Mock {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.spoken_to {
            return Poll::Pending;
        }
        match &mut self.asks {
            Some(0) => return Poll::Ready(Ok(())),
            Some(left) => *left -= 1,
            None => {}
        }
        self.spoken_to = false;
        buf.put_slice(self.says);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Mock {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.spoken_to = true;
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Shutdown for Mock {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Mock {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl GetTimingDigest for Mock {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Mock {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Mock {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Ssl for Mock {}
impl Peek for Mock {}
