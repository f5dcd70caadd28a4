//! The bounds of one request on its connection, while Pingora's session reads it.
//!
//! Invariants: the session sees the bytes of one request and none behind it, whatever it takes for
//! the request's end; of a chunked body it sees no bytes of a read in which the body left the
//! grammar, and none after it.
//!
//! A WebSocket connection begins as a request, and has no bounds from then on ([`Tunnel`]).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::alarm::Alarm;
use super::chunked::Chunks;
use super::framing::BodyLength;
use super::tunnel::Tunnel;
use crate::client::Layer;
use crate::jsonrpc::Refusal;
use crate::model::Tick;

/// The bounds of a request: a layer of its connection, and a handle for its hooks.
#[derive(Clone, Debug)]
pub(super) struct Bounds(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rest: Rest,
    fault: Option<Refusal>,
    /// Bytes of the next request.
    behind: BytesMut,
    /// When the wait for the endpoint ends, during the handshake of a WebSocket connection.
    handshake: Option<(Tick, Alarm)>,
    /// It has ended.
    late: bool,
}

/// The rest of a request.
#[derive(Debug)]
enum Rest {
    Bytes(usize),
    Chunks(Chunks),
    /// The request has become a WebSocket connection.
    Tunnel(Box<Tunnel>),
}

impl Bounds {
    /// The bounds of a request with this `body`. `bytes` begin with its head of `head` bytes; those
    /// behind the request are taken from them.
    pub(super) fn new(body: BodyLength, bytes: &mut BytesMut, head: usize) -> Self {
        let rest = match body {
            BodyLength::Bytes(length) => Rest::Bytes(length),
            BodyLength::Chunked => Rest::Chunks(Chunks::new()),
            BodyLength::None | BodyLength::Stream => Rest::Bytes(0),
        };
        let mut state = State { rest, fault: None, behind: BytesMut::new(), handshake: None, late: false };
        let own = state.take(&bytes[head..]);
        state.behind = bytes.split_off(head + own);
        Bounds(Arc::new(Mutex::new(state)))
    }

    /// Limits the size of a chunked body.
    pub(super) fn limit(&self, max: usize) {
        let mut state = self.lock();
        if let Rest::Chunks(chunks) = &mut state.rest {
            let fault = chunks.limit(max).err();
            state.fault = state.fault.take().or(fault);
        }
    }

    /// The reason why the body can't be read to its end.
    pub(super) fn fault(&self) -> Option<Refusal> {
        self.lock().fault.clone()
    }

    /// Limits the wait for the endpoint's answer to the handshake of a WebSocket connection.
    pub(super) fn await_handshake(&self, until: Tick) {
        let mut state = self.lock();
        (state.handshake, state.late) = (Some((until, Alarm::new(until))), false);
    }

    /// Whether that wait was too long.
    pub(super) fn is_handshake_late(&self) -> bool {
        self.lock().late
    }

    /// The request becomes a WebSocket connection.
    pub(super) fn open(&self, tunnel: Tunnel) {
        let mut state = self.lock();
        (state.rest, state.handshake) = (Rest::Tunnel(Box::new(tunnel)), None);
    }

