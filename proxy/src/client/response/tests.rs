//! The plain parser compared with Pingora's.

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Responses that are parsed here.
const PLAIN: [&str; 6] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\n{}",
    "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 04\r\n\r\nslow",
    "HTTP/1.1 503 \r\nretry-after: 99999999999\r\nRetry-After: 1\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x08\x00",
    "HTTP/1.1 200 OK\r\ncontent-encoding: Identity\r\nretry-after: Fri, 31 Dec 1999 23:59:59 GMT\r\ncontent-length: 1\r\n\r\n7",
];

/// Responses that Pingora parses.
const OTHER: [&str; 12] = [
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    "HTTP/1.1 200 OK\r\n\r\n{}",
    "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
    "hello\r\n\r\n",
];

/// The result of reading a response: its head, its body, and whether the connection was reusable.
type Read = Result<(ResponseHead, Bytes, bool), &'static str>;

async fn read_to_end(read: Result<Response, Failure>) -> Read {
    let mut response = read.map_err(|failure| failure.detail)?;
    let body = response.read_body(usize::MAX).await.map_err(|failure| failure.detail)?;
    assert!(response.is_complete());
    let reusable = match response.rest {
        Rest::Whole(..) => true,
        Rest::Session(mut session) => {
            session.respect_keepalive();
            session
                .reuse()
                .await
                .and_then(Replayed::into_inner)
                .is_some_and(|stream| (*stream).as_any().is::<DuplexStream>())
        }
    };
    Ok((response.head, body, reusable))
}

/// The others leave the connection open, so that no reader can rely on its end.
fn ends_by_closing(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 OK\r\n\r\n") || answer.contains("length: 3\r\n\r\n{}")
}

/// Reads `answer` in two parts; the second is sent after the first was read.
async fn in_two(answer: &str, split: usize) -> (Read, bool) {
    let (mut far, near) = duplex(64 << 10);
    let (first, second) = answer.as_bytes().split_at(split);
    far.write_all(first).await.unwrap();
    let rest = async {
        tokio::task::yield_now().await;
        // The reader may have finished already.
        far.write_all(second).await.ok();
        if ends_by_closing(answer) {
            drop(far);
            None
        } else {
            Some(far)
        }
    };
    let (response, _far) = tokio::join!(Response::read(Box::new(near), BytesMut::new()), rest);
    let plain = response.as_ref().is_ok_and(|response| matches!(response.rest, Rest::Whole(..)));
    (read_to_end(response).await, plain)
}

/// Reads `answer` by Pingora alone.
async fn by_session(answer: &str) -> Read {
    let (mut far, near) = duplex(64 << 10);
    far.write_all(answer.as_bytes()).await.unwrap();
    if ends_by_closing(answer) {
        drop(far);
    } else {
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(far)
        });
    }
    let mut session = Box::new(HttpSession::new(Box::new(near)));
    let response = read_head(&mut session).await.map(|status| Response {
        head: head_of(status, &session),
        rest: Rest::Session(session),
        framed_once: true,
    });
    read_to_end(response).await
}

#[tokio::test]
async fn whatever_the_way_an_answer_reads_the_same() {
    for (answer, is_plain) in PLAIN.map(|answer| (answer, true)).into_iter().chain(OTHER.map(|answer| (answer, false)))
    {
        let expected = by_session(answer).await;
        for split in 0..=answer.len() {
            let (read, plain) = in_two(answer, split).await;
            assert_eq!(read, expected, "{answer:?} split at {split}");
            assert!(plain == is_plain, "{answer:?} split at {split}");
        }
    }
}

/// Later bytes are detected when the connection is reused.
#[tokio::test]
async fn more_than_was_announced_ends_the_connection() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}more";
    let (read, plain) = in_two(answer, answer.len()).await;
    assert!(!plain);
    assert_eq!(read.map(|(_, body, reusable)| (body, reusable)), Ok((Bytes::from_static(b"{}"), false)));
}

#[tokio::test]
async fn a_long_answer_is_read_on_from_where_it_was() {
    let body = "x".repeat(3 * MAX_HEAD);
    for length in [MAX_HEAD - 100, MAX_HEAD, 3 * MAX_HEAD] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", &body[..length]);
        let (read, plain) = in_two(&answer, answer.len() / 2).await;
        assert_eq!(read.unwrap().1.len(), length);
        assert_eq!(plain, length < MAX_HEAD);
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_no_answer() {
    let answer = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2 << 20));
    let (mut far, near) = duplex(64 << 10);
    tokio::spawn(async move { far.write_all(answer.as_bytes()).await });
    assert_eq!(
        Response::read(Box::new(near), BytesMut::new()).await.err().map(|failure| failure.detail),
        Some("answer is not HTTP")
    );
}

#[tokio::test]
async fn silence_is_told_from_a_bad_answer() {
    for (answer, silent) in [("", true), ("hello\r\n\r\n", false)] {
        let (mut far, near) = duplex(1 << 10);
        far.write_all(answer.as_bytes()).await.unwrap();
        drop(far);
        assert_eq!(
            Response::read(Box::new(near), BytesMut::new()).await.err().map(|failure| failure.silent),
            Some(silent),
            "{answer:?}"
        );
    }
}
