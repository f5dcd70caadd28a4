//! The arrival of a request's head.
//!
//! Pingora's session reads a head itself, and parses it from the beginning after each read: a head
//! that arrives byte by byte costs the square of its length, and only each single read has a time
//! limit. So this module reads the head from the connection and passes it to the session once it is
//! complete. Each byte is examined once. Usually one read is enough, as it would be in the session.
//!
//! Until then a client holds a connection and a buffer, but no session and no place under
//! `max_concurrency`.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::alarm::Alarm;
use super::connections::ConnectionCount;
use crate::clock;
use crate::jsonrpc::Refusal;
use crate::model::Tick;

/// Initial buffer for a usual head and a small body: Pingora's size.
const USUAL: usize = 4_096;
/// The longest head. Servers accept 8 KiB (nginx) to 64 KiB (HAProxy, Envoy: 60).
const LONGEST: usize = 64 << 10;
/// Time limit for draining a refused head, so that the client sees the refusal and not a reset.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limits for a head.
pub(super) struct HeadLimits {
    /// For its first byte, after a previous request (nginx's default).
    pub(super) idle: Duration,
    /// For the whole head from its first byte on; for a connection's first head from the beginning
    /// of the connection.
    pub(super) head: Duration,
}

impl HeadLimits {
    pub(super) const USUAL: HeadLimits = HeadLimits { idle: Duration::from_secs(75), head: Duration::from_secs(10) };
}

/// The result of waiting for a head.
#[derive(Debug, PartialEq)]
pub(super) enum Arrival {
    /// A complete head, and the bytes that came with it.
    Whole {
        /// The bytes from the head's beginning on.
        bytes: BytesMut,
        /// A line of the head ends with LF alone.
        bare_lf: bool,
    },
    /// The connection ended, was silent for too long, or was shed.
    Nothing,
    /// The head is too slow or too long.
    Refused(Refusal),
}

/// The connection that the next head comes from.
pub(super) struct Entrance<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) seat: &'a ConnectionCount,
    pub(super) alarm: &'a mut Alarm,
    pub(super) limits: &'a HeadLimits,
}

enum Event {
    Read(io::Result<usize>),
    Late,
    Shed,
}

impl<S: AsyncRead + Unpin> Entrance<'_, S> {
    /// Reads the connection's first head.
    pub(super) async fn first(&mut self) -> Arrival {
        let due = clock::now().after(self.limits.head);
        self.arrive(BytesMut::new(), due, Some(due)).await
    }

    /// Reads a later head, of which some bytes may have arrived.
    pub(super) async fn next(&mut self, beginning: BytesMut) -> Arrival {
        let due = clock::now().after(self.limits.idle);
        self.arrive(beginning, due, None).await
    }

    async fn arrive(&mut self, mut bytes: BytesMut, begun_by: Tick, whole_by: Option<Tick>) -> Arrival {
        if bytes.is_empty() {
            bytes.reserve(USUAL);
            self.seat.rest(clock::now());
            let came = matches!(self.read(&mut bytes, begun_by).await, Event::Read(Ok(1..)));
            if !self.seat.wake_up() || !came {
                return Arrival::Nothing;
            }
        }
        let mut search = Search::default();
        // Most heads are complete by now and need no look at the clock.
        let mut due = whole_by;
        loop {
            if search.is_over(&bytes) {
                return Arrival::Whole { bytes, bare_lf: search.bare_lf };
            }
            if bytes.len() > LONGEST {
                return Arrival::Refused(Refusal::HeadTooLarge(LONGEST));
            }
            let due = *due.get_or_insert_with(|| clock::now().after(self.limits.head));
            match self.read(&mut bytes, due).await {
                Event::Read(Ok(1..)) => {}
                Event::Late => return Arrival::Refused(Refusal::Stalled),
                Event::Read(_) | Event::Shed => return Arrival::Nothing,
            }
        }
    }

    async fn read(&mut self, bytes: &mut BytesMut, due: Tick) -> Event {
        let mut reading = pin!(self.stream.read_buf(bytes));
        poll_fn(|cx| {
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                return Poll::Ready(Event::Read(read));
            }
            if self.seat.is_shed(cx) {
                return Poll::Ready(Event::Shed);
            }
            self.alarm.poll_due(cx, due).map(|()| Event::Late)
        })
        .await
    }
}

