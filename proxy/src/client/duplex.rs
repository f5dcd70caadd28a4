//! Sending a request while its response may already arrive.
//!
//! An endpoint that refuses a long body answers early and stops reading (RFC 9112, sections 9.3 and
//! 9.6). A client that only writes waits until the timeout, and loses the response when the
//! connection is reset. So while the connection accepts no bytes, this module reads from it.
//!
//! Invariant: a final response that begins before the request's end stops the sending, and is the
//! attempt's response. Interim responses don't.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one read while a request is sent.
const PIECE: usize = 4 << 10;
/// Maximum bytes read before the request's end: no reasonable head is longer.
const MOST_EARLY: usize = 64 << 10;
const MOST_HEADERS: usize = 64;

/// The result of sending a request.
#[derive(Default)]
pub(super) struct Sent {
    /// The request was sent to its last byte.
    pub(super) complete: bool,
    /// The connection takes no more.
    pub(super) broken: bool,
    /// Bytes that the endpoint sent meanwhile.
    pub(super) early: BytesMut,
}

enum Progress {
    Wrote(usize),
    Flushed,
    Read,
    Broken,
}

/// Sends `parts`, and reads while the connection accepts no bytes.
pub(super) async fn send_and_listen(stream: &mut Stream, parts: [&[u8]; 2]) -> Sent {
    let mut sent = Sent::default();
    for (number, part) in parts.into_iter().enumerate() {
        let (mut rest, is_last) = (part, number == 1);
        while !rest.is_empty() || is_last {
            match poll_fn(|cx| poll_step(stream, cx, rest, &mut sent.early)).await {
                Progress::Wrote(count) => rest = &rest[count..],
                Progress::Flushed => {
                    sent.complete = true;
                    return sent;
                }
                Progress::Read if sent.early.len() > MOST_EARLY || has_final_head(&sent.early) => return sent,
                Progress::Read => {}
                Progress::Broken => {
                    sent.broken = true;
                    return sent;
                }
            }
        }
    }
    sent
}

/// Writes some of `rest`, or flushes when nothing is left; reads while that blocks.
fn poll_step(stream: &mut Stream, cx: &mut Context<'_>, rest: &[u8], early: &mut BytesMut) -> Poll<Progress> {
    let mut stream = Pin::new(stream);
    let written = match rest.is_empty() {
        true => stream.as_mut().poll_flush(cx).map_ok(|()| Progress::Flushed),
        false => stream.as_mut().poll_write(cx, rest).map_ok(Progress::Wrote),
    };
    match written {
        Poll::Ready(Ok(Progress::Wrote(0)) | Err(_)) => return Poll::Ready(Progress::Broken),
        Poll::Ready(Ok(step)) => return Poll::Ready(step),
        Poll::Pending => {}
    }
    let mut piece = [0; PIECE];
    let mut buffer = ReadBuf::new(&mut piece);
    stream.poll_read(cx, &mut buffer).map(|read| match (read, buffer.filled()) {
        (Err(_), _) | (Ok(()), []) => Progress::Broken,
        (Ok(()), bytes) => {
            early.extend_from_slice(bytes);
            Progress::Read
        }
    })
}

/// Whether `bytes` hold anything other than interim responses, the last of which may be incomplete.
fn has_final_head(mut bytes: &[u8]) -> bool {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        match (response.parse(bytes), response.code) {
            (Ok(httparse::Status::Complete(size)), Some(100 | 102..=199)) => bytes = &bytes[size..],
            (Ok(httparse::Status::Partial), _) => return false,
            _ => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const BODY: &[u8] = &[b'x'; 100_000];

    /// Sends to an endpoint that reads `reads` bytes, writes `says`, and then reads the rest or
    /// not.
    async fn send_to(reads: usize, says: &'static [u8], reads_on: bool) -> (Sent, usize) {
        let (near, mut far) = duplex(1_000);
        let mut near: Stream = Box::new(near);
        let endpoint = async move {
            let mut begin = vec![0; reads];
            far.read_exact(&mut begin).await.unwrap();
            far.write_all(says).await.unwrap();
            let mut rest = Vec::new();
            if reads_on {
                while reads + rest.len() < BODY.len() + 4 && far.read_buf(&mut rest).await.unwrap() > 0 {}
            }
            (far, reads + rest.len())
        };
        let (sent, (_far, read)) = tokio::join!(send_and_listen(&mut near, [b"head", BODY]), endpoint);
        (sent, read)
    }

    #[tokio::test]
    async fn a_final_answer_ends_the_sending() {
        for says in
            [&b"HTTP/1.1 413 Too Large\r\n\r\n"[..], b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"?"]
        {
            let (sent, _) = send_to(2_000, says, false).await;
            assert!(!sent.complete && !sent.broken);
            assert_eq!(sent.early, says);
        }
    }

    #[tokio::test]
    async fn an_interim_answer_does_not() {
        for says in [&b""[..], b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 20"] {
            let (sent, read) = send_to(2_000, says, true).await;
            assert!(sent.complete && !sent.broken);
            assert_eq!((sent.early, read), (BytesMut::from(says), BODY.len() + 4));
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_takes_no_more() {
        let (near, far) = duplex(1_000);
        let mut near: Stream = Box::new(near);
        drop(far);
        let sent = send_and_listen(&mut near, [b"head", BODY]).await;
        assert!(sent.broken && !sent.complete && sent.early.is_empty());
    }
}
