//! Active health checks: targets, schedule and effects.

use std::time::{Duration, Instant};

use serde_json::json as value;

use crate::support::{
    Answer, CALL, Conf, Endpoint, Greeting, Node, Proxy, Request, health, json_result, probed, wait_health, wait_until,
};

#[test]
fn an_endpoint_is_left_alone_after_the_threshold_and_comes_back() {
    let [first, second] = [Node::new("first", 7), Node::new("second", 7)];
    let proxy = Proxy::start(&probed([&first, &second]).health("unhealthy_threshold", "3"));
    wait_health(&proxy, "first", "healthy");
    assert_eq!(proxy.post(CALL).result(), "first");

    first.answer("eth_blockNumber", Answer::status(503));
    wait_health(&proxy, "first", "unhealthy");
    assert!(first.asked("eth_blockNumber") > 3, "not before the third failure");
    let endpoint = proxy.endpoint("first");
    assert_eq!(endpoint["health_detail"], "HTTP status 503");
    assert_eq!(
        (&endpoint["available"], &endpoint["excluded"]),
        (&value!(false), &value!("unhealthy: HTTP status 503"))
    );
    assert_eq!(proxy.post(CALL).result(), "second");
    let metrics = proxy.metrics();
    assert!(metrics.sum("health_check_failures_total", &[("endpoint", "first")]) >= 3.0);
    assert_eq!(metrics.sum("health_check_failures_total", &[("endpoint", "second")]), 0.0);
    assert_eq!(metrics.sum("endpoints_healthy", &[("upstream", "main")]), 1.0);
    assert_eq!(metrics.sum("endpoint_available", &[("endpoint", "first")]), 0.0);
    let admin = proxy.admin_address().to_string();
    let table = proxy.site().run(&["status", "--admin", &admin]).stdout;
    assert!(table.contains("unhealthy: HTTP status 503"), "{table}");

    first.wait_probes(3);
    first.head(8);
    wait_health(&proxy, "first", "healthy");
    assert_eq!(proxy.post(CALL).result(), "first");
    assert_eq!(proxy.endpoint("first")["attempts"], value!({ "success": 2 }), "probes are no attempts");
    assert_eq!(proxy.endpoint("second")["head"], 7);
    wait_until("both are logged", || proxy.lines("endpoint is healthy again") == 1);
    assert_eq!(proxy.lines("endpoint is unhealthy"), 1, "once, not with each probe");
}

#[test]
fn fewer_failures_than_the_threshold_do_nothing() {
    let (node, other) = (Node::new("node", 7), Node::new("other", 7));
    let proxy = Proxy::start(&probed([&node, &other]).health("unhealthy_threshold", "100"));
    wait_health(&proxy, "node", "healthy");
    node.answer("eth_blockNumber", Answer::status(500));
    node.wait_probes(3);
    assert_eq!(health(&proxy, "node"), "healthy");
    assert_eq!(proxy.post(CALL).result(), "node");
}

#[test]
fn a_dead_pool_still_serves_and_is_still_probed() {
    let [first, second] = [Node::new("first", 7), Node::new("second", 7)];
    for node in [&first, &second] {
        node.answer("eth_blockNumber", Answer::rpc_error(-32603, "no blocks today"));
    }
    let proxy = Proxy::start(&probed([&first, &second]).health("unhealthy_threshold", "1"));
    wait_health(&proxy, "first", "unhealthy");
    wait_health(&proxy, "second", "unhealthy");
    assert_eq!(proxy.admin("GET", "/health").json()["status"], "degraded");
    assert_eq!(proxy.metrics().sum("endpoints_healthy", &[]), 0.0);
    assert_eq!(proxy.post(CALL).result(), "first");
    first.wait_probes(2);
    second.head(7);
    wait_health(&proxy, "second", "healthy");
    assert_eq!(proxy.post(CALL).result(), "second");
    assert_eq!(proxy.admin("GET", "/health").json()["status"], "ok");
}