/// The progress of the search for the end of a head.
#[derive(Default)]
struct Search {
    at: usize,
    begun: bool,
    /// A line ended without CR. Pingora accepts that; [`framing`](super::framing) doesn't.
    bare_lf: bool,
}

impl Search {
    /// Whether reading may stop: the head is complete, or the bytes can't begin one. `bytes` are
    /// the previous call's and any new ones.
    ///
    /// The end is where Pingora's parser may see one: an empty line, with or without CR, that isn't
    /// the first.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        if !self.begun {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.at += empty;
            match bytes.get(self.at) {
                None => return false,
                // No method begins like this, but TLS does.
                Some(byte) if !byte.is_ascii_graphic() => return true,
                Some(_) => {
                    self.begun = true;
                    self.bare_lf = !bytes[..self.at].chunks(2).all(|line| line == b"\r\n");
                }
            }
        }
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(line) = memchr(b'\n', rest) else {
                self.at = bytes.len();
                return false;
            };
            let end = self.at + line;
            match &bytes[end + 1..] {
                // Undecided: the end of this line is examined again.
                [] | [b'\r'] => {
                    self.at = end;
                    return false;
                }
                next => {
                    let empty = matches!(next, [b'\n', ..] | [b'\r', b'\n', ..]);
                    self.bare_lf |= next[0] == b'\n' || end == 0 || bytes[end - 1] != b'\r';
                    self.at = end + 1;
                    if empty {
                        return true;
                    }
                }
            }
        }
    }
}

/// Refuses bytes that are no request, and closes the connection.
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, why: &Refusal) {
    let body = why.render(None);
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        why.status(),
        body.len()
    );
    let writing = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.flush().await
    };
    match timeout(DRAIN_TIMEOUT, writing).await {
        Ok(Ok(())) => drain(stream).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client was gone before it was refused"),
        Err(_) => {}
    }
}

