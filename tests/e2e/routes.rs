//! Routes: hosts, changed paths and headers, answers of the proxy's own, pages of other sites, and
//! who the client is.

use crate::support::{Answer, Client, Conf, Origin, Proxy, Response, json, wait_until};

fn ask(client: &mut Client, line: &str, headers: &str, body: &str) -> Response {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    client.send(format!("{line} HTTP/1.1\r\n{headers}{length}\r\n{body}"));
    client.read()
}

fn post(client: &mut Client, headers: &str) -> Response {
    ask(client, "POST /", headers, json::READ)
}

/// Two upstreams, `main` and `other`, each with its origin, and these routes.
fn start(protocol: &str, server: &[(&str, &str)], routes: &str) -> (Origin, Origin, Proxy) {
    let (main, other) = (Origin::start("main"), Origin::start("other"));
    let extra = format!(
        "[upstreams.other]\nprotocol = '{protocol}'\nhealth_check = 'off'\nendpoints = [{{ url = '{}' }}]\n{routes}",
        other.url()
    );
    let conf = Conf::of([&main]).set("protocol", &format!("'{protocol}'")).extra(&extra);
    let conf = server.iter().fold(conf, |conf, (key, value)| conf.server(key, value));
    let proxy = Proxy::start(&conf);
    (main, other, proxy)
}

#[test]
fn a_host_leads_to_its_upstream_in_both_lanes() {
    let routes = "[[routes]]\nupstream = 'main'\nhosts = ['a.example', '*.b.example']\n\
                  [[routes]]\nupstream = 'other'\npath_prefix = '/'\n";
    let (_main, _other, proxy) = start("json-rpc", &[], routes);
    let mut client = proxy.client();
    for (host, expected) in [
        ("a.example", "main"),
        ("A.Example:80", "main"),
        ("x.b.example", "main"),
        ("b.example", "other"),
        ("c.example", "other"),
        ("", "other"),
    ] {
        for odd in ["", "accept: */*\r\nexpect: 200-ok\r\n"] {
            assert_eq!(post(&mut client, &format!("host: {host}\r\n{odd}")).result(), expected, "{host}");
        }
    }
}

#[test]
fn paths_and_headers_are_changed_on_the_way() {
    let routes = "[[routes]]\nupstream = 'main'\npath_prefix = '/a'\nstrip_prefix = true\n\
                  request_headers = { set = { x-a = '1' }, remove = ['x-b'] }\n\
                  response_headers = { set = { x-c = '2' }, remove = ['server'] }\n\
                  [[routes]]\nupstream = 'other'\npath_prefix = '/b'\nreplace_prefix = '/v2'\n";
    let (main, other, proxy) = start("http", &[], routes);
    main.answer(Answer::body("").header("server", "x"));
    let mut client = proxy.client();
    let response = ask(&mut client, "GET /a/x?y", "host: proxy\r\nx-b: 0\r\n", "");
    assert_eq!((response.head.get("x-c"), response.head.get("server")), (Some("2"), None));
    let head = main.last().head;
    assert_eq!(head.first_line, "GET /x?y HTTP/1.1");
    assert_eq!((head.get("x-a"), head.get("x-b")), (Some("1"), None));
    assert_eq!((head.get("x-forwarded-for"), head.get("x-forwarded-proto")), (Some("127.0.0.1"), Some("http")));
    assert_eq!(head.get("x-forwarded-host"), Some("proxy"));
    assert_eq!(head.get("x-request-id").map(str::len), Some(32));
    ask(&mut client, "GET /b/x", "host: proxy\r\n", "");
    assert_eq!(other.last().head.first_line, "GET /v2/x HTTP/1.1");
}

