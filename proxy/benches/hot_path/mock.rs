//! Both ends of a request without a network: a client that asks the same again and again, and an
//! endpoint that gives the same answer.
//!
//! Each is a connection as Pingora knows them. Nothing is waited for, so what is counted is the
//! proxy's own work.

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

/// A peer that says the same whenever it is its turn.
#[derive(Debug)]
pub(crate) struct Mock {
    says: &'static [u8],
    /// How often it says it without being spoken to, before it closes. An endpoint never does.
    asks: Option<u64>,
    /// It was spoken to and has not answered yet.
    spoken_to: bool,
}

impl Mock {
    /// A client that sends `request` so many times, each after the answer to the one before.
    pub(crate) fn client(request: &'static [u8], times: u64) -> Self {
        Mock { says: request, asks: Some(times), spoken_to: true }
    }

    /// An endpoint that answers whatever is sent in one write.
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
