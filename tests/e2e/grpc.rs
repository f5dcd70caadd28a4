//! gRPC: a real client and server, by tonic, on both sides of the proxy.

mod caller;
pub(crate) mod service;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, ServerTlsConfig};
use tonic::{Code, Request};

use self::caller::Caller;
use self::service::{Node, RUNTIME};
use crate::listeners::{TLS_A, with};
use crate::support::{Authority, Conf, Endpoint, Issued, Origin, Proxy, wait_until};

const HTTP2: &str = "http2 = true";

fn conf<'n>(nodes: impl IntoIterator<Item = &'n Node>) -> Conf {
    let endpoints = nodes.into_iter().zip([100, 50]).zip(["a", "b"]);
    let endpoints = endpoints.map(|((node, weight), name)| Endpoint::new(&node.url(), name).weight(weight));
    Conf::with(endpoints).set("protocol", "'http'").set("http2", "true").listener(HTTP2)
}

fn start(conf: &Conf) -> (Proxy, Caller) {
    let proxy = Proxy::start(conf);
    let caller = Caller::to(proxy.second());
    (proxy, caller)
}

/// With `http-retry`.
fn with_policy(conf: Conf) -> Conf {
    conf.shipped("http-retry").extra("[policies.again]\nplugin = 'http-retry'").set("retry", "'again'")
}

fn messages(count: usize, size: usize) -> impl futures_util::Stream<Item = Bytes> + Send + 'static {
    stream::iter((0..count).map(move |_| Bytes::from(vec![b'x'; size])))
}

fn code(result: Result<impl Sized, tonic::Status>) -> Code {
    result.map(|_| Code::Ok).unwrap_or_else(|status| status.code())
}

/// Each kind of call, with messages above the windows of flow control.
fn all_kinds_pass(caller: &mut Caller) {
    RUNTIME.block_on(async {
        let mut request = Request::new(Bytes::from_static(b"hello"));
        request.metadata_mut().insert("x-mine", "1".parse().unwrap());
        let reply = caller.call("Unary", request).await.unwrap();
        assert_eq!(reply.metadata().get_bin("x-own-bin").unwrap().to_bytes().unwrap()[..], b"\x00\xff"[..]);
        assert_eq!(reply.get_ref()[..], b"a:hello"[..]);

        let mut download = caller.download("300 20000 0").await.unwrap();
        let mut bytes = 0;
        while let Some(message) = download.message().await.unwrap() {
            bytes += message.len();
        }
        assert_eq!(bytes, 300 * 20_000);
        assert_eq!(caller.upload(messages(300, 20_000)).await.unwrap(), "a:300 6000000");

        // Each message is answered before the next one is sent.
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let mut chat = caller.chat(tokio_stream::wrappers::ReceiverStream::new(receive)).await.unwrap();
        for number in 0..20 {
            send.send(Bytes::from(number.to_string())).await.unwrap();
            let reply = chat.message().await.unwrap().unwrap();
            assert_eq!(reply[..], *format!("a:{number}").as_bytes());
        }
        drop(send);
        assert!(chat.message().await.unwrap().is_none());
    });
}

#[test]
fn each_kind_of_call_passes() {
    let node = Node::start("a");
    let (proxy, mut caller) = start(&conf([&node]));
    all_kinds_pass(&mut caller);
    assert_eq!(node.header("te").as_deref(), Some("trailers"));
    assert_eq!(node.header(":uri").unwrap(), format!("http://{}/test.Echo/Chat", node.address));
    assert_eq!(node.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    wait_until("all calls are counted", || proxy.metrics().attempts("a", "success") == 4.0);
    assert!(node.connections() <= 2, "at most one for each worker thread");
}

#[test]
fn calls_pass_over_tls_with_a_private_authority_and_certificates_on_both_sides() {
    let (authority, own) = (Authority::new(), Authority::new());
    let Issued { chain, key } = own.certify(&["node.internal"]);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(chain, key))
        .client_ca_root(Certificate::from_pem(own.pem()));
    let node = Node::start_tls("a", tls);
    let tls =
        "{ ca = 'own.pem', certificate = { chain = 'proxy.pem', key = 'proxy.key' }, server_name = 'node.internal' }";
    let conf = Conf::with([Endpoint::new(&node.url().replace("http:", "https:"), "a")])
        .set("protocol", "'http'")
        .set("http2", "true")
        .set("tls", tls)
        .file("own.pem", &own.pem())
        .listener(TLS_A);
    let conf = with(with(conf, "proxy", &own.certify(&["pointsman"])), "a", &authority.certify(&["a.example"]));
    let proxy = Proxy::start(&conf);
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem())).domain_name("a.example");
    let channel = Channel::from_shared(format!("https://{}", proxy.second())).unwrap().tls_config(tls).unwrap();
    let _inside = RUNTIME.enter();
    let mut caller = Caller::new(channel.connect_lazy());
    all_kinds_pass(&mut caller);
    assert_eq!(node.header(":uri").unwrap(), format!("https://{}/test.Echo/Chat", node.address));
}