    /// The bytes that followed the request, once it is over.
    pub(super) fn behind(&self) -> BytesMut {
        std::mem::take(&mut self.lock().behind)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_over(&self) -> bool {
        match &self.rest {
            Rest::Bytes(left) => *left == 0,
            Rest::Chunks(chunks) => chunks.is_over(),
            Rest::Tunnel(_) => false,
        }
    }

    /// Takes the next bytes of the connection. Returns how many of them belong to the request.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match &mut self.rest {
            Rest::Bytes(left) => {
                let own = bytes.len().min(*left);
                *left -= own;
                own
            }
            Rest::Chunks(chunks) => match chunks.read(bytes) {
                Ok(behind) => bytes.len() - behind.unwrap_or(0),
                Err(fault) => {
                    self.fault = self.fault.take().or(Some(fault));
                    bytes.len()
                }
            },
            Rest::Tunnel(_) => bytes.len(),
        }
    }

    /// Reads from a WebSocket client; first the bytes that came before the connection was one.
    fn poll_tunnel(&mut self, inner: &mut Stream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Rest::Tunnel(tunnel) = &mut self.rest else { return Poll::Ready(Ok(())) };
        if self.behind.is_empty() {
            return tunnel.poll_read(inner, cx, buf);
        }
        let early = self.behind.split_to(self.behind.len().min(buf.remaining()));
        tunnel.came(&early);
        buf.put_slice(&early);
        Poll::Ready(Ok(()))
    }

    /// Waits until the client closes its connection. The first bytes of the next request are kept;
    /// then the client waits for its response.
    fn poll_closed(&mut self, inner: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some((until, alarm)) = &mut self.handshake
            && alarm.poll_due(cx, *until).is_ready()
        {
            (self.handshake, self.late) = (None, true);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !self.behind.is_empty() {
            return Poll::Pending;
        }
        let mut bytes = [0; 1_024];
        let mut read = ReadBuf::new(&mut bytes);
        ready!(Pin::new(inner).poll_read(cx, &mut read))?;
        self.behind.extend_from_slice(read.filled());
        if self.behind.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Layer for Bounds {
    fn poll_read(&mut self, inner: &mut Stream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.fault.is_some() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if matches!(state.rest, Rest::Tunnel(_)) {
            return state.poll_tunnel(inner, cx, buf);
        }
        if state.is_over() {
            return state.poll_closed(inner, cx);
        }
        let before = buf.filled().len();
        ready!(Pin::new(inner).poll_read(cx, buf))?;
        let own = state.take(&buf.filled()[before..]);
        if state.fault.is_some() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        state.behind.extend_from_slice(&buf.filled()[before + own..]);
        buf.set_filled(before + own);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, inner: &mut Stream, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.lock().rest {
            Rest::Tunnel(tunnel) => tunnel.poll_write(inner, cx, bytes),
            Rest::Bytes(_) | Rest::Chunks(_) => Pin::new(inner).poll_write(cx, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::client::Layered;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\n\r\n";

    /// The bytes that a reader sees of a request when `came` bytes arrive with the head, and the
    /// bytes behind it.
    async fn seen(body: BodyLength, all: &[u8], came: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut far, near) = duplex(1 << 10);
        let mut bytes = BytesMut::from(&[HEAD, &all[..came]].concat()[..]);
        let bounds = Bounds::new(body, &mut bytes, HEAD.len());
        let mut stream = Layered::over(Box::new(near), bounds.clone());
        far.write_all(&all[came..]).await.unwrap();
        far.shutdown().await.unwrap();
        let mut read = bytes[HEAD.len()..].to_vec();
        // A request behind this one keeps the reader waiting; without one it sees the end.
        let reading = tokio::time::timeout(std::time::Duration::from_millis(1), stream.read_to_end(&mut read));
        reading.await.ok();
        let mut behind = bounds.behind().to_vec();
        Layered::<Bounds>::split(stream).0.read_to_end(&mut behind).await.unwrap();
        (read, behind)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_sees_one_request_wherever_its_bytes_are_cut() {
        let rows: [(BodyLength, &[u8], &[u8]); 4] = [
            (BodyLength::None, b"", b"POST"),
            (BodyLength::Bytes(3), b"abc", b"POST"),
            (BodyLength::Bytes(3), b"abc", b""),
            (BodyLength::Chunked, b"3\r\nabc\r\n0\r\nx: y\r\n\r\n", b"POST"),
        ];
        for (body, own, behind) in rows {
            let all = [own, behind].concat();
            for cut in 0..=all.len() {
                assert_eq!(seen(body, &all, cut).await, (own.to_vec(), behind.to_vec()), "{body:?} cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_leaves_the_grammar_is_not_read_on() {
        let (mut far, near) = duplex(1 << 10);
        let bounds = Bounds::new(BodyLength::Chunked, &mut BytesMut::from(HEAD), HEAD.len());
        let mut stream = Layered::over(Box::new(near), bounds.clone());
        far.write_all(b"1\r\nabPOST / HTTP/1.1").await.unwrap();
        let mut read = Vec::new();
        assert!(stream.read_buf(&mut read).await.is_err() && read.is_empty());
        assert_eq!(bounds.fault(), Some(Refusal::BrokenBody));
        assert!(stream.read_buf(&mut read).await.is_err());
    }

    #[test]
    fn a_limit_counts_for_sizes_that_came_with_the_head() {
        let mut bytes = BytesMut::from(&[HEAD, b"10\r\n"].concat()[..]);
        let bounds = Bounds::new(BodyLength::Chunked, &mut bytes, HEAD.len());
        bounds.limit(16);
        assert_eq!(bounds.fault(), None);
        bounds.limit(15);
        assert_eq!(bounds.fault(), Some(Refusal::BodyTooLarge(15)));
    }
}
