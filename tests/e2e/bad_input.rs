//! Bad requests affect only their client: it gets an error, no endpoint is involved, and the next
//! request is answered normally.

use std::time::{Duration, Instant};

use crate::support::{Answer, Client, Conf, Gate, Origin, Proxy, Response, chunked, json, post, wait_until};

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
/// The proxy's limit for a client's silence in the middle of a request.
const SILENCE: Duration = Duration::from_secs(10);
/// Resolution of the server's timers, which may fire early by this much.
const TIMER_STEP: Duration = Duration::from_millis(10);
const MAX_BODY: usize = 1 << 20;

fn start() -> (Origin, Proxy) {
    let origin = Origin::start("a");
    let conf = Conf::of([&origin]).server("max_body", &MAX_BODY.to_string()).set("max_batch_size", "3");
    let proxy = Proxy::start(&conf);
    (origin, proxy)
}

/// Asserts a JSON-RPC error without an id.
#[track_caller]
fn assert_refused(response: &Response, status: u16, code: i64) {
    let json = response.json();
    assert_eq!((response.status, response.error_code()), (status, code), "{json}");
    assert_eq!(response.head.get("content-type"), Some("application/json"));
    assert_eq!(json["jsonrpc"], "2.0");
    assert!(json.as_object().unwrap().contains_key("id") && json["id"].is_null(), "{json}");
    assert!(json["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
}

#[track_caller]
fn assert_usable(client: &mut Client) {
    assert_eq!(client.post(json::READ).result(), "a");
}

#[test]
fn bodies_that_are_no_request_are_refused_and_the_connection_goes_on() {
    let (origin, proxy) = start();
    let mut client = proxy.client();
    let nested = |depth| format!(r#"{{"id":1,"method":"a","params":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let cases: Vec<(Vec<u8>, i64)> = vec![
        (b"".into(), PARSE_ERROR),
        (b" \r\n\t".into(), PARSE_ERROR),
        (b"hello".into(), PARSE_ERROR),
        (b"{\"id\":1,\"method\":\"eth_call\"".into(), PARSE_ERROR),
        (b"{\"id\":1,\"method\":\"eth_call\"}}".into(), PARSE_ERROR),
        (b"{'id':1,'method':'eth_call'}".into(), PARSE_ERROR),
        (b"id=1&method=eth_call".into(), PARSE_ERROR),
        (b"\xef\xbb\xbf{\"id\":1,\"method\":\"eth_call\"}".into(), PARSE_ERROR),
        (b"{\"id\":1,\"method\":\"eth_call\xff\"}".into(), PARSE_ERROR),
        (b"{\"id\":1,\"method\":\"eth_\\ud800\"}".into(), PARSE_ERROR),
        (b"\x1f\x8b\x08\x00".into(), PARSE_ERROR),
        (vec![0; 1_000], PARSE_ERROR),
        (nested(128).into(), PARSE_ERROR),
        ("[".repeat(MAX_BODY).into(), PARSE_ERROR),
        (r#"{"a":"#.repeat(100_000).into(), PARSE_ERROR),
        (b"[]".into(), INVALID_REQUEST),
        (b"[ ]".into(), INVALID_REQUEST),
        (b"1".into(), INVALID_REQUEST),
        (b"null".into(), INVALID_REQUEST),
        (b"\"eth_call\"".into(), INVALID_REQUEST),
        (b"{}".into(), INVALID_REQUEST),
        (b"{\"id\":1}".into(), INVALID_REQUEST),
        (b"{\"id\":1,\"method\":null}".into(), INVALID_REQUEST),
        (b"{\"id\":1,\"method\":7}".into(), INVALID_REQUEST),
        (b"{\"id\":{},\"method\":\"a\"}".into(), INVALID_REQUEST),
        (b"{\"id\":1,\"id\":2,\"method\":\"a\"}".into(), INVALID_REQUEST),
        (b"{\"id\":1,\"method\":\"eth_call\",\"method\":\"eth_sendTransaction\"}".into(), INVALID_REQUEST),
        (b"{\"id\":1,\"method\":\"a\",\"m\\u0065thod\":\"b\"}".into(), INVALID_REQUEST),
        (b"{\"id\":1,\"method\":\"a\",\"params\":[],\"params\":[]}".into(), INVALID_REQUEST),
        (b"[1]".into(), INVALID_REQUEST),
        (b"[[{\"id\":1,\"method\":\"a\"}]]".into(), INVALID_REQUEST),
        (b"[{\"id\":1,\"method\":\"a\"},null]".into(), INVALID_REQUEST),
        (json::batch(4).into(), INVALID_REQUEST),
        (json::batch(5_000).into(), INVALID_REQUEST),
    ];
    for (number, (body, code)) in (1..).zip(&cases) {
        let response = client.post(body);
        assert_refused(&response, 400, *code);
        assert_eq!(origin.hits(), number - 1, "an endpoint was bothered with {}", String::from_utf8_lossy(body));
        assert_usable(&mut client);
    }
    assert_eq!(client.post(nested(127)).status, 200);
}

#[test]
fn other_methods_than_post_are_refused() {
    let (origin, proxy) = start();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let mut client = proxy.client();
        client.send(format!("{method} / HTTP/1.1\r\nhost: proxy\r\n\r\n"));
        let response = client.read();
        assert_refused(&response, 405, INVALID_REQUEST);
        assert_eq!(response.head.get("allow"), Some("POST"));
        assert_usable(&mut client);
    }
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = client.read_head().unwrap();
    assert_eq!(head.first_line, "HTTP/1.1 405 Method Not Allowed");
    assert_usable(&mut client);
    assert_eq!(origin.hits(), 7);
}

/// The bytes after CONNECT are for another host, not a request.
#[test]
fn nobody_is_connected_to_another_host() {
    let (origin, proxy) = start();
    let mut client = proxy.client();
    let mut bytes = b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: elsewhere\r\n\r\n".to_vec();
    bytes.extend(post("/", &[], json::READ));
    client.send(bytes);
    assert_refused(&client.read(), 405, INVALID_REQUEST);
    assert!(client.is_closed_by_server());
    assert_eq!(origin.hits(), 0);
}

#[test]
fn a_path_without_a_route_is_refused() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).extra("[[routes]]\npath_prefix = '/eth'\nupstream = 'main'"));
    for path in ["/", "/ethereum", "/other/eth", "/ETH"] {
        assert_refused(&proxy.client().post_with(path, &[], json::READ), 404, INVALID_REQUEST);
    }
    assert_eq!(origin.hits(), 0);
    for path in ["/eth", "/eth/", "/eth/mainnet?x=1"] {
        assert_eq!(proxy.client().post_with(path, &[], json::READ).result(), "a");
    }
}

