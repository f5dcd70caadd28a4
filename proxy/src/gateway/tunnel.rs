//! A WebSocket connection, as a layer of the client's connection.
//!
//! Payloads pass unread; the heads of frames are read to know where a frame ends, because the proxy
//! has frames of its own to send: pings to a client that is silent, and a close (1001, "going
//! away") to both sides when the connection must end.
//!
//! Invariant: an own frame begins where another one ends, and no frame follows a close.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::alarm::Alarm;
use super::frames::Frames;
use crate::clock;
use crate::model::Tick;

/// A ping without a payload.
const PING: [u8; 2] = [0x89, 0];
/// Status 1001, "going away" (RFC 6455, section 7.4.1).
const GOING_AWAY: [u8; 2] = [0x03, 0xe9];
/// The end of the head that opens the connection.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";
/// Time for both sides to answer a close.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// The limits of a WebSocket connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct TunnelLimits {
    /// Longest time without a byte in either direction.
    pub(super) idle: Duration,
    /// A client that was silent for this long gets a ping; it has as long again to answer.
    pub(super) ping: Duration,
}

/// Ready when the connection must end.
pub(super) type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The state of a WebSocket connection.
pub(super) struct Tunnel {
    limits: TunnelLimits,
    ending: Ending,
    alarm: Alarm,
    from_client: Frames,
    to_client: ToClient,
    /// The last byte from the client.
    heard: Tick,
    /// The last byte in any direction.
    moved: Tick,
    pinged: bool,
    /// An own frame for the client, as far as it isn't written.
    own: Vec<u8>,
    /// A part of `own` is written.
    own_begun: bool,
    /// When the connection ends at the latest, once it is closing.
    closing: Option<Tick>,
    /// The client has the whole close.
    closed_to_client: bool,
    /// The close for the endpoint, as far as it isn't read.
    for_endpoint: Option<BytesMut>,
}

/// The position in the bytes for the client: the head that opens the connection, then frames.
#[derive(Default)]
struct ToClient {
    /// Bytes of the head's end, an empty line, that were just passed.
    ended: usize,
    frames: Frames,
}

impl ToClient {
    fn at_boundary(&self) -> bool {
        self.ended == HEAD_END.len() && self.frames.at_boundary()
    }

    fn pass(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while let ([byte, rest @ ..], true) = (bytes, self.ended < HEAD_END.len()) {
            self.ended = match *byte {
                byte if byte == HEAD_END[self.ended] => self.ended + 1,
                byte => usize::from(byte == HEAD_END[0]),
            };
            bytes = rest;
        }
        self.frames.pass(bytes);
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("closing", &self.closing).finish_non_exhaustive()
    }
}

impl Tunnel {
    pub(super) fn new(limits: TunnelLimits, ending: Ending) -> Self {
        let now = clock::now();
        Tunnel {
            limits,
            ending,
            alarm: Alarm::new(now.after(limits.ping.min(limits.idle))),
            from_client: Frames::default(),
            to_client: ToClient::default(),
            heard: now,
            moved: now,
            pinged: false,
            own: Vec::new(),
            own_begun: false,
            closing: None,
            closed_to_client: false,
            for_endpoint: None,
        }
    }

    /// Takes bytes that the client has sent.
    pub(super) fn came(&mut self, bytes: &[u8]) {
        self.from_client.pass(bytes);
        self.heard = clock::now();
        self.moved = self.heard;
        self.pinged = false;
    }

    /// Reads from the client, for the endpoint.
    pub(super) fn poll_read(
        &mut self,
        inner: &mut Stream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.keep_time(cx);
        if self.poll_own(inner, cx)?.is_ready() && self.closing.is_some() {
            self.closed_to_client = true;
        }
        match self.closing {
            Some(end) if self.from_client.at_boundary() => {
                let close = self.for_endpoint.get_or_insert_with(|| BytesMut::from(&masked_close()[..]));
                if close.is_empty() {
                    return self.poll_end(inner, cx, end);
                }
                let count = close.len().min(buf.remaining());
                buf.put_slice(&close.split_to(count));
                Poll::Ready(Ok(()))
            }
            _ => {
                let before = buf.filled().len();
                ready!(Pin::new(inner).poll_read(cx, buf))?;
                self.came(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Writes to the client, from the endpoint.
    pub(super) fn poll_write(
        &mut self,
        inner: &mut Stream,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.to_client.at_boundary() || self.own_begun {
            ready!(self.poll_own(inner, cx))?;
            self.closed_to_client |= self.closing.is_some();
        }
        if self.closed_to_client {
            return Poll::Ready(Ok(bytes.len()));
        }
        let most = if self.own.is_empty() { bytes.len() } else { self.to_client.frames.to_boundary(bytes) };
        let written = ready!(Pin::new(inner).poll_write(cx, &bytes[..most]))?;
        self.to_client.pass(&bytes[..written]);
        self.moved = clock::now();
        Poll::Ready(Ok(written))
    }

    /// Begins to close, or pings, when it is time.
    fn keep_time(&mut self, cx: &mut Context<'_>) {
        if self.closing.is_none() && self.ending.as_mut().poll(cx).is_ready() {
            self.close();
        }
        while self.closing.is_none() {
            let ping = self.heard.after(if self.pinged { self.limits.ping * 2 } else { self.limits.ping });
            let idle = self.moved.after(self.limits.idle);
            if self.alarm.poll_due(cx, ping.min(idle)).is_pending() {
                return;
            }
            match idle <= ping || self.pinged {
                true => self.close(),
                false => {
                    self.pinged = true;
                    self.own.extend(PING);
                }
            }
        }
    }

    fn close(&mut self) {
        self.closing = Some(clock::now().after(CLOSE_TIME));
        if !self.own_begun {
            self.own.clear();
        }
        self.own.extend([0x88, 2]);
        self.own.extend(GOING_AWAY);
    }

    /// Writes the own frame, if the client is at the end of another one. Ready once it is written.
    fn poll_own(&mut self, inner: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.own.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if !self.to_client.at_boundary() {
            return Poll::Pending;
        }
        while !self.own.is_empty() {
            let written = ready!(Pin::new(&mut *inner).poll_write(cx, &self.own))?;
            self.own.drain(..written);
            self.own_begun = !self.own.is_empty();
        }
        Pin::new(inner).poll_flush(cx)
    }

    /// Waits for the client's side of the close.
    fn poll_end(&mut self, inner: &mut Stream, cx: &mut Context<'_>, end: Tick) -> Poll<io::Result<()>> {
        let mut rest = [0; 1_024];
        loop {
            let mut read = ReadBuf::new(&mut rest);
            match Pin::new(&mut *inner).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.alarm.poll_due(cx, end).map(Ok),
            }
        }
    }
}

/// A close for the endpoint. Frames of a client are masked (RFC 6455, section 5.3).
fn masked_close() -> [u8; 8] {
    let mask = fastrand::u32(..).to_ne_bytes();
    let [first, second] = GOING_AWAY;
    [0x88, 0x82, mask[0], mask[1], mask[2], mask[3], first ^ mask[0], second ^ mask[1]]
}
