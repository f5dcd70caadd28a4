//! Writes that are gathered until a flush, so that a head is sent in one packet with a small body,
//! and in one system call with a large one. Above TLS it makes one record of both.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum gathered bytes: a packet's.
const MOST_GATHERED: usize = 1_460;

/// A stream whose writes are gathered. Reads go straight to the caller.
#[derive(Debug)]
pub struct Gathered<S> {
    socket: S,
    gathered: Vec<u8>,
}

impl<S> Gathered<S> {
    /// Gathers the writes to `socket`.
    pub fn new(socket: S) -> Self {
        Gathered { socket, gathered: Vec::new() }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.socket
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Sends the gathered bytes, and as many of `buf` as fit. Returns the number sent of `buf`.
    fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.gathered.is_empty() {
                return if buf.is_empty() {
                    Poll::Ready(Ok(0))
                } else {
                    Pin::new(&mut self.socket).poll_write(cx, buf)
                };
            }
            let Self { socket, gathered } = &mut *self;
            let socket = Pin::new(socket);
            // A vectored write costs the kernel more, even if one slice is empty.
            let sent = ready!(match buf.is_empty() {
                true => socket.poll_write(cx, gathered),
                false => socket.poll_write_vectored(cx, &[IoSlice::new(gathered), IoSlice::new(buf)]),
            })?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_buf = sent.saturating_sub(self.gathered.len());
            self.gathered.drain(..sent - of_buf);
            if of_buf > 0 {
                return Poll::Ready(Ok(of_buf));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() + buf.len() > MOST_GATHERED {
            return self.poll_send(cx, buf);
        }
        self.gathered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx, &[]))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Accepts `at_once` bytes at a time, of all slices together, and is pending before each.
    struct Slow {
        at_once: usize,
        busy: bool,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            pieces: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.busy = !self.busy;
            if self.busy {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            all.truncate(self.at_once);
            self.writes.push(all);
            Poll::Ready(Ok(self.writes.last().map_or(0, Vec::len)))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The writes of a head of 100 bytes and a body of `body` bytes.
    async fn writes(at_once: usize, body: usize) -> Vec<usize> {
        let socket = Slow { at_once, busy: false, writes: Vec::new() };
        let mut stream = Gathered::new(socket);
        let (head, body) = (vec![b'h'; 100], (b'a'..=b'z').cycle().take(body).collect::<Vec<u8>>());
        stream.write_all(&head).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.socket.writes.concat(), [head, body].concat());
        stream.socket.writes.iter().map(Vec::len).collect()
    }

    #[tokio::test]
    async fn a_head_leaves_together_with_its_body() {
        assert_eq!(writes(usize::MAX, 0).await, [100]);
        assert_eq!(writes(usize::MAX, 46).await, [146]);
        assert_eq!(writes(usize::MAX, 1_360).await, [1_460]);
        assert_eq!(writes(usize::MAX, 1_361).await, [1_461]);
        assert_eq!(writes(usize::MAX, 100_000).await, [100_100]);
    }

    #[tokio::test]
    async fn what_is_not_taken_at_once_is_sent_on() {
        assert_eq!(writes(60, 46).await, [60, 60, 26]);
        assert_eq!(writes(100, 2_000).await, [100; 21]);
        assert_eq!(writes(1_030, 2_000).await, [1_030, 1_030, 40]);
    }

    #[tokio::test]
    async fn a_connection_that_takes_nothing_is_broken() {
        let socket = Slow { at_once: 0, busy: false, writes: Vec::new() };
        let mut stream = Gathered { socket, gathered: vec![1] };
        assert_eq!(stream.flush().await.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
