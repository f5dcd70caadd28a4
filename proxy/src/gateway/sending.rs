//! Writing a response to the client: whole, or while it arrives from an endpoint.
//!
//! Invariants: a client has to keep up a floor rate over the time that the proxy waits for it. A
//! place under `max_concurrency` is kept until the endpoint has sent everything, but neither beyond
//! the request's deadline nor for a client that delays the response.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::accepted::is_json;
use super::downstream::{Downstream, ResponseHead};
use crate::clock;
use crate::engine::StreamingReply;
use crate::model::{FloorRate, Pace};
use crate::upstream::Ticket;

/// The average rate at which a client must read a response, the same as for sending a request
/// (Apache's `RequestReadTimeout`).
const CLIENT_FLOOR: FloorRate = FloorRate { bytes_per_sec: 1 << 10, grace: Duration::from_secs(10) };
/// A client that delays a response for this long loses its place.
const HELD_UP: Duration = Duration::from_secs(1);
/// Longest time in which a client reads no byte (nginx's default).
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one write: small enough to observe progress.
const PIECE: usize = 64 << 10;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The writer of one response.
pub(super) struct Sending<'s, D> {
    client: &'s mut D,
    pace: Pace,
    place: Option<Ticket>,
}

impl<'s, D: Downstream> Sending<'s, D> {
    /// `place` is the request's, while an endpoint still has data to send.
    pub(super) fn new(client: &'s mut D, place: Option<Ticket>) -> Self {
        Sending { client, pace: Pace::new(CLIENT_FLOOR), place }
    }

    /// Writes the head of a response.
    ///
    /// # Errors
    /// When the client is gone, or doesn't read it.
    pub(super) async fn begin(&mut self, head: ResponseHead) -> Result<()> {
        let writing = pin!(self.client.write_head(head));
        wait_for(writing, 0, &mut self.pace, &mut self.place).await
    }

    /// Writes the last bytes of a response, or all of them.
    ///
    /// # Errors
    /// When the client is gone, or reads below the floor rate.
    pub(super) async fn finish(mut self, mut bytes: Bytes) -> Result<()> {
        if bytes.len() > PIECE {
            let last = bytes.split_off(bytes.len() - PIECE);
            self.write(bytes).await?;
            bytes = last;
        }
        self.write_piece(bytes, true).await
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE));
            self.write_piece(piece, false).await?;
        }
        Ok(())
    }

    async fn write_piece(&mut self, piece: Bytes, last: bool) -> Result<()> {
        let size = piece.len();
        let writing = pin!(self.client.write_body(piece, last));
        wait_for(writing, size, &mut self.pace, &mut self.place).await
    }

    /// Forwards a long response while it arrives. Its head must be written already.
    ///
    /// # Errors
    /// When the client can't take more, or the endpoint breaks off or trickles.
    pub(super) async fn pass_on(mut self, mut reply: StreamingReply) -> Result<()> {
        loop {
            let next = reply.next(self.pace.waited() >= HELD_UP).await;
            let piece = next.map_err(|detail| Error::explain(ErrorType::ReadError, detail))?;
            if piece.last {
                self.place = None;
                return self.finish(piece.bytes).await;
            }
            self.write(piece.bytes).await?;
            if reply.is_overdue() {
                self.place = None;
            }
        }
    }
}

/// Waits until `size` bytes are written, within the client's allowance. A client that delays the
/// response loses its place.
async fn wait_for(
    mut writing: Pin<&mut impl Future<Output = Result<()>>>,
    size: usize,
    pace: &mut Pace,
    place: &mut Option<Ticket>,
) -> Result<()> {
    // A write that completes at once doesn't count as waiting.
    if let Poll::Ready(written) = poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await {
        pace.record(size, Duration::ZERO);
        return written;
    }
    let most = pace.allowance(size).min(WRITE_TIMEOUT);
    let patience = HELD_UP.saturating_sub(pace.waited()).min(most);
    let began = clock::now();
    let written = match timeout(patience, &mut writing).await {
        Err(_) => {
            *place = None;
            timeout(most.saturating_sub(patience), writing).await
        }
        written => written,
    };
    pace.record(size, clock::now().since(began));
    written.map_err(|_| Error::explain(ErrorType::WriteTimedout, "the client takes its answer too slowly"))?
}

/// The content type of a response, which was parsed as JSON whatever the endpoint declares. The
/// endpoint's type is passed on if it is a JSON type and UTF-8: any other would make a browser or
/// client read the same bytes differently.
pub(super) fn json_type(said: Option<HeaderValue>) -> HeaderValue {
    said.filter(|value| value == JSON || value.to_str().is_ok_and(is_json_type)).unwrap_or(JSON)
}

fn is_json_type(value: &str) -> bool {
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    let is_token = essence.trim().split('/').all(is_token);
    is_token && is_json(essence.as_bytes()) && matches!(parameters.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"")
}

fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
}

#[cfg(test)]
mod tests;