#[test]
fn a_call_that_may_be_repeated_goes_elsewhere_when_an_endpoint_is_unavailable() {
    let (bad, good) = (Node::start("bad"), Node::start("good"));
    bad.fail(Code::Unavailable, 0);
    let conf = conf([&bad, &good]);
    for conf in [conf.clone(), with_policy(conf)] {
        let (proxy, mut caller) = start(&conf);
        assert_eq!(caller.ask_again("x").unwrap(), "good:x");
        assert_eq!((proxy.metrics().attempts("a", "rpc_error"), proxy.metrics().attempts("b", "success")), (1.0, 1.0));
        let (_proxy, mut caller) = start(&conf);
        assert_eq!(code(caller.ask("x")), Code::Unavailable, "the endpoint may have acted on it");
    }
}

#[test]
fn a_status_that_answers_the_client_passes_and_holds_nothing_against_the_endpoint() {
    let node = Node::start("a");
    let (proxy, mut caller) = start(&with_policy(conf([&node])));
    for answer in [Code::NotFound, Code::InvalidArgument, Code::PermissionDenied, Code::DeadlineExceeded] {
        node.fail(answer, 0);
        for _ in 0..5 {
            let status = caller.ask_again("x").unwrap_err();
            assert_eq!((status.code(), status.message()), (answer, "as the test says"));
        }
    }
    assert_eq!(node.calls(), 20, "none is tried twice");
    node.recover();
    assert_eq!(caller.ask("x").unwrap(), "a:x");
    assert_eq!((proxy.cooldown("a"), proxy.endpoint("a")["penalty_ms"].as_f64()), (0.0, Some(0.0)));
}