#[test]
fn a_body_that_is_announced_too_large_is_refused_unread() {
    let (origin, proxy) = start();
    for size in [MAX_BODY + 1, 1 << 40] {
        for expect in ["", "expect: 100-continue\r\n"] {
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nhost: proxy\r\n{expect}content-length: {size}\r\n\r\n"));
            assert_refused(&client.read(), 413, INVALID_REQUEST);
        }
    }
    assert_eq!(origin.hits(), 0);
    assert_usable(&mut proxy.client());
}

#[test]
fn a_client_that_sends_too_much_sees_the_refusal() {
    let (origin, proxy) = start();
    for size in [MAX_BODY + 1, 4 * MAX_BODY] {
        let spaces = vec![b' '; size];
        let head = "POST / HTTP/1.1\r\nhost: proxy\r\n";
        let announced = [format!("{head}content-length: {size}\r\n\r\n").as_bytes(), &spaces].concat();
        let chunks =
            [format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes(), &chunked(&spaces, 60_000)].concat();
        for bytes in [announced, chunks] {
            let mut client = proxy.client();
            // The proxy may have closed before the last byte; its answer can still be read.
            let _ = client.try_send(bytes);
            assert_refused(&client.read(), 413, INVALID_REQUEST);
        }
    }
    assert_eq!(origin.hits(), 0);
    assert_usable(&mut proxy.client());
}

