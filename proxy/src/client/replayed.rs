//! Bytes that were read ahead, and are read again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use super::layer::{Layer, Layered};

/// Yields its bytes before those of the connection.
#[derive(Debug)]
pub struct Replayed(BytesMut);

impl Replayed {
    /// `stream`, with `first` to be read again.
    pub fn boxed(first: BytesMut, stream: Stream) -> Stream {
        Layered::over(stream, Replayed(first))
    }

    /// The connection itself; `None` if some of the bytes read ahead are left.
    pub(super) fn into_inner(stream: Stream) -> Option<Stream> {
        let (stream, replayed) = Layered::<Replayed>::split(stream);
        replayed.is_none_or(|replayed| replayed.0.is_empty()).then_some(stream)
    }
}

impl Layer for Replayed {
    fn poll_read(&mut self, inner: &mut Stream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Pin::new(inner).poll_read(cx, buf);
        }
        let fits = self.0.len().min(buf.remaining());
        buf.put_slice(&self.0[..fits]);
        self.0.advance(fits);
        Poll::Ready(Ok(()))
    }
}
