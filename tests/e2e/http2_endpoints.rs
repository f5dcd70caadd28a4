//! Requests of plain HTTP to endpoints that speak HTTP/2.

use std::time::Duration;

use crate::grpc::service::Node;
use crate::support::{Client, Conf, Endpoint, Proxy, Response, wait_until};

fn conf(node: &Node) -> Conf {
    let endpoint = Endpoint::new(&node.url(), "a");
    Conf::with([endpoint]).set("protocol", "'http'").set("http2", "true")
}

fn send(client: &mut Client, method: &str, body: &str) {
    let length = body.len();
    client.send(format!("{method} /plain HTTP/1.1\r\nhost: proxy\r\ncontent-length: {length}\r\n\r\n{body}"));
}

fn ask(client: &mut Client, method: &str, body: &str) -> Response {
    send(client, method, body);
    client.read()
}

#[test]
fn requests_of_http1_are_answered() {
    let node = Node::start("a");
    let proxy = Proxy::start(&conf(&node));
    let mut client = proxy.client();
    for (method, size) in [("GET", 0), ("PUT", 10), ("POST", 5 << 20), ("GET", 0)] {
        let response = ask(&mut client, method, &"x".repeat(size));
        let text = response.text();
        assert_eq!((response.status, text.split(" y").next()), (200, Some(&*format!("{method} {size}"))));
        assert!(text.len() > 100_000, "{}", text.len());
    }
    client.send("HEAD /plain HTTP/1.1\r\nhost: proxy\r\n\r\n");
    assert_eq!(client.read_head().unwrap().get("content-type"), Some("text/plain"));
    assert_eq!(node.header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(node.connections(), 1);
    wait_until("all are counted", || proxy.metrics().attempts("a", "success") == 5.0);
}

#[test]
fn a_long_body_may_take_longer_than_the_time_of_an_attempt() {
    let node = Node::start("a");
    let proxy = Proxy::start(&conf(&node).client("timeout", "'300ms'"));
    let mut client = proxy.client();
    let piece = "x".repeat(64 << 10);
    let length = 4 * piece.len();
    client.send(format!("POST /plain HTTP/1.1\r\nhost: proxy\r\ncontent-length: {length}\r\n\r\n"));
    for _ in 0..4 {
        // Longer than the time of an attempt.
        std::thread::sleep(Duration::from_millis(400));
        client.send(&piece);
    }
    assert!(client.read().text().starts_with(&format!("POST {length} ")));
}

#[test]
fn an_endpoint_that_is_restarted_costs_no_request() {
    let node = Node::start("a");
    let (address, proxy) = (node.address, Proxy::start(&conf(&node)));
    let mut client = proxy.client();
    assert_eq!(ask(&mut client, "GET", "").status, 200);
    node.stop_gracefully();
    let node = Node::start_at("a", address);
    assert_eq!(ask(&mut client, "GET", "").status, 200);
    node.kill();
    let _node = Node::start_at("a", address);
    assert_eq!(ask(&mut client, "GET", "").status, 200);
    wait_until("all are counted", || proxy.metrics().attempts("a", "success") == 3.0);
    assert_eq!(proxy.metrics().sum("attempts_total", &[]), 3.0, "nothing is held against it");
}

#[test]
fn a_path_is_probed_over_http2() {
    let node = Node::start("a");
    let conf = conf(&node).health("path", "'/html'").health("interval", "'100ms'");
    let proxy = Proxy::start(&conf);
    wait_until("it is healthy", || proxy.endpoint("a")["health"] == "healthy");
    proxy.rewrite_conf(&conf.health("status", "204").health("unhealthy_threshold", "1"));
    assert!(proxy.reload_by_signal());
    wait_until("it is unhealthy", || proxy.endpoint("a")["health"] == "unhealthy");
}