#[test]
fn a_json_rpc_route_changes_headers_too() {
    let routes = "[[routes]]\nupstream = 'main'\npath_prefix = '/'\n\
                  request_headers = { set = { x-a = '1' }, remove = ['user-agent'] }\n\
                  response_headers = { set = { x-c = '2' } }\n";
    let (main, _other, proxy) = start("json-rpc", &[], routes);
    let response = post(&mut proxy.client(), "host: proxy\r\nuser-agent: u\r\n");
    assert_eq!((response.result().as_str(), response.head.get("x-c")), ("main", Some("2")));
    assert_eq!((main.last().head.get("x-a"), main.last().head.get("user-agent")), (Some("1"), None));
    let refused = ask(&mut proxy.client(), "POST /", "host: proxy\r\n", "{");
    assert_eq!((refused.status, refused.head.get("x-c")), (400, Some("2")));
}

#[test]
fn a_route_answers_without_an_endpoint() {
    let routes = "[[routes]]\nupstream = 'main'\npath_prefix = '/'\n\
                  [[routes]]\npath_prefix = '/up'\nrespond = 'health'\n\
                  [[routes]]\npath_prefix = '/old'\nrespond = { status = 301, location = 'https://new.example/' }\n\
                  [[routes]]\npath_prefix = '/robots.txt'\nrespond = { body = 'Disallow: /' }\n";
    let (main, _other, proxy) = start("json-rpc", &[], routes);
    let mut client = proxy.client();
    let health = ask(&mut client, "GET /up", "host: proxy\r\n", "");
    assert_eq!((health.status, health.text()), (200, "{\"status\":\"ok\"}\n".to_owned()));
    let moved = ask(&mut client, "GET /old/x", "host: proxy\r\n", "");
    assert_eq!((moved.status, moved.head.get("location")), (301, Some("https://new.example/")));
    assert_eq!(ask(&mut client, "GET /robots.txt", "host: proxy\r\n", "").text(), "Disallow: /");
    assert_eq!(main.hits(), 0);
    wait_until("they are logged", || proxy.lines("outcome=\"own_answer\"") == 3);
}

#[test]
fn pages_of_allowed_origins_may_call() {
    let routes = "[[routes]]\nupstream = 'main'\npath_prefix = '/'\ncors = { origins = ['https://app.example'] }\n";
    let (main, _other, proxy) = start("json-rpc", &[], routes);
    let mut client = proxy.client();
    let question = "host: proxy\r\norigin: https://app.example\r\naccess-control-request-method: POST\r\n\
                    access-control-request-headers: content-type\r\n";
    let answer = ask(&mut client, "OPTIONS /", question, "");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.head.get("access-control-allow-headers"), Some("content-type"));
    let call = |origin: &str, kind: &str| format!("host: proxy\r\norigin: {origin}\r\ncontent-type: {kind}\r\n");
    let answer = post(&mut client, &call("https://app.example", "application/json"));
    assert_eq!((answer.result().as_str(), answer.head.get("vary")), ("main", Some("origin")));
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("https://app.example"));
    let other = post(&mut client, &call("https://evil.example", "application/json"));
    assert_eq!(other.head.get("access-control-allow-origin"), None);
    assert_eq!(post(&mut client, &call("https://app.example", "text/plain")).status, 415);
    let upgrade = "host: proxy\r\norigin: https://evil.example\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
    assert_eq!(ask(&mut proxy.client(), "GET /", upgrade, "").status, 403);
    assert_eq!(main.hits(), 2);
}

/// Only a trusted proxy names the client, in both lanes.
#[test]
fn a_trusted_proxy_names_the_client() {
    for (trusted, expected) in [("['127.0.0.0/8']", "client=203.0.113.7 "), ("['10.0.0.0/8']", "client=127.0.0.1:")] {
        let (_main, _other, proxy) =
            start("json-rpc", &[("trusted_proxies", trusted)], "[[routes]]\nupstream = 'main'\npath_prefix = '/'\n");
        let mut client = proxy.client();
        for odd in ["", "expect: 200-ok\r\n"] {
            let headers = format!("host: proxy\r\nx-forwarded-for: 1.1.1.1, 203.0.113.7\r\n{odd}");
            assert_eq!(post(&mut client, &headers).result(), "main");
        }
        wait_until("the log names it", || proxy.lines(expected) == 2);
    }
}
