//! Reading a request's body within limits of size, total memory and time.
//!
//! Invariants: a client that sends less than [`BODY_RATE`] after [`BODY_GRACE`] is refused,
//! whatever the pauses between its bytes are; memory is counted before it is taken.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use pingora::protocols::http::ServerSession;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::alarm::Alarm;
use super::bounds::Bounds;
use super::ctx::RequestCtx;
use super::framing::{BodyLength, Framing};
use crate::clock;
use crate::jsonrpc::Refusal;
use crate::model::Buffered;
use crate::model::Tick;

/// Time that any body may take, however short (as Apache's `RequestReadTimeout`).
const BODY_GRACE: Duration = Duration::from_secs(10);
/// Longest pause in the middle of a body.
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// Average bytes per second that a client must reach after [`BODY_GRACE`].
const BODY_RATE: u64 = 1_024;
/// Memory reserved for an announced body before its bytes arrive.
const MOST_AT_ONCE: usize = 1 << 20;

/// Reads the body of a request whose head passed the checks.
///
/// # Errors
/// When it is too large, too slow or malformed, or there is no memory for it.
pub(super) async fn read(
    buffered: &Arc<Buffered>,
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    alarm: &mut Alarm,
    framing: &Framing,
) -> Result<Bytes, Refusal> {
    let (max, most) = (ctx.snapshot.config.server.max_body, ctx.snapshot.config.server.max_buffered);
    let announced = match framing.body {
        BodyLength::None => Some(0),
        BodyLength::Bytes(bytes) => Some(bytes),
        BodyLength::Chunked | BodyLength::Stream => None,
    };
    if announced.is_some_and(|length| length > max) {
        return Err(Refusal::BodyTooLarge(max));
    }
    if let Some(bounds) = &ctx.bounds {
        bounds.limit(max);
    }
    if framing.expects_continue {
        invite(session, alarm, body_due(ctx.began, 0)).await?;
    }
    // An announced length is trusted up to a limit; beyond it memory grows as the bytes arrive.
    let mut body = BytesMut::new();
    loop {
        let piece = tokio::select! {
            biased;
            piece = session.read_request_body() => piece,
            () = stalled(alarm, body_due(ctx.began, body.len())) => return Err(Refusal::Stalled),
        };
        if let Some(fault) = ctx.bounds.as_ref().and_then(Bounds::fault) {
            // Pingora may take the body for ended.
            session.set_keepalive(None);
            return Err(fault);
        }
        let Some(piece) = piece.map_err(|_| Refusal::BrokenBody)? else { return Ok(body.freeze()) };
        let length = body.len() + piece.len();
        if length > max {
            return Err(Refusal::BodyTooLarge(max));
        }
        if body.is_empty() && Some(length) == announced {
            return if ctx.held.cover(buffered, length, most) { Ok(piece) } else { Err(Refusal::NoMemory) };
        }
        let likely = announced.unwrap_or_default().min(MOST_AT_ONCE).min(max);
        make_room(&mut body, length, likely, |size| ctx.held.cover(buffered, size, most))?;
        body.extend_from_slice(&piece);
    }
}

/// Sends `100 Continue` to a client that waits for it (RFC 9110, section 10.1.1). The client may
/// not even read that.
async fn invite(session: &mut ServerSession, alarm: &mut Alarm, due: Tick) -> Result<(), Refusal> {
    tokio::select! {
        biased;
        written = session.write_continue_response() => written.map_err(|_| Refusal::Stalled),
        () = stalled(alarm, due) => Err(Refusal::Stalled),
    }
}

/// Reads the rest of a body of `length` bytes from a connection. `next` holds the bytes that were
/// read already, and in the end those that follow the body.
///
/// # Errors
/// When it is too slow or ends early, or there is no memory for it.
pub(super) async fn read_rest(
    buffered: &Arc<Buffered>,
    stream: &mut (impl AsyncRead + Unpin),
    next: &mut BytesMut,
    ctx: &mut RequestCtx,
    alarm: &mut Alarm,
    length: usize,
) -> Result<Bytes, Refusal> {
    let most = ctx.snapshot.config.server.max_buffered;
    if next.len() >= length {
        return if ctx.held.cover(buffered, length, most) {
            Ok(next.split_to(length).freeze())
        } else {
            Err(Refusal::NoMemory)
        };
    }
    let mut body = BytesMut::new();
    make_room(&mut body, next.len(), length.min(MOST_AT_ONCE), |size| ctx.held.cover(buffered, size, most))?;
    body.extend_from_slice(next);
    next.clear();
    while body.len() < length {
        if body.len() == body.capacity() {
            let wanted = length.min(2 * body.len().max(1));
            make_room(&mut body, wanted, wanted, |size| ctx.held.cover(buffered, size, most))?;
        }
        let room = (length - body.len()).min(body.capacity() - body.len());
        let arrived = body.len();
        let mut limited = (&mut body).limit(room);
        let read = tokio::select! {
            biased;
            read = stream.read_buf(&mut limited) => read,
            () = stalled(alarm, body_due(ctx.began, arrived)) => return Err(Refusal::Stalled),
        };
        if !matches!(read, Ok(1..)) {
            return Err(Refusal::BrokenBody);
        }
    }
    Ok(body.freeze())
}

/// Grows `body` to hold `length` bytes, in one allocation of exactly the counted size. `covers`
/// counts it.
fn make_room(
    body: &mut BytesMut,
    length: usize,
    likely: usize,
    mut covers: impl FnMut(usize) -> bool,
) -> Result<(), Refusal> {
    if length > body.capacity() {
        let roomy = length.max(likely).max(2 * body.capacity());
        let size = [roomy, length].into_iter().find(|size| covers(*size)).ok_or(Refusal::NoMemory)?;
        let mut larger = BytesMut::with_capacity(size);
        larger.extend_from_slice(body);
        *body = larger;
    }
    Ok(())
}

/// Waits until nothing arrived for [`MAX_SILENCE`], or until `due`. The clock is read only when the
/// future is polled.
async fn stalled(alarm: &mut Alarm, due: Tick) {
    alarm.at(due.min(clock::now().after(MAX_SILENCE))).await;
}

/// The deadline of a body of which `bytes` have arrived; each further byte extends it.
fn body_due(began: Tick, bytes: usize) -> Tick {
    began.after(BODY_GRACE + Duration::from_millis(bytes as u64 * 1_000 / BODY_RATE))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_invitation_is_refused() {
        let (near, mut far) = duplex(8);
        let client = tokio::spawn(async move {
            let head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n";
            far.write_all(head).await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut session = ServerSession::new_http1(Box::new(near));
        assert!(session.read_request().await.unwrap());
        let (mut alarm, due) = (Alarm::new(clock::now()), body_due(clock::now(), 0));
        let invited = tokio::time::timeout(2 * BODY_GRACE, invite(&mut session, &mut alarm, due)).await;
        assert!(matches!(invited.expect("an end of the wait"), Err(Refusal::Stalled)));
        client.abort();
    }
}
