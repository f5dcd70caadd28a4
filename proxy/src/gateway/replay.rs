//! A connection whose first bytes were read already, and are read once more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use pingora::protocols::{ALPN, Stream};
use tokio::io::{AsyncRead, ReadBuf};

use super::layer::Layer;

/// The bytes that are left to read again, and the protocol that they showed.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) bytes: BytesMut,
    pub(super) protocol: ALPN,
}

impl Layer for Replay {
    fn poll_read(&mut self, inner: &mut Stream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(inner).poll_read(cx, buf);
        }
        let count = self.bytes.len().min(buf.remaining());
        buf.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        Poll::Ready(Ok(()))
    }

    fn protocol(&self) -> Option<ALPN> {
        Some(self.protocol.clone())
    }
}
