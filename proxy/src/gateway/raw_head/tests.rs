//! The strict reading beside Pingora's.

use bytes::BytesMut;
use pingora::protocols::http::ServerSession;
use tokio::io::{AsyncWriteExt, duplex};

use super::super::alarm::Alarm;
use super::super::connections::{Connections, Most};
use super::super::framing::BodyLength;
use super::super::head::{Arrival, Entrance, HeadLimits};
use super::*;
use crate::clock;
use crate::metrics::Metrics;

/// The request line, `Host` and the lines after it, in all combinations.
fn heads() -> Vec<String> {
    let lines = [
        "POST / HTTP/1.1",
        "POST /eth?k=%20 HTTP/1.1",
        "GET /a%2Fb HTTP/1.1",
        "POST http://proxy/x HTTP/1.1",
        "POST http://other/x HTTP/1.1",
        "POST /\u{e9} HTTP/1.1",
        "POST /a b HTTP/1.1",
        "POST /a|b HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "PATCH /x HTTP/1.0",
        "POST /x HTTP/2.0",
        "POST  /x HTTP/1.1",
    ];
    let hosts = ["host: proxy", "Host:proxy", "host: proxy:80", "host: a b", "host: proxy\r\nhost: proxy", ""];
    let rest = [
        "content-length: 3",
        "Content-Length:\t3 ",
        "content-length: 03",
        "content-length: +3",
        "content-length: 3\r\ncontent-length: 3",
        "content-length: 3, 3",
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "Transfer-Encoding: Chunked",
        "x: \u{e9}\r\nconnection: close, x",
        "x : y",
        "x: y\r\n z",
        "x: \0",
        "upgrade: websocket\r\nconnection: upgrade",
        "expect: 100-continue\r\ncontent-length: 3",
        "",
    ];
    let mut heads = Vec::new();
    for line in lines {
        for host in hosts {
            for rest in rest {
                let mut head = format!("{line}\r\n");
                for fields in [host, rest].into_iter().filter(|fields| !fields.is_empty()) {
                    head += &format!("{fields}\r\n");
                }
                heads.push(head + "\r\n");
            }
        }
    }
    heads
}

/// Pingora's reading of a head: method, target, and the length of the body.
async fn pingora(head: &str) -> Option<(String, Vec<u8>, BodyLength)> {
    let (near, mut far) = duplex(1 << 10);
    far.write_all(head.as_bytes()).await.unwrap();
    far.shutdown().await.unwrap();
    let mut session = ServerSession::new_http1(Box::new(near));
    session.read_request().await.ok().filter(|read| *read)?;
    let read = session.req_header();
    let length = read.headers.get("content-length").map(|length| length.to_str().unwrap().trim().parse().unwrap());
    let body = match length {
        Some(length) => BodyLength::Bytes(length),
        None if read.headers.contains_key("transfer-encoding") => BodyLength::Chunked,
        None => BodyLength::None,
    };
    Some((read.method.as_str().to_owned(), read.raw_path().to_vec(), body))
}

/// Whatever the strict reader accepts, Pingora reads the same.
#[tokio::test]
async fn what_is_accepted_here_is_read_by_pingora_in_the_same_way() {
    let (heads, mut accepted) = (heads(), 0);
    assert!(heads.len() > 1_000);
    for head in heads {
        let Ok(read) = RawHead::read(head.as_bytes(), false) else { continue };
        accepted += 1;
        let (method, target, body) = pingora(&head).await.unwrap_or_else(|| panic!("Pingora refuses {head:?}"));
        assert_eq!((read.line.method, read.line.target.as_bytes()), (&*method, &*target), "{head:?}");
        assert_eq!((read.framing.body, read.length), (body, head.len()), "{head:?}");
    }
    assert!(accepted > 50, "{accepted}");
}

/// The reading depends on the bytes alone, not on how they arrive.
#[tokio::test]
async fn a_head_is_read_the_same_wherever_it_is_cut() {
    let connections = Connections::new(Metrics::new(prometheus::Registry::new()).unwrap());
    let seat = connections.enter("127.0.0.1".parse().unwrap(), Most { in_all: 9, per_address: 9 }).unwrap();
    for head in heads().iter().step_by(23) {
        let whole = format!("{:?}", RawHead::read(head.as_bytes(), false));
        for cut in 1..head.len() {
            let (mut near, mut far) = duplex(1 << 10);
            let mut alarm = Alarm::new(clock::now());
            let limits = HeadLimits::USUAL;
            let mut entrance = Entrance { stream: &mut near, seat: &seat, alarm: &mut alarm, limits: &limits };
            let (first, second) = head.as_bytes().split_at(cut);
            let writing = async {
                far.write_all(first).await.unwrap();
                tokio::task::yield_now().await;
                far.write_all(second).await.unwrap();
            };
            let (arrival, ()) = tokio::join!(entrance.next(BytesMut::new()), writing);
            let Arrival::Whole { bytes, bare_lf } = arrival else { panic!("{head:?} cut at {cut}") };
            assert_eq!(format!("{:?}", RawHead::read(&bytes, bare_lf)), whole, "{head:?} cut at {cut}");
        }
    }
}