#[test]
fn what_is_no_good_answer_is_a_failed_probe() {
    let huge = format!(r#"{{"id":1,"result":"{}"}}"#, "f".repeat(1 << 20));
    let cases: [(&str, Answer); 9] = [
        ("its head is no number", Answer::result("many")),
        ("its head is no number", json_result("7")),
        ("its head is no number", json_result("null")),
        ("not a JSON-RPC answer", Answer::body("<html>welcome</html>").header("content-type", "text/html")),
        ("answer is too large", Answer::body(huge)),
        ("it lacks the method of the health check", Answer::rpc_error(-32601, "no such method")),
        ("HTTP status 429", Answer::status(429)),
        ("closed without an answer", Answer::close()),
        ("a content coding that was not asked for", Answer::result("0x7").header("content-encoding", "gzip")),
    ];
    let node = Node::new("node", 7);
    let conf = probed([&node]).health("unhealthy_threshold", "1").health("method", "'eth_blockNumber'");
    let proxy = Proxy::start(&conf);
    wait_health(&proxy, "node", "healthy");
    for (expected, answer) in cases {
        node.answer("eth_blockNumber", answer);
        wait_until(expected, || proxy.endpoint("node")["health_detail"] == expected);
        node.head(7);
        wait_health(&proxy, "node", "healthy");
    }
    node.origin.stop();
    wait_until("refused", || proxy.endpoint("node")["health_detail"] == "connection refused");
}

#[test]
fn a_probe_that_hangs_ends_with_its_timeout_and_holds_up_no_other() {
    let [hanging, ignoring, good] = [Node::new("hanging", 7), Node::new("ignoring", 7), Node::new("good", 7)];
    hanging.answer("eth_blockNumber", Answer::hang());
    ignoring.origin.greet(Greeting::Ignore);
    let began = Instant::now();
    let conf = probed([&hanging, &ignoring, &good]).health("timeout", "'300ms'").health("unhealthy_threshold", "1");
    let proxy = Proxy::start(&conf);
    for name in ["hanging", "ignoring"] {
        wait_until(name, || proxy.endpoint(name)["health_detail"] == "timed out");
    }
    assert!(began.elapsed() >= Duration::from_millis(300));
    wait_health(&proxy, "good", "healthy");
    assert_eq!(proxy.post(CALL).result(), "good");
    // Probes run concurrently, so a round takes one timeout before the next one.
    let before = good.asked("eth_blockNumber");
    wait_until("the rounds go on", || good.asked("eth_blockNumber") >= before + 3);
    assert_eq!(proxy.endpoint("hanging")["in_flight"], 0);
}

#[test]
fn a_changed_interval_takes_effect_with_the_reload() {
    let node = Node::new("node", 7);
    let slow = probed([&node]).health("interval", "'1h'");
    let proxy = Proxy::start(&slow);
    wait_health(&proxy, "node", "healthy");
    assert_eq!(node.asked("eth_blockNumber"), 1, "the first round is at once");

    // A new endpoint is probed at once, together with the others.
    let new = Node::new("new", 9);
    proxy.rewrite_conf(&slow.clone().and(Endpoint::of(&new.origin)));
    assert!(proxy.reload_by_signal());
    wait_health(&proxy, "new", "healthy");
    assert_eq!((node.asked("eth_blockNumber"), new.asked("eth_blockNumber")), (2, 1));
    wait_until("they are compared", || proxy.endpoint("node")["head_lag_blocks"] == 2);

    proxy.rewrite_conf(&slow.clone().health("interval", "'100ms'"));
    assert!(proxy.reload_by_signal());
    node.wait_probes(3);
    proxy.rewrite_conf(&slow.health("interval", "'1h'").health("timeout", "'1s'"));
    assert!(proxy.reload_by_signal());
    assert_eq!(health(&proxy, "node"), "healthy", "what is known is kept");
}

#[test]
fn without_health_checks_nobody_is_asked_and_nothing_is_held_against_anyone() {
    let node = Node::new("node", 7);
    node.answer("eth_blockNumber", Answer::status(500));
    let with = probed([&node]).health("unhealthy_threshold", "1");
    let proxy = Proxy::start(&with);
    wait_health(&proxy, "node", "unhealthy");
    proxy.rewrite_conf(&Conf::of([&node.origin]));
    assert!(proxy.reload_by_signal());
    assert_eq!((health(&proxy, "node"), proxy.admin("GET", "/health").status), (value!("unknown"), 200));
    proxy.rewrite_conf(&with);
    assert!(proxy.reload_by_signal());
    wait_health(&proxy, "node", "unhealthy");
}

#[test]
fn a_path_is_asked_for_with_get_and_the_endpoints_own_headers() {
    let node = Node::new("node", 7);
    node.answer("GET", Answer::status(204));
    let conf = Conf::of([&node.origin])
        .endpoint(0, |endpoint| endpoint.set("headers", "{ x-key = 'sesame' }"))
        .health("interval", "'100ms'")
        .health("path", "'/ready?full=1'")
        .health("status", "204")
        .health("unhealthy_threshold", "1");
    let proxy = Proxy::start(&conf);
    wait_health(&proxy, "node", "healthy");
    let asked = node.asked_by_get();
    assert_eq!(asked[0].head.first_line, "GET /ready?full=1 HTTP/1.1");
    assert!(asked[0].head.headers.contains(&("x-key".into(), "sesame".into())), "{:?}", asked[0].head.headers);
    node.answer("GET", Answer::status(200));
    wait_until("200 isn't 204", || proxy.endpoint("node")["health_detail"] == "HTTP status 200");
    assert_eq!(node.asked("eth_blockNumber"), 0);
}

#[test]
fn an_endpoint_of_weight_0_is_probed_and_not_used() {
    let [spare, node] = [Node::new("spare", 7), Node::new("node", 7)];
    let proxy = Proxy::start(&probed([&spare, &node]).endpoint(0, |endpoint| endpoint.weight(0)));
    wait_health(&proxy, "spare", "healthy");
    assert_eq!(proxy.endpoint("spare")["head"], 7);
    assert_eq!(proxy.metrics().sum("endpoints_healthy", &[]), 1.0);
    assert_eq!(proxy.post(CALL).result(), "node");
}

#[test]
fn probes_use_connections_that_wait_and_leave_statistics_alone() {
    let node = Node::new("node", 7);
    let proxy = Proxy::start(&probed([&node]));
    wait_health(&proxy, "node", "healthy");
    let latency = proxy.endpoint("node")["latency_ms"].clone();
    node.wait_probes(2);
    assert_eq!(proxy.endpoint("node")["latency_ms"], latency);
    assert_eq!(proxy.post(CALL).result(), "node");
    let call = node.origin.requests().into_iter().find(|request| request.method() == "eth_call").unwrap();
    let after = |request: &Request| request.connection == call.connection && request.nth == call.nth + 1;
    wait_until("a probe takes the request's connection", || node.origin.requests().iter().any(after));
}

#[test]
fn checks_that_come_with_a_reload_find_each_endpoint_as_it_is() {
    let [good, bad] = [Node::new("good", 7), Node::new("bad", 7)];
    bad.answer("eth_blockNumber", Answer::status(500));
    let proxy = Proxy::start(&Conf::of([&good.origin, &bad.origin]));
    assert_eq!(health(&proxy, "bad"), "unknown");
    proxy.rewrite_conf(&probed([&good, &bad]));
    assert!(proxy.reload_by_signal());
    wait_health(&proxy, "good", "healthy");
    wait_health(&proxy, "bad", "unhealthy");
    assert_eq!(health(&proxy, "good"), "healthy");
    proxy.rewrite_conf(&Conf::of([&good.origin, &bad.origin]));
    assert!(proxy.reload_by_signal());
    assert_eq!(health(&proxy, "bad"), "unknown", "nobody looks any more");
}

#[test]
fn series_go_with_their_endpoint() {
    let [gone, stays] = [Node::new("gone", 7), Node::new("stays", 7)];
    let both = probed([&gone, &stays]);
    let proxy = Proxy::start(&both);
    wait_health(&proxy, "gone", "healthy");
    let names = ["health_check_failures_total", "endpoint_head_lag_blocks", "endpoint_wrong_chain"];
    let has = |name: &str, endpoint: &str| proxy.metrics().has(name, &[("endpoint", endpoint)]);
    assert!(names.iter().all(|name| has(name, "gone")));
    proxy.rewrite_conf(&probed([&stays]));
    assert!(proxy.reload_by_signal());
    wait_until("its series are gone", || names.iter().all(|name| !has(name, "gone")));
    assert!(names.iter().all(|name| has(name, "stays")));
}