#[test]
fn a_status_after_messages_counts_as_the_end_of_the_attempt() {
    let node = Node::start("a");
    let (proxy, mut caller) = start(&conf([&node]));
    node.fail(Code::Internal, 3);
    RUNTIME.block_on(async {
        let mut download = caller.download("9 10 0").await.unwrap();
        for _ in 0..3 {
            assert_eq!(download.message().await.unwrap().unwrap().len(), 10);
        }
        assert_eq!(code(download.message().await), Code::Internal);
    });
    wait_until("the attempt has ended", || proxy.metrics().attempts("a", "rpc_error") == 1.0);
    assert!(proxy.endpoint("a")["penalty_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_dead_endpoint_costs_no_call_and_neither_does_one_that_is_deployed_anew() {
    let (first, second) = (Node::start("first"), Node::start("second"));
    let address = first.address;
    let (_proxy, mut caller) = start(&conf([&first, &second]).cooldown("base", "'1ms'").cooldown("max", "'1ms'"));
    assert_eq!(caller.ask("1").unwrap(), "first:1");
    first.stop_gracefully();
    assert_eq!(caller.ask("2").unwrap(), "second:2");
    let first = Node::start_at("first", address);
    wait_until("it is taken back", || caller.ask("3").unwrap() == "first:3");
    first.kill();
    // A call that was sent over a connection that broke may have been executed.
    assert_eq!(caller.ask_again("4").unwrap(), "second:4");
    let _first = Node::start_at("first", address);
    wait_until("it is taken back", || caller.ask_again("5").unwrap() == "first:5");
}

#[test]
fn a_stream_may_be_slow_and_silence_ends_it() {
    let node = Node::start("a");
    let conf = conf([&node]).client("timeout", "'200ms'").client("stream_timeout", "'2s'");
    let (proxy, mut caller) = start(&conf);
    RUNTIME.block_on(async {
        // Longer than the time of an attempt, and slower than the floor rate of a body.
        let mut download = caller.download("4 1 400").await.unwrap();
        while download.message().await.unwrap().is_some() {}
        let slowly = messages(4, 1).then(|message| async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            message
        });
        assert_eq!(caller.upload(slowly).await.unwrap(), "a:4 4");

        let mut silent = caller.download("2 1 60000").await.unwrap();
        assert_ne!(code(silent.message().await), Code::Ok);
    });
    wait_until("the silence is counted", || proxy.metrics().attempts("a", "timeout") == 1.0);
}

/// A unary call of which the endpoint says nothing for 60 s, with the header alone: the client itself
/// waits.
fn hanging_call(proxy: &Proxy, timeout: Option<&str>) -> Code {
    let mut request = Request::new(Bytes::from_static(b"hang"));
    if let Some(timeout) = timeout {
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    code(RUNTIME.block_on(Caller::to(proxy.second()).call("Hang", request)))
}

#[test]
fn a_clients_deadline_ends_its_call_and_holds_nothing_against_the_endpoint() {
    let (node, other) = (Node::start("a"), Node::start("b"));
    let (proxy, mut caller) = start(&conf([&node, &other]));
    for timeout in ["300m", "0n"] {
        // This client and this server watch the deadline, too.
        assert!(matches!(hanging_call(&proxy, Some(timeout)), Code::DeadlineExceeded | Code::Cancelled));
    }
    let settled = |outcome: &str| proxy.metrics().attempts("a", outcome);
    wait_until("it is settled", || settled("canceled") + settled("rpc_error") == 1.0);
    assert_eq!(settled("timeout"), 0.0);
    assert_eq!((node.calls(), other.calls()), (1, 0), "none is tried elsewhere, and one not at all");
    assert_eq!(caller.ask("x").unwrap(), "a:x");
}

#[test]
fn an_endpoint_that_hangs_ends_calls_of_all_kinds_by_the_deadline() {
    let node = Node::start("a");
    let (proxy, mut caller) = start(&conf([&node]).client("stream_timeout", "'300ms'"));
    assert_eq!(hanging_call(&proxy, None), Code::DeadlineExceeded);
    // A client that has more to say isn't to blame.
    let (_open, receive) = tokio::sync::mpsc::channel(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receive);
    assert_eq!(code(RUNTIME.block_on(caller.upload(messages))), Code::DeadlineExceeded);
    wait_until("both count", || proxy.metrics().attempts("a", "timeout") == 2.0);
}

#[test]
fn open_streams_are_no_sign_of_silence() {
    let (node, other) = (Node::start("a"), Node::start("b"));
    let (proxy, mut caller) = start(&conf([&node, &other]));
    let streams: Vec<_> = (0..4).map(|_| RUNTIME.block_on(caller.download("1 1 60000")).unwrap()).collect();
    wait_until("all are open", || proxy.endpoint("a")["in_flight"] == 4);
    // An endpoint counts as silent after 300 ms.
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..10 {
        assert_eq!(caller.ask("x").unwrap(), "a:x");
    }
    drop(streams);
    wait_until("all have ended", || proxy.endpoint("a")["in_flight"] == 0);
}

#[test]
fn a_call_without_a_route_has_a_status() {
    let node = Node::start("a");
    let route = "[[routes]]\npath_prefix = '/other'\nupstream = 'main'";
    let (_proxy, mut caller) = start(&conf([&node]).extra(route));
    let status = caller.ask("x").unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no route for this path"));
}

#[test]
fn a_client_that_goes_away_ends_its_call_at_the_endpoint() {
    let node = Node::start("a");
    let (proxy, mut caller) = start(&conf([&node]));
    let mut download = RUNTIME.block_on(caller.download("1000000 100 10")).unwrap();
    RUNTIME.block_on(download.message()).unwrap();
    drop(download);
    wait_until("the endpoint is told", || node.abandoned() == 1);
    wait_until("the attempt is settled", || proxy.metrics().attempts("a", "canceled") == 1.0);
    assert_eq!(proxy.cooldown("a"), 0.0);
}

#[test]
fn a_client_that_does_not_read_holds_up_no_other() {
    let node = Node::start("a");
    let (proxy, mut caller) = start(&conf([&node]).server("threads", "1"));
    let slow = (0..40).map(|_| {
        let mut caller = Caller::to(proxy.second());
        (RUNTIME.block_on(caller.download("10000 10000 0")).unwrap(), caller)
    });
    let slow: Vec<_> = slow.collect();
    for _ in 0..20 {
        assert_eq!(caller.ask("x").unwrap(), "a:x");
    }
    drop(slow);
}

#[test]
fn refusals_are_statuses() {
    let address: SocketAddr = {
        let gone = Node::start("gone");
        let address = gone.address;
        gone.kill();
        address
    };
    let dead = Conf::with([Endpoint::new(&format!("http://{address}"), "a")]);
    let (_proxy, mut caller) = start(&dead.set("protocol", "'http'").set("http2", "true").listener(HTTP2));
    for _ in 0..2 {
        let status = caller.ask("x").unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the endpoints that were tried failed"));
    }
}

#[test]
fn an_endpoint_without_http2_fails_to_connect() {
    let authority = Authority::new();
    let (old, good) = (Origin::start_tls("old", authority.issue("127.0.0.1")), Node::start("good"));
    let endpoints = [Endpoint::new(&old.url(), "a").weight(100), Endpoint::new(&good.url(), "b").weight(50)];
    let conf = Conf::with(endpoints)
        .set("protocol", "'http'")
        .set("http2", "true")
        .set("tls", "{ ca = 'ca.pem' }")
        .file("ca.pem", &authority.pem())
        .listener(HTTP2);
    let (proxy, mut caller) = start(&conf);
    assert_eq!(caller.ask("x").unwrap(), "good:x");
    assert_eq!((old.hits(), proxy.metrics().attempts("a", "connect_failed")), (0, 1.0));
}

#[test]
fn a_response_that_is_not_grpc_is_a_failure() {
    let node = Node::start("good");
    let (proxy, mut caller) = start(&conf([&node]));
    let _inside = RUNTIME.enter();
    let mut grpc =
        tonic::client::Grpc::new(Channel::from_shared(format!("http://{}", proxy.second())).unwrap().connect_lazy());
    let failed = RUNTIME.block_on(async {
        grpc.ready().await.unwrap();
        grpc.unary::<Bytes, Bytes, _>(Request::new(Bytes::new()), "/html".parse().unwrap(), service::Raw).await
    });
    assert_ne!(code(failed), Code::Ok);
    assert_eq!(proxy.metrics().attempts("a", "bad_response"), 1.0);
    assert_eq!(caller.ask("x").unwrap(), "good:x", "one client's request shows nothing");
}

#[test]
fn the_health_protocol_of_grpc_decides_whether_an_endpoint_serves() {
    for service in ["", "test.Echo"] {
        let (first, second) = (Node::start("first"), Node::start("second"));
        let conf = conf([&first, &second]).health("grpc", &format!("'{service}'")).health("interval", "'100ms'");
        let (proxy, mut caller) = start(&conf);
        let is = |name: &str, state: &str| proxy.endpoint(name)["health"] == state;
        wait_until("both are healthy", || is("a", "healthy") && is("b", "healthy"));
        assert_eq!(caller.ask("1").unwrap(), "first:1");
        first.set_serving(service, false);
        wait_until("it says that it doesn't serve", || is("a", "unhealthy"));
        assert_eq!(caller.ask("2").unwrap(), "second:2");
        first.set_serving(service, true);
        wait_until("it serves again", || is("a", "healthy"));
    }
}

#[test]
fn an_endpoint_without_the_health_protocol_or_without_http2_is_unhealthy() {
    let (node, old) = (Node::start("a"), Origin::start("old"));
    let endpoints = [Endpoint::new(&node.url(), "a"), Endpoint::new(&old.url(), "b")];
    let conf = Conf::with(endpoints).set("protocol", "'http'").set("http2", "true").listener(HTTP2);
    let conf = conf.health("grpc", "'no.Such'").health("interval", "'100ms'").health("unhealthy_threshold", "1");
    let proxy = Proxy::start(&conf);
    wait_until("both are unhealthy", || ["a", "b"].iter().all(|name| proxy.endpoint(name)["health"] == "unhealthy"));
}
