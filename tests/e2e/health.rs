//! Active health checks: who is asked, what counts as fit, and what follows.
//!
//! Origins answer probes by a script of method and answer; requests of clients get the origin's name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json as value};

use crate::support::{Answer, Conf, Endpoint, Gate, Greeting, Origin, Proxy, Request, wait_until};

/// What clients ask here, so that their requests and probes can be told apart.
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}"#;
const GENESIS: &str = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d";
/// A chain's id for `chain_id = 1`.
const CHAIN_1: &str = r#""0x1""#;

/// A node: what it answers to each method can be changed while it runs.
struct Node {
    origin: Origin,
    answers: Arc<Mutex<HashMap<&'static str, Answer>>>,
}

impl Node {
    /// A node with this head, on chain 1.
    fn new(name: &'static str, head: u64) -> Node {
        let answers: Arc<Mutex<HashMap<&'static str, Answer>>> = Arc::default();
        let script = Arc::clone(&answers);
        let other = Answer::result(name);
        let origin = Origin::scripted(name, move |request| {
            let key = if request.body.is_empty() { "GET".to_owned() } else { request.method() };
            script.lock().unwrap().get(key.as_str()).unwrap_or(&other).clone()
        });
        let node = Node { origin, answers };
        node.answer("eth_chainId", result(CHAIN_1));
        node.head(head);
        node
    }

    fn head(&self, head: u64) {
        self.answer("eth_blockNumber", result(&format!("\"{head:#x}\"")));
    }

    fn answer(&self, method: &'static str, answer: Answer) {
        self.answers.lock().unwrap().insert(method, answer);
    }

    fn asked(&self, method: &str) -> usize {
        self.origin.requests().iter().filter(|request| request.method() == method).count()
    }

    fn asked_by_get(&self) -> Vec<Request> {
        self.origin.requests().into_iter().filter(|request| request.body.is_empty()).collect()
    }

    /// Waits for this many more probes to have been answered.
    #[track_caller]
    fn wait_probes(&self, more: usize) {
        let before = self.asked("eth_blockNumber");
        wait_until("it was probed again", || self.asked("eth_blockNumber") > before + more);
    }
}

/// A result that is JSON, not text.
fn result(json: &str) -> Answer {
    Answer::body(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{json}}}"#))
}

fn conf<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Conf {
    Conf::of(nodes.into_iter().map(|node| &node.origin)).health("interval", "'100ms'").health("timeout", "'2s'")
}

fn health(proxy: &Proxy, endpoint: &str) -> Value {
    proxy.endpoint(endpoint)["health"].clone()
}

#[track_caller]
fn wait_health(proxy: &Proxy, endpoint: &str, expected: &str) {
    wait_until(&format!("{endpoint} is {expected}"), || health(proxy, endpoint) == expected);
}

fn lines(proxy: &Proxy, part: &str) -> usize {
    proxy.log().lines().filter(|line| line.contains(part)).count()
}

#[test]
fn an_endpoint_is_left_alone_after_the_threshold_and_comes_back() {
    let [first, second] = [Node::new("first", 7), Node::new("second", 7)];
    let proxy = Proxy::start(&conf([&first, &second]).health("unhealthy_threshold", "3"));
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
    wait_until("both are logged", || lines(&proxy, "endpoint is healthy again") == 1);
    assert_eq!(lines(&proxy, "endpoint is unhealthy"), 1, "once, not with each probe");
}

#[test]
fn fewer_failures_than_the_threshold_do_nothing() {
    let (node, other) = (Node::new("node", 7), Node::new("other", 7));
    let proxy = Proxy::start(&conf([&node, &other]).health("unhealthy_threshold", "100"));
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
    let proxy = Proxy::start(&conf([&first, &second]).health("unhealthy_threshold", "1"));
    wait_health(&proxy, "first", "unhealthy");
    wait_health(&proxy, "second", "unhealthy");
    assert_eq!(proxy.admin("GET", "/health").status, 503);
    assert_eq!(proxy.metrics().sum("endpoints_healthy", &[]), 0.0);
    assert_eq!(proxy.post(CALL).result(), "first");
    first.wait_probes(2);
    second.head(7);
    wait_health(&proxy, "second", "healthy");
    assert_eq!(proxy.post(CALL).result(), "second");
    assert_eq!(proxy.admin("GET", "/health").status, 200);
}

