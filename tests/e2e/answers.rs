//! Good requests: the endpoint's answer reaches the client byte for byte, and nothing leaks in
//! either direction.

use crate::support::{Answer, Client, Conf, Endpoint, Origin, Proxy, Request, chunked, json, post, wait_until};

/// More than the proxy buffers before it forwards an answer.
const LONG: usize = 9_000_000;

fn pair() -> (Origin, Proxy) {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]));
    (origin, proxy)
}

/// A JSON text of exactly `size` bytes without repeated sections.
fn long_json(head: &str, size: usize) -> String {
    let mut text = head.to_owned();
    while text.len() < size {
        text += &format!("{:x}.", text.len());
    }
    text.truncate(size - 2);
    text + "\"}"
}

fn long_answer(size: usize) -> String {
    long_json(r#"{"jsonrpc":"2.0","id":1,"result":""#, size)
}

#[test]
fn bodies_pass_as_they_are() {
    let (origin, proxy) = pair();
    let mut client = proxy.client();
    for (request, answer) in [
        (json::READ, r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#),
        ("\r\n\t {\"method\" :\n\"eth_call\" ,\"id\":1 }\n\n", " {\"id\":1,\r\n\t\"result\":  {} }  \n"),
        (r#"{"id":"e-1","method":"eth_call","params":["😀 \u00fc"]}"#, r#"{"id":"e-1","result":"\ud83d\ude00 😀"}"#),
        (
            r#"{"id":9007199254740991,"method":"eth_call","params":[1e400,0.10,-0]}"#,
            r#"{"id":9007199254740991,"result":0.1000000000000000055511151231257827}"#,
        ),
        (r#"{"method":"eth_call","id":1,"extra":[{"method":"x"}]}"#, r#"{"id":1,"result":null,"extra":1}"#),
        (r#"{"id":1,"method":"eth_\u0063all"}"#, r#"{"result":false,"id":1,"error":null}"#),
    ] {
        origin.answer(Answer::body(answer));
        let response = client.post(request);
        assert_eq!((response.status, response.text()), (200, answer.to_owned()));
        assert_eq!(origin.last().text(), request);
    }
}

#[test]
fn a_batch_is_answered_as_a_whole() {
    let (origin, proxy) = pair();
    let batch = r#"[{"id":"x","method":"eth_call"}, {"method":"eth_call"},{"id":2,"method":"eth_chainId"}]"#;
    let answer = r#"[{"jsonrpc":"2.0","id":"x","result":"a"},{"jsonrpc":"2.0","id":2,"result":"a"}]"#;
    assert_eq!(proxy.post(batch).text(), answer);
    assert_eq!(origin.last().text(), batch);
    let hundred = proxy.post(json::batch(100));
    assert_eq!(hundred.json().as_array().map(Vec::len), Some(100));
}

#[test]
fn a_batch_with_some_errors_is_an_answer() {
    let (origin, proxy) = pair();
    let (result, error) = (r#"{"id":1,"result":"a"}"#, r#"{"id":2,"error":{"code":-32603,"message":"x"}}"#);
    for answer in [format!("[{result},{error}]"), format!("[{error},{result}]")] {
        origin.answer(Answer::body(answer));
        // In the order of the requests.
        assert_eq!(proxy.post(json::batch(2)).text(), format!("[{result},{error}]"));
    }
    assert_eq!(proxy.metrics().attempts("a", "rpc_error"), 2.0);
}

/// JSON-RPC 2.0, section 4.1: a notification gets no response. Nodes answer with an empty body, 200
/// or 204.
#[test]
fn a_notification_is_answered_with_nothing_and_held_against_nobody() {
    let (origin, proxy) = pair();
    for (notification, answer) in [
        (r#"{"jsonrpc":"2.0","method":"eth_blockNumber"}"#, Answer::body("")),
        (r#"{"jsonrpc":"2.0","method":"eth_blockNumber"}"#, Answer::body("").with_status(204)),
        (r#"[{"jsonrpc":"2.0","method":"eth_blockNumber"}]"#, Answer::body("")),
    ] {
        origin.answer(answer);
        let response = proxy.post(notification);
        assert!(matches!(response.status, 200 | 204), "{} {}", response.status, response.text());
        assert_eq!(response.text(), "");
        assert_eq!(proxy.cooldown("a"), 0.0);
    }
    assert_eq!(origin.hits(), 3);
}

#[test]
fn a_request_may_be_as_large_as_max_body() {
    let origin = Origin::start("a");
    let max = 10 << 20;
    let proxy = Proxy::start(&Conf::of([&origin]));
    let mut client = proxy.client();
    for size in [1_000_000, max - 1, max] {
        let body = long_json(r#"{"id":1,"method":"eth_call","params":""#, size);
        assert_eq!(client.post(&body).result(), "a");
        assert!(origin.last().text() == body, "{size} bytes arrived changed");
    }
}

#[test]
fn a_chunked_request_arrives_whole() {
    let (origin, proxy) = pair();
    let body = long_json(r#"{"id":1,"method":"eth_call","params":""#, 100_000);
    let chunks = chunked(body.as_bytes(), 777);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(chunks);
    assert_eq!(client.read().result(), "a");
    assert!(origin.last().text() == body, "the body arrived changed");
    assert_eq!(client.post(json::READ).result(), "a");
}

#[test]
fn long_answers_stream_through_unchanged() {
    let (origin, proxy) = pair();
    let mut client = proxy.client();
    for size in [1_000_000, LONG] {
        let body = long_answer(size);
        let answer = Answer::body(body.clone());
        for (how, answer) in [("with a length", answer.clone()), ("in chunks", answer.clone().chunked(50_000))] {
            origin.answer(answer);
            let response = client.post(json::READ);
            assert_eq!(response.status, 200, "{size} bytes {how}");
            assert!(response.body == body.as_bytes(), "{size} bytes {how} arrived changed");
        }
    }
    assert_eq!(origin.connections(), 1);
    origin.answer(Answer::body(long_answer(LONG)).until_close());
    assert_eq!(client.post(json::READ).body.len(), LONG);
    wait_until("the last attempt is settled", || proxy.metrics().attempts("a", "success") == 5.0);
    assert_eq!(proxy.endpoint("a")["in_flight"], 0);
}

#[test]
fn connections_are_kept_on_both_sides() {
    let (origin, proxy) = pair();
    let mut client = proxy.client();
    for n in 1..=50 {
        assert_eq!(client.post(json::request(&n.to_string(), "eth_call")).json()["id"], n);
    }
    assert_eq!((origin.hits(), origin.connections()), (50, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (origin, proxy) = pair();
    // The first is the slowest and large; it must not displace later ones.
    origin.script(|request| match request.number {
        1 => Answer::result("first").after(std::time::Duration::from_millis(100)),
        _ => Answer::result("a"),
    });
    let mut client = proxy.client();
    let large = long_json(r#"{"id":1,"method":"eth_call","params":""#, 200_000);
    let bytes = [large, json::request("2", "eth_call"), json::request("3", "eth_chainId"), json::batch(2)];
    client.send(bytes.iter().flat_map(|body| post("/", &[], body)).collect::<Vec<u8>>());
    for id in 1..=3 {
        assert_eq!(client.read().json()["id"], id);
    }
    assert_eq!(client.read().json()[1]["id"], 2);
    assert_eq!(origin.hits(), 4);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let (origin, proxy) = pair();
    let mut client = proxy.client();
    let request = post("/", &[("expect", "100-continue")], json::READ);
    let (head, body) = request.split_at(request.len() - json::READ.len());
    client.send(head);
    assert_eq!(client.read().status, 100);
    client.send(body);
    assert_eq!(client.read().result(), "a");
    assert_eq!(origin.last().head.get("expect"), None);
}

#[test]
fn an_http_1_0_client_is_answered_and_left() {
    let (origin, proxy) = pair();
    let request = format!("POST / HTTP/1.0\r\ncontent-length: {}\r\n\r\n{}", json::READ.len(), json::READ);
    let mut client = proxy.client();
    client.send(&request);
    assert_eq!(client.read().result(), "a");
    assert!(client.is_closed_by_server());

    // HTTP/1.0 has no chunks: the end of the connection is the end of the answer.
    let long = long_answer(LONG);
    origin.answer(Answer::body(long.clone()).chunked(50_000));
    let mut client = proxy.client();
    client.send(&request);
    let head = client.read_head().unwrap();
    assert_eq!(head.get("transfer-encoding"), None);
    assert!(client.read_rest().unwrap() == long.as_bytes(), "the answer arrived changed");
}

#[test]
fn connection_close_is_heeded() {
    let (_origin, proxy) = pair();
    let mut client = proxy.client();
    assert_eq!(client.post_with("/", &[("connection", "close")], json::READ).result(), "a");
    assert!(client.is_closed_by_server());
}

#[test]
fn endpoints_get_only_the_clients_harmless_headers() {
    let (origin, proxy) = pair();
    let headers = [
        ("accept", "text/html"),
        ("accept-encoding", "gzip"),
        ("authorization", "Bearer of-the-client"),
        ("connection", "keep-alive, x-secret"),
        ("content-encoding", "identity"),
        ("cookie", "session=1"),
        ("forwarded", "for=1.2.3.4"),
        ("keep-alive", "timeout=5"),
        ("origin", "https://app.example"),
        ("proxy-authorization", "Basic Og=="),
        ("te", "trailers"),
        ("user-agent", "wallet/1"),
        ("traceparent", "00-1-2-00"),
        ("tracestate", "a=b"),
        ("x-api-key", "1"),
        ("x-request-id", "r1"),
        ("x-secret", "1"),
    ];
    assert_eq!(proxy.client().post_with("/", &headers, json::READ).result(), "a");
    let head = origin.last().head;
    let expected =
        ["content-length", "content-type", "host", "traceparent", "tracestate", "user-agent", "x-request-id"];
    assert_eq!(head.names(), expected);
    assert_eq!(head.get("user-agent"), Some("wallet/1"));
    assert_eq!(head.get("x-request-id"), Some("r1"));
    assert_eq!(head.get("content-type"), Some("application/json"));
}

/// RFC 9110, section 7.6.1: headers named by `Connection` end at the next hop.
#[test]
fn a_header_that_connection_nominates_goes_no_further() {
    let (origin, proxy) = pair();
    let headers = [("connection", "X-Request-Id"), ("x-request-id", "r1"), ("user-agent", "wallet/1")];
    assert_eq!(proxy.client().post_with("/", &headers, json::READ).result(), "a");
    assert_eq!(origin.last().head.get("x-request-id"), None);
    assert_eq!(origin.last().head.get("user-agent"), Some("wallet/1"));
}

#[test]
fn requests_carry_what_the_conf_says_of_the_endpoint() {
    let origin = Origin::start("a");
    let address = origin.address();
    let url = format!("http://us%20er:pass%3Aword@{address}/v1/key?x=1&y=%20z");
    let endpoint = Endpoint::new(&url, "a").set("headers", "{ x-api-key = 'env:E2E_KEY', user-agent = 'ours' }");
    let proxy = Proxy::start(&Conf::with([endpoint]).environment("E2E_KEY", "k-1"));
    let headers = [("x-api-key", "of-the-client"), ("user-agent", "wallet/1"), ("authorization", "Basic Og==")];
    assert_eq!(proxy.client().post_with("/any/path?client=1", &headers, json::READ).result(), "a");
    let head = origin.last().head;
    assert_eq!(head.first_line, "POST /v1/key?x=1&y=%20z HTTP/1.1");
    assert_eq!(head.get("host"), Some(address.to_string().as_str()));
    assert_eq!(head.get("authorization"), Some("Basic dXMgZXI6cGFzczp3b3Jk"));
    assert_eq!(head.get("x-api-key"), Some("k-1"));
    assert_eq!(head.get("user-agent"), Some("ours"));
    let shown = format!("{}{}{}", proxy.log(), proxy.status(), proxy.admin("GET", "/metrics").text());
    for secret in ["k-1", "pass", "/v1/key", "dXMg"] {
        assert!(!shown.contains(secret), "{secret} is shown: {shown}");
    }
}

#[test]
fn clients_get_only_the_content_type_of_an_endpoints_headers() {
    let (origin, proxy) = pair();
    let answer = Answer::result("a")
        .header("content-type", "application/json; charset=utf-8")
        .header("connection", "keep-alive, x-hop")
        .header("server", "geth/1")
        .header("set-cookie", "session=1")
        .header("access-control-allow-origin", "*")
        .header("via", "1.1 cache")
        .header("x-hop", "1");
    for answer in [answer.clone(), answer.chunked(10)] {
        origin.answer(answer);
        let head = proxy.post(json::READ).head;
        assert_eq!(head.get("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(head.get("x-content-type-options"), Some("nosniff"));
        let known = ["connection", "content-length", "content-type", "date", "x-content-type-options"];
        let others: Vec<&str> = head.names().into_iter().filter(|name| !known.contains(name)).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let origin = Origin::scripted("a", |request: &Request| Answer::body(request.body.clone()));
    // An answer that echoes the request identifies it.
    let body = |client: usize, n: usize| format!(r#"{{"id":"{client}-{n}","method":"eth_call","result":{n}}}"#);
    let proxy = Proxy::start(&Conf::of([&origin]));
    std::thread::scope(|scope| {
        for number in 0..16 {
            let address = proxy.address();
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..50 {
                    assert_eq!(client.post(body(number, n)).text(), body(number, n));
                }
            });
        }
    });
    assert_eq!(origin.hits(), 16 * 50);
    // A thread has at most as many connections as it uses concurrently; one lent to the other
    // thread must be replaced meanwhile.
    assert!(origin.connections() <= 2 * 16, "{} connections", origin.connections());
}