/// Ends the writing side, and reads what the client still sends, within [`DRAIN_TIMEOUT`]: closing
/// at once would reset the connection, and the client might lose its response.
pub(super) async fn drain<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let leaving = async {
        stream.shutdown().await?;
        let mut rest = [0; 1_024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(DRAIN_TIMEOUT, leaving).await {
        tracing::debug!(%error, "a client was gone before its connection was closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::connections::{Connections, Most};
    use crate::metrics::Metrics;
    use prometheus::Registry;
    use tokio::io::duplex;

    const SHORT: HeadLimits = HeadLimits { idle: Duration::from_millis(60), head: Duration::from_millis(40) };
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n";

    fn seat() -> ConnectionCount {
        let connections = Connections::new(Metrics::new(Registry::new()).unwrap());
        connections.enter("127.0.0.1".parse().unwrap(), Most { in_all: 9, per_address: 9 }).unwrap()
    }

    fn whole(bytes: &[u8]) -> Arrival {
        Arrival::Whole { bytes: bytes.into(), bare_lf: false }
    }

    /// The position at which the end is detected, when the head arrives byte by byte.
    fn end(bytes: &[u8]) -> Option<usize> {
        let mut search = Search::default();
        (1..=bytes.len()).find(|&length| search.is_over(&bytes[..length]))
    }

    #[test]
    fn a_head_ends_with_an_empty_line_however_it_is_split() {
        for (text, expected) in [
            ("POST / HTTP/1.1\r\nhost: a\r\n\r\n{}", Some(28)),
            ("POST / HTTP/1.1\nhost: a\n\n{}", Some(25)),
            ("GET / HTTP/1.1\r\n\r\n", Some(18)),
            ("\r\n\n\r\nGET / HTTP/1.1\r\n\r\n", Some(23)),
            ("GET / HTTP/1.1\r\na: \r\r\nb\r\n\r\n", Some(27)),
            ("GET / HTTP/1.1\r\na: b\r\n", None),
            ("\r\n\r\n\r\n", None),
            ("\u{16}\u{3}", Some(1)),
        ] {
            let bytes = text.as_bytes();
            assert_eq!(end(bytes), expected, "{text:?}");
            for split in 0..bytes.len() {
                let mut search = Search::default();
                let over = search.is_over(&bytes[..split]) || search.is_over(bytes);
                assert_eq!(over, expected.is_some(), "{text:?} split at {split}");
            }
        }
    }

    #[test]
    fn a_line_without_a_carriage_return_is_seen_however_the_head_is_split() {
        for (text, bare_lf) in [
            ("POST / HTTP/1.1\r\nhost: a\r\n\r\n{\n}\n\n", false),
            ("\r\n\r\nPOST / HTTP/1.1\r\n\r\n", false),
            ("POST / HTTP/1.1\nhost: a\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nhost: a\n\r\n", true),
            ("POST / HTTP/1.1\r\nhost: a\r\n\n", true),
            ("POST / HTTP/1.1\r\na: b\nc: d\r\n\r\n", true),
            ("\nPOST / HTTP/1.1\r\n\r\n", true),
            ("\r\n\nPOST / HTTP/1.1\r\n\r\n", true),
        ] {
            let bytes = text.as_bytes();
            for split in 0..bytes.len() {
                let mut search = Search::default();
                assert!(search.is_over(&bytes[..split]) || search.is_over(bytes), "{text:?}");
                assert_eq!(search.bare_lf, bare_lf, "{text:?} split at {split}");
            }
        }
    }

    /// The cost of a head grows with its length, not with the number of reads.
    #[test]
    fn no_byte_is_searched_twice() {
        let mut search = Search::default();
        let mut bytes = b"GET / HTTP/1.1\r\nx: ".to_vec();
        for _ in 0..1_000 {
            bytes.push(b'x');
            assert!(!search.is_over(&bytes));
            // A second search of these bytes would find an end.
            bytes[1..search.at].fill(b'\n');
        }
    }

    #[tokio::test]
    async fn a_head_is_taken_with_what_comes_along() {
        let (mut client, mut stream) = duplex(1 << 20);
        let mut alarm = Alarm::new(clock::now());
        let (seat, limits) = (seat(), HeadLimits::USUAL);
        let mut entrance = Entrance { stream: &mut stream, seat: &seat, alarm: &mut alarm, limits: &limits };
        client.write_all(&[HEAD, b"{}"].concat()).await.unwrap();
        assert_eq!(entrance.first().await, whole(&[HEAD, b"{}"].concat()));
        // The beginning of the next head came with the previous one.
        client.write_all(&HEAD[7..]).await.unwrap();
        assert_eq!(entrance.next(HEAD[..7].into()).await, whole(HEAD));
        // The complete next head.
        assert_eq!(entrance.next(HEAD.into()).await, whole(HEAD));
        client.write_all(&HEAD[..9]).await.unwrap();
        drop(client);
        assert_eq!(entrance.next(BytesMut::new()).await, Arrival::Nothing);
    }

    #[tokio::test]
    async fn who_is_slow_is_refused_and_who_is_silent_is_left() {
        for (sent, expected) in [("", Arrival::Nothing), ("POST /", Arrival::Refused(Refusal::Stalled))] {
            for first in [true, false] {
                let (mut client, mut stream) = duplex(64);
                let mut alarm = Alarm::new(clock::now());
                let seat = seat();
                let mut entrance = Entrance { stream: &mut stream, seat: &seat, alarm: &mut alarm, limits: &SHORT };
                client.write_all(sent.as_bytes()).await.unwrap();
                let began = clock::now();
                let arrival = if first { entrance.first().await } else { entrance.next(BytesMut::new()).await };
                assert_eq!(arrival, expected, "{sent:?}");
                let least = if sent.is_empty() && !first { SHORT.idle } else { SHORT.head };
                assert!(clock::now().since(began) >= least, "{sent:?}");
            }
        }
    }

    /// The time limit covers the whole head: another byte doesn't extend it.
    #[tokio::test]
    async fn a_trickle_is_as_slow_as_silence() {
        let (mut client, mut stream) = duplex(64);
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let (seat, mut alarm) = (seat(), Alarm::new(clock::now()));
        let mut entrance = Entrance { stream: &mut stream, seat: &seat, alarm: &mut alarm, limits: &SHORT };
        assert_eq!(entrance.next(BytesMut::new()).await, Arrival::Refused(Refusal::Stalled));
        drop(stream);
        trickle.await.unwrap();
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_too_long() {
        let (mut client, mut stream) = duplex(1 << 20);
        client.write_all(&vec![b'x'; LONGEST + 1]).await.unwrap();
        let (seat, mut alarm) = (seat(), Alarm::new(clock::now()));
        let mut entrance = Entrance { stream: &mut stream, seat: &seat, alarm: &mut alarm, limits: &HeadLimits::USUAL };
        assert_eq!(entrance.first().await, Arrival::Refused(Refusal::HeadTooLarge(LONGEST)));
    }
}