#[test]
fn what_is_no_http_is_refused_and_left() {
    let (origin, proxy) = start();
    let large = format!("POST / HTTP/1.1\r\nx-large: {}\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("POST / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(5_000));
    let refused = [
        &b"hello\r\n\r\n"[..],
        b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03\r\n\r\n",
        &[0; 100],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/9.9\r\nhost: proxy\r\n\r\n",
        b"POST / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: gzip\r\n\r\n",
        many.as_bytes(),
    ];
    // Only part of an endless head is read.
    let cases = refused.into_iter().map(|bytes| (bytes, 400)).chain([(large.as_bytes(), 431)]);
    for (bytes, status) in cases {
        let mut client = proxy.client();
        let _ = client.try_send(bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
        let response = client.try_read().unwrap_or_else(|error| panic!("{error} after {shown:?}"));
        assert_eq!(response.status, status, "{shown:?}");
        assert!(client.is_closed_by_server(), "{shown:?}");
        assert_usable(&mut proxy.client());
    }
    assert_eq!(origin.hits(), 12);
}

/// After a body without a known end no bytes can be trusted as a request.
#[test]
fn nothing_behind_a_broken_body_is_taken_for_a_request() {
    let (origin, proxy) = start();
    let head = "POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked\r\n";
    let smuggled = String::from_utf8(post("/", &[], json::WRITE)).unwrap();
    for body in ["zz\r\n", "5\r\n{}", "fffffffffffffffff\r\n", "-1\r\n"] {
        let mut client = proxy.client();
        client.send(format!("{head}\r\n{body}{smuggled}"));
        assert_refused(&client.read(), 400, INVALID_REQUEST);
        assert!(client.is_closed_by_server(), "more was read after {body:?}");
    }
    assert_eq!(origin.hits(), 0);
    assert_usable(&mut proxy.client());
}

/// RFC 9112, section 6.3: with both, the chunks take precedence, or the request is refused.
#[test]
fn two_lengths_of_one_body_are_no_way_to_smuggle() {
    let (origin, proxy) = start();
    let length = json::READ.len();
    let head = format!("POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n");
    let chunks = format!("{length:x}\r\n{}\r\n3\r\n \n \r\n0\r\n\r\n", json::READ);
    let mut client = proxy.client();
    // The first chunk alone: it is as long as the other length.
    let (first, rest) = chunks.split_at(chunks.find("\r\n3\r\n").unwrap() + 2);
    client.send(format!("{head}\r\n{first}"));
    client.send(rest);
    match client.read().status {
        400 => assert!(client.is_closed_by_server()),
        _ => {
            assert_eq!(origin.last().text(), format!("{} \n ", json::READ));
            assert_usable(&mut client);
        }
    }
}

#[test]
fn a_client_that_breaks_off_hurts_nobody() {
    let (origin, proxy) = start();
    let whole = post("/", &[], json::READ);
    for length in [0, 1, 20, whole.len() - json::READ.len(), whole.len() - 1] {
        let mut client = proxy.client();
        client.send(&whole[..length]);
        drop(client);
    }
    let mut client = proxy.client();
    client.send(&whole[..whole.len() - 1]);
    client.finish_sending();
    if let Ok(response) = client.try_read() {
        assert_refused(&response, 400, INVALID_REQUEST);
    }
    assert_usable(&mut proxy.client());
    assert_eq!(origin.hits(), 1);
}

/// All at once, since each takes the proxy's timeout.
#[test]
fn a_client_that_stalls_is_told_and_left() {
    let (origin, proxy) = start();
    let head = "POST / HTTP/1.1\r\nhost: proxy\r\n";
    let stalls = [
        format!("{head}content-length: 100\r\n\r\n"),
        format!("{head}content-length: 100\r\n\r\n{{\"id\":1,"),
        format!("{head}transfer-encoding: chunked\r\n\r\n"),
        format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{\"id"),
        format!("{head}expect: 100-continue\r\ncontent-length: 100\r\n\r\n"),
    ];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for bytes in &stalls {
            let mut client = proxy.client();
            scope.spawn(move || {
                client.send(bytes);
                let response = match client.read() {
                    Response { status: 100, .. } => client.read(),
                    response => response,
                };
                assert_refused(&response, 408, INVALID_REQUEST);
                assert!(began.elapsed() >= SILENCE - TIMER_STEP, "after {:?}", began.elapsed());
                assert!(client.is_closed_by_server());
            });
        }
        // Others are served meanwhile.
        assert_usable(&mut proxy.client());
    });
    assert_eq!(origin.hits(), 1);
    wait_until("their places are free", || proxy.status()["upstreams"]["main"]["in_flight"] == 0);
}

#[test]
fn a_client_that_stalls_in_its_head_is_cut_off() {
    let (origin, proxy) = start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: pro");
    // With or without a 408 before it.
    let _ = client.read_rest().expect("the end of the connection");
    assert_eq!(origin.hits(), 0);
}

#[test]
fn a_client_that_reads_nothing_holds_up_nobody() {
    let gate = Gate::new();
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).server("threads", "1"));
    let long = Answer::body(json::long_answer(8_000_000)).held_by(&gate);
    origin.script(move |request| match request.method().as_str() {
        "eth_getLogs" => long.clone(),
        _ => Answer::result("a"),
    });
    let mut silent: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut silent {
        client.send(post("/", &[], json::request("1", "eth_getLogs")));
    }
    gate.open();
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_usable(&mut client);
    }
    for client in &mut silent {
        assert_eq!(client.read().body.len(), 8_000_000);
    }
}
