use std::sync::Arc;

use http::StatusCode;
use pingora::protocols::http::ServerSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::session::RpcSession;
use super::*;

/// A session after its request, with a response of `length` bytes begun, and the client's end.
async fn session(length: usize) -> (ServerSession, DuplexStream) {
    let (near, mut far) = duplex(4 << 10);
    far.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(near));
    assert!(session.read_request().await.unwrap());
    let mut head = pingora::http::ResponseHeader::build(200, None).unwrap();
    head.insert_header(http::header::CONTENT_LENGTH, length).unwrap();
    session.write_response_header(Box::new(head)).await.unwrap();
    (session, far)
}

/// Result and seconds of sending `length` bytes to a client that reads `at_once` bytes a second.
async fn send(length: usize, at_once: usize) -> (bool, u64) {
    let (mut session, mut client) = session(length).await;
    let reader = tokio::spawn(async move {
        let mut piece = vec![0; at_once.max(1)];
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if at_once > 0 && client.read(&mut piece).await.unwrap_or(0) == 0 {
                return Arc::new(client);
            }
        }
    });
    let began = Instant::now();
    let sent = Sending::new(&mut RpcSession { session: &mut session, route: None }, None)
        .finish(Bytes::from(vec![b' '; length]))
        .await;
    reader.abort();
    (sent.is_ok(), began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_slowly_but_steadily_gets_it() {
    let (sent, seconds) = send(300_000, 2_048).await;
    assert!(sent && seconds > 100, "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_less_than_the_floor_rate_is_cut() {
    for at_once in [0, 100, 700] {
        let (sent, seconds) = send(300_000, at_once).await;
        assert!(!sent, "{at_once} bytes a second");
        assert!(seconds <= 100, "{at_once} bytes a second: {seconds} s");
    }
}

/// The client pipelines requests and reads nothing: a head has a time limit, too.
#[tokio::test(start_paused = true)]
async fn a_client_that_takes_not_even_a_head_is_cut() {
    let (near, mut far) = duplex(64);
    tokio::spawn(async move {
        far.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
        drop(far);
    });
    let mut session = ServerSession::new_http1(Box::new(near));
    assert!(session.read_request().await.unwrap());
    let head = ResponseHead::without_body(StatusCode::OK);
    let mut client = RpcSession { session: &mut session, route: None };
    let mut sending = Sending::new(&mut client, None);
    let begun = timeout(2 * WRITE_TIMEOUT, sending.begin(head)).await;
    assert!(begun.expect("an end of the wait").is_err());
}

#[test]
fn only_json_types_in_utf_8_are_passed_on() {
    for kept in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json-rpc",
        "application/problem+json",
    ] {
        assert_eq!(json_type(Some(HeaderValue::from_static(kept))), kept);
    }
    for replaced in [
        "text/html",
        "text/html; application/json",
        "application/json; charset=utf-16",
        "application/json, text/html",
        "application/x,y+json",
        "application/javascript",
        "image/svg+xml",
        "text/json",
        "",
    ] {
        assert_eq!(json_type(Some(HeaderValue::from_static(replaced))), JSON, "{replaced}");
    }
    assert_eq!(json_type(None), JSON);
}