#[test]
fn an_endpoint_of_the_wrong_chain_is_never_used() {
    let [wrong, right] = [Node::new("wrong", 9_000_000), Node::new("right", 7)];
    wrong.answer("eth_chainId", result(r#""0xaa36a7""#));
    let proxy = Proxy::start(&conf([&wrong, &right]).set("chain_id", "1").health("max_head_lag", "5"));
    wait_health(&proxy, "wrong", "wrong_chain");
    wait_health(&proxy, "right", "healthy");
    let endpoint = proxy.endpoint("wrong");
    assert_eq!((&endpoint["excluded"], &endpoint["available"]), (&value!("wrong chain"), &value!(false)));
    assert_eq!(endpoint["health_detail"], "of another chain than chain_id says");
    let metrics = proxy.metrics();
    let is_wrong = |name| metrics.sum("endpoint_wrong_chain", &[("endpoint", name)]);
    assert_eq!((is_wrong("wrong"), is_wrong("right")), (1.0, 0.0));
    assert_eq!(metrics.sum("endpoints_healthy", &[]), 1.0);
    assert!(metrics.sum("health_check_failures_total", &[("endpoint", "wrong")]) >= 1.0);
    let alarm = || lines(&proxy, "ERROR pointsman::health::round: endpoint is of the wrong chain");
    wait_until("the alarm is logged", || alarm() == 1);
    assert_eq!(proxy.endpoint("right")["head_lag_blocks"], 0, "another chain's head says nothing");

    // Not even when there is nobody else.
    right.origin.stop();
    wait_health(&proxy, "right", "unhealthy");
    for _ in 0..3 {
        assert_ne!(proxy.post(CALL).status, 200);
    }
    assert_eq!((wrong.asked("eth_call"), alarm()), (0, 1), "and the alarm is given once");

    wrong.answer("eth_chainId", result(CHAIN_1));
    wait_health(&proxy, "wrong", "healthy");
    assert_eq!(proxy.post(CALL).result(), "wrong");
}

#[test]
fn an_endpoint_whose_chain_is_not_verified_yet_is_used_only_when_no_other_is_there() {
    let [silent, good] = [Node::new("silent", 7), Node::new("good", 7)];
    let gate = Gate::new();
    for node in [&silent, &good] {
        node.answer("eth_chainId", result(CHAIN_1).held_by(&gate));
    }
    let conf = conf([&silent, &good]).set("chain_id", "1").health("timeout", "'20s'");
    let proxy = Proxy::start(&conf);
    assert_eq!(health(&proxy, "silent"), "unverified");
    assert_eq!(proxy.endpoint("silent")["excluded"], "unhealthy: its chain is not verified yet");
    assert_eq!(proxy.post(CALL).result(), "silent", "a panic: none is verified");
    good.answer("eth_chainId", result(CHAIN_1));
    gate.open();
    wait_health(&proxy, "good", "healthy");
    wait_health(&proxy, "silent", "healthy");

    // Another chain is verified anew, and at once.
    proxy.rewrite_conf(&conf.clone().set("chain_id", "2").health("interval", "'1h'"));
    assert!(proxy.reload_by_signal());
    wait_health(&proxy, "good", "wrong_chain");
    proxy.rewrite_conf(&conf.set("chain_id", "1"));
    assert!(proxy.reload_by_signal());
    wait_health(&proxy, "good", "healthy");
}

#[test]
fn a_verified_chain_is_verified_again() {
    let node = Node::new("node", 7);
    let proxy = Proxy::start(&conf([&node]).set("chain_id", "1"));
    wait_health(&proxy, "node", "healthy");
    node.answer("eth_chainId", result(r#""0x2""#));
    wait_health(&proxy, "node", "wrong_chain");
    let asked: Vec<String> = node.origin.requests().iter().map(Request::method).collect();
    let heads = asked.iter().skip(1).take_while(|method| *method == "eth_blockNumber").count();
    assert_eq!((asked[0].as_str(), heads), ("eth_chainId", 9), "with the tenth probe");
}

#[test]
fn an_endpoint_that_lags_is_left_out() {
    let [late, best] = [Node::new("late", 94), Node::new("best", 100)];
    let both = conf([&late, &best]);
    let proxy = Proxy::start(&both.clone().health("max_head_lag", "5"));
    wait_health(&proxy, "late", "lagging");
    wait_health(&proxy, "best", "healthy");
    let endpoint = proxy.endpoint("late");
    assert_eq!((&endpoint["head"], &endpoint["head_lag_blocks"]), (&value!(94), &value!(6)));
    assert_eq!((&endpoint["excluded"], &endpoint["health_detail"]), (&value!("lagging"), &value!("6 blocks behind")));
    assert_eq!(proxy.endpoint("best")["head_lag_blocks"], 0);
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("endpoint_head_lag_blocks", &[("endpoint", "late")]), 6.0);
    assert_eq!(metrics.sum("endpoints_healthy", &[]), 1.0);
    assert_eq!(proxy.post(CALL).result(), "best");
    let logged = || lines(&proxy, "endpoint lags behind");
    wait_until("it is logged", || logged() == 1);

    late.head(95);
    wait_health(&proxy, "late", "healthy");
    assert_eq!(proxy.post(CALL).result(), "late");

    // Without a bound any lag will do.
    late.head(1);
    wait_health(&proxy, "late", "lagging");
    proxy.rewrite_conf(&both);
    assert!(proxy.reload_by_signal());
    assert_eq!(proxy.post(CALL).result(), "late");
    assert_eq!(proxy.endpoint("late")["head_lag_blocks"], 99);
}

#[test]
fn a_head_that_is_a_lie_makes_nobody_late() {
    let nodes = [Node::new("liar", 90_000_000), Node::new("b", 99), Node::new("c", 100)];
    let proxy = Proxy::start(&conf(&nodes).health("max_head_lag", "5"));
    wait_health(&proxy, "liar", "unhealthy");
    assert_eq!(proxy.endpoint("liar")["health_detail"], "implausible head");
    assert_eq!(proxy.endpoint("liar")["head_lag_blocks"], Value::Null);
    assert_eq!((health(&proxy, "b"), proxy.endpoint("b")["head_lag_blocks"].clone()), (value!("healthy"), value!(1)));
    assert_eq!(proxy.post(CALL).result(), "b");
}

#[test]
fn what_is_no_good_answer_is_a_failed_probe() {
    let huge = format!(r#"{{"id":1,"result":"{}"}}"#, "f".repeat(1 << 20));
    let cases: [(&str, Answer); 9] = [
        ("its head is no number", Answer::result("many")),
        ("its head is no number", result("7")),
        ("its head is no number", result("null")),
        ("not a JSON-RPC answer", Answer::body("<html>welcome</html>").header("content-type", "text/html")),
        ("answer is too large", Answer::body(huge)),
        ("JSON-RPC error", Answer::rpc_error(-32601, "no such method")),
        ("HTTP status 429", Answer::status(429)),
        ("closed without an answer", Answer::close()),
        ("a content coding that was not asked for", Answer::result("0x7").header("content-encoding", "gzip")),
    ];
    let node = Node::new("node", 7);
    let proxy = Proxy::start(&conf([&node]).health("unhealthy_threshold", "1"));
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
    let conf = conf([&hanging, &ignoring, &good]).health("timeout", "'300ms'").health("unhealthy_threshold", "1");
    let proxy = Proxy::start(&conf);
    for name in ["hanging", "ignoring"] {
        wait_until(name, || proxy.endpoint(name)["health_detail"] == "timed out");
    }
    assert!(began.elapsed() >= Duration::from_millis(300));
    wait_health(&proxy, "good", "healthy");
    assert_eq!(proxy.post(CALL).result(), "good");
    // At the same time, so a round takes one timeout, and then there is a next one.
    let before = good.asked("eth_blockNumber");
    wait_until("the rounds go on", || good.asked("eth_blockNumber") >= before + 3);
    assert_eq!(proxy.endpoint("hanging")["in_flight"], 0);
}

#[test]
fn a_changed_interval_takes_effect_with_the_reload() {
    let node = Node::new("node", 7);
    let slow = conf([&node]).health("interval", "'1h'");
    let proxy = Proxy::start(&slow);
    wait_health(&proxy, "node", "healthy");
    assert_eq!(node.asked("eth_blockNumber"), 1, "the first round is at once");

    // A new endpoint is asked at once, and so are the others with it.
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
    let with = conf([&node]).health("unhealthy_threshold", "1");
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
fn solana_is_asked_for_its_slot_and_its_genesis() {
    let [late, best] = [Node::new("late", 0), Node::new("best", 0)];
    for (node, slot) in [(&late, "250000000"), (&best, "250000150")] {
        node.answer("getSlot", result(slot));
        node.answer("getGenesisHash", Answer::result(GENESIS));
    }
    let conf = conf([&late, &best]).set("chain", "'solana'").set("chain_id", &format!("'{GENESIS}'"));
    let proxy = Proxy::start(&conf.health("max_head_lag", "150"));
    wait_health(&proxy, "late", "healthy");
    wait_until("they are compared", || proxy.endpoint("late")["head_lag_blocks"] == 150);
    late.answer("getSlot", result("249999999"));
    wait_health(&proxy, "late", "lagging");
    best.answer("getGenesisHash", Answer::result("EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"));
    wait_health(&proxy, "best", "wrong_chain");
}

#[test]
fn an_endpoint_of_weight_0_is_probed_and_not_used() {
    let [spare, node] = [Node::new("spare", 7), Node::new("node", 7)];
    let proxy = Proxy::start(&conf([&spare, &node]).endpoint(0, |endpoint| endpoint.weight(0)));
    wait_health(&proxy, "spare", "healthy");
    assert_eq!(proxy.endpoint("spare")["head"], 7);
    assert_eq!(proxy.metrics().sum("endpoints_healthy", &[]), 1.0);
    assert_eq!(proxy.post(CALL).result(), "node");
}

#[test]
fn probes_use_connections_that_wait_and_leave_statistics_alone() {
    let node = Node::new("node", 7);
    let proxy = Proxy::start(&conf([&node]));
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
    proxy.rewrite_conf(&conf([&good, &bad]));
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
    let both = conf([&gone, &stays]);
    let proxy = Proxy::start(&both);
    wait_health(&proxy, "gone", "healthy");
    let names = ["health_check_failures_total", "endpoint_head_lag_blocks", "endpoint_wrong_chain"];
    let has = |name: &str, endpoint: &str| proxy.metrics().has(name, &[("endpoint", endpoint)]);
    assert!(names.iter().all(|name| has(name, "gone")));
    proxy.rewrite_conf(&conf([&stays]));
    assert!(proxy.reload_by_signal());
    wait_until("its series are gone", || names.iter().all(|name| !has(name, "gone")));
    assert!(names.iter().all(|name| has(name, "stays")));
}
