//! Details of routes: answers without an endpoint, precedence among headers, reloads.

use crate::support::{Conf, Endpoint, Origin, Proxy, json, wait_until};

/// A POST of a read to a host and a path.
fn request(host: &str, path: &str) -> Vec<u8> {
    let body = json::READ;
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The route `/` to `main`, with further keys.
fn route(keys: &str) -> String {
    format!("[[routes]]\npath_prefix = '/'\nupstream = 'main'\n{keys}\n")
}

#[test]
fn an_answer_of_the_proxys_own_needs_no_endpoint() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).extra(&format!(
        "{}[[routes]]\npath_prefix = '/robots.txt'\nrespond = {{ body = 'no robots' }}\nresponse_headers = {{ set = {{ x-by = 'us' }} }}\n\
         [[routes]]\npath_prefix = '/old'\nrespond = {{ location = 'https://new.example.com/' }}\n\
         [[routes]]\npath_prefix = '/none'\nrespond = {{ status = 204 }}\n",
        route("")
    )));
    let mut client = proxy.client();
    let answer = client.get("/robots.txt?x=1");
    assert_eq!((answer.status, answer.text().as_str()), (200, "no robots"));
    assert_eq!(answer.head.get("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.head.get("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.head.get("x-by"), Some("us"));
    let answer = proxy.client().post_with("/old/x", &[], json::READ);
    assert_eq!((answer.status, answer.head.get("location")), (307, Some("https://new.example.com/")));
    assert_eq!(client.get("/none").status, 204);
    client.send("HEAD /robots.txt HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = client.read_head().unwrap();
    assert_eq!(head.content_length(), Some("no robots".len()));
    assert_eq!(client.post(json::READ).result(), "a");
    assert_eq!(origin.hits(), 1);
}

/// The status alone: names of upstreams are for the admin address.
#[test]
fn a_load_balancer_sees_the_health_on_the_port_of_clients() {
    let origin = Origin::scripted("a", |request| match request.method().as_str() {
        "eth_chainId" => crate::support::Answer::result("0x5"),
        _ => crate::support::Answer::result("0x1"),
    });
    let routes = format!("{}[[routes]]\npath_prefix = '/health'\nrespond = 'health'\n", route(""));
    let good = Proxy::start(&Conf::of([&origin]).extra(&routes));
    let answer = good.client().get("/health");
    assert_eq!((answer.status, answer.text().trim()), (200, "{\"status\":\"ok\"}"));
    let conf = Conf::of([&origin]).set("chain_id", "1").health("interval", "'100ms'").extra(&routes);
    let wrong_chain = Proxy::start(&conf);
    wait_until("the chain was verified", || wrong_chain.client().get("/health").status == 503);
    assert_eq!(wrong_chain.client().get("/health").text().trim(), "{\"status\":\"down\"}");
    assert_eq!(wrong_chain.admin("GET", "/health").status, 503);
}

#[test]
fn endpoints_and_clients_get_the_headers_of_the_route() {
    let origin = Origin::start("a");
    let endpoint = Endpoint::of(&origin).set("headers", "{ x-both = 'endpoint' }");
    let conf = Conf::with([endpoint]).environment("TENANT", "t3nant").extra(&route(
        "request_headers = { set = { x-tenant = 'env:TENANT', x-both = 'route', x-request-id = 'fixed' }, remove = ['user-agent'] }\n\
         response_headers = { set = { strict-transport-security = 'max-age=1' }, remove = ['x-content-type-options'] }",
    ));
    let proxy = Proxy::start(&conf);
    let answer = proxy.client().post_with(
        "/",
        &[("user-agent", "u"), ("x-request-id", "own"), ("traceparent", "t")],
        json::READ,
    );
    assert_eq!(answer.result(), "a");
    let seen = origin.last().head;
    for (name, expected) in [
        ("x-tenant", Some("t3nant")),
        ("x-both", Some("endpoint")),
        ("x-request-id", Some("fixed")),
        ("user-agent", None),
        ("traceparent", Some("t")),
    ] {
        assert_eq!(seen.get(name), expected, "{name}");
    }
    let refused = proxy.client().get("/");
    assert_eq!(refused.status, 405);
    for answer in [answer, refused] {
        assert_eq!(answer.head.get("strict-transport-security"), Some("max-age=1"));
        assert_eq!(answer.head.get("x-content-type-options"), None);
    }
}

#[test]
fn a_reload_replaces_routes() {
    let origin = Origin::start("a");
    let conf = Conf::of([&origin]);
    let proxy = Proxy::start(&conf.clone().extra(&route("hosts = ['a']")));
    let status = |host: &str| {
        let mut client = proxy.client();
        client.send(request(host, "/"));
        client.read().status
    };
    assert_eq!((status("a"), status("b")), (200, 404));
    proxy.rewrite_conf(&conf.extra(&route("hosts = ['b']")));
    assert_eq!(proxy.post_reload().status, 200);
    assert_eq!((status("a"), status("b")), (404, 200));
}

/// The chain of a trusted proxy goes on; anyone else's is replaced.
#[test]
fn endpoints_of_protocol_http_get_the_chain_of_a_trusted_proxy() {
    let origin = Origin::start("a");
    for (trusted, expected) in [("['127.0.0.1']", "192.0.2.1, 10.0.0.9, 127.0.0.1"), ("['10.0.0.0/8']", "127.0.0.1")] {
        let conf = Conf::of([&origin]).set("protocol", "'http'").set("health_check", "'off'");
        let proxy = Proxy::start(&conf.server("trusted_proxies", trusted));
        let mut client = proxy.client();
        client.send(
            "GET / HTTP/1.1\r\nhost: proxy\r\nx-forwarded-for: 192.0.2.1, 10.0.0.9\r\nx-real-ip: 192.0.2.1\r\n\r\n",
        );
        assert_eq!(client.read().result(), "a");
        let seen = origin.last().head;
        assert_eq!(seen.get("x-forwarded-for"), Some(expected), "{trusted}");
        assert_eq!(seen.get("x-real-ip").is_some(), expected.contains("192.0.2.1"), "{trusted}");
    }
}
