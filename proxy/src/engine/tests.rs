//! The engine against endpoints of the test's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::chain::Methods;
use crate::client::Outgoing;
use crate::clock;
use crate::jsonrpc::{Inspected, Refusal, RequestWords, inspect};
use crate::model::{HttpFacts, PolicyTime, RequestFacts};
use crate::upstream::Upstream;
use crate::upstream::fixture::of_conf;

/// The body that an endpoint answers with; none hangs.
type Script = Option<&'static str>;

/// An endpoint on loopback that answers each request alike.
async fn endpoint(script: Script) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script));
        }
    });
    port
}

async fn serve(mut stream: TcpStream, script: Script) {
    let (mut request, mut piece) = (Vec::new(), [0; 4_096]);
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        request.extend_from_slice(&piece[..count]);
        let whole = request.ends_with(b"}") || request.ends_with(b"]");
        if let (true, Some(body)) = (whole, script) {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            request.clear();
        }
    }
}

/// An upstream of endpoints with these scripts, the first of which has the largest weight.
async fn upstream(settings: &str, scripts: &[Script]) -> Arc<Upstream> {
    let (mut endpoints, mut addresses) = (Vec::new(), Vec::new());
    for (number, script) in scripts.iter().enumerate() {
        let (port, weight) = (endpoint(*script).await, 100 - 10 * number);
        endpoints.push(format!("{{ url = 'http://127.0.0.1:{port}', weight = {weight} }}"));
        addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let conf = format!("[upstreams.u]\nhealth_check = 'off'\n{settings}\nendpoints = [{}]", endpoints.join(", "));
    let upstream = of_conf(&conf);
    for (endpoint, address) in upstream.endpoints().iter().zip(addresses) {
        endpoint.target().set_addresses(vec![address]);
    }
    upstream
}

fn call(body: &'static str) -> Call {
    let body = Bytes::from_static(body.as_bytes());
    let Inspected { shape, expected, .. } = inspect(&body, 100, &Methods::default()).unwrap();
    let resendable = shape.is_resendable();
    let facts = RequestFacts {
        shape,
        http: HttpFacts::json_rpc(),
        body_bytes: body.len(),
        client_key: 1,
        seed: 1,
        deadline: clock::now().after(Duration::from_secs(10)),
        policy_time: PolicyTime::default(),
    };
    let words = RequestWords::default();
    let outgoing = Outgoing { body, headers: vec![], expected, resendable, max_answer: 1 << 20, whole: false, words };
    Call { facts, outgoing }
}

const READ: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_call"}"#;
const GOOD: Script = Some(r#"{"jsonrpc":"2.0","id":1,"result":"good"}"#);
const BROKEN: Script = Some("<html>");

/// The reply's text, and the attempts that it took.
async fn answered(upstream: &Arc<Upstream>, call: &Call) -> (Result<String, Refusal>, u32) {
    let mut trace = Trace::default();
    let reply = run(upstream, call, &mut trace).await;
    let text = reply.map(|reply| match reply.body {
        ReplyBody::Whole(body) => String::from_utf8(body.to_vec()).unwrap(),
        ReplyBody::Streaming(_) => panic!("a short answer"),
    });
    for endpoint in upstream.endpoints() {
        assert_eq!(endpoint.stats().in_flight(), 0, "settled");
    }
    (text, trace.attempts)
}

#[tokio::test]
async fn a_read_that_fails_is_asked_elsewhere_until_the_attempts_are_used_up() {
    let good = GOOD.unwrap().to_owned();
    let (text, attempts) = answered(&upstream("", &[BROKEN, BROKEN, GOOD]).await, &call(READ)).await;
    assert_eq!((text.ok(), attempts), (Some(good), 3));
    let (text, attempts) = answered(&upstream("max_attempts = 2", &[BROKEN, BROKEN, GOOD]).await, &call(READ)).await;
    assert!(matches!(text, Err(Refusal::EndpointsFailed)), "{text:?}");
    assert_eq!(attempts, 2);
}

#[tokio::test]
async fn a_write_that_may_have_arrived_has_one_attempt() {
    let write = call(r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction"}"#);
    let (text, attempts) = answered(&upstream("", &[BROKEN, GOOD]).await, &write).await;
    assert!(matches!(text, Err(Refusal::EndpointsFailed)), "{text:?}");
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn an_endpoints_own_error_is_the_last_word() {
    const ERROR: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"database"}}"#;
    let (text, attempts) = answered(&upstream("", &[Some(ERROR), Some(ERROR)]).await, &call(READ)).await;
    assert_eq!((text.ok().as_deref(), attempts), (Some(ERROR), 2));
}

#[tokio::test]
async fn the_members_that_failed_are_asked_elsewhere_alone() {
    let batch = call(r#"[{"jsonrpc":"2.0","id":1,"method":"eth_call"},{"jsonrpc":"2.0","id":2,"method":"eth_call"}]"#);
    let part = Some(r#"[{"id":1,"result":"first"},{"id":2,"error":{"code":-32603,"message":""}}]"#);
    let rest = Some(r#"[{"id":2,"result":"second"}]"#);
    let (text, attempts) = answered(&upstream("", &[part, rest]).await, &batch).await;
    let whole = r#"[{"id":1,"result":"first"},{"id":2,"result":"second"}]"#;
    assert_eq!((text.ok().as_deref(), attempts), (Some(whole), 2));
}

#[tokio::test]
async fn a_request_ends_at_its_deadline() {
    let mut read = call(READ);
    read.facts.deadline = clock::now().after(Duration::from_millis(50));
    let (text, _) = answered(&upstream("", &[None]).await, &read).await;
    assert!(matches!(text, Err(Refusal::TimedOut)), "{text:?}");
}

#[tokio::test]
async fn a_read_that_is_overdue_is_answered_elsewhere() {
    let upstream = upstream("", &[None, GOOD]).await;
    for _ in 0..8 {
        upstream.record_latency("eth_call", Duration::from_millis(5));
    }
    let began = clock::now();
    let (text, attempts) = answered(&upstream, &call(READ)).await;
    assert_eq!((text.ok().as_deref(), attempts), (GOOD, 2));
    assert!(clock::now().since(began) < Duration::from_secs(4), "before the timeout");
}
