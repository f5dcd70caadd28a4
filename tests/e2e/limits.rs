//! Rate limits, concurrency, batch sizes.

use std::time::{Duration, Instant};

use crate::support::{Answer, Client, Conf, Gate, Origin, Proxy, Response, json, post, wait_until};

fn deferred(proxy: &Proxy, endpoint: &str) -> f64 {
    proxy.metrics().sum("endpoint_rate_limit_deferred_total", &[("endpoint", endpoint)])
}

/// Bursts of 10 that refill at 1 a second: too slow to matter within a test.
fn limited(conf: Conf, position: usize) -> Conf {
    conf.endpoint(position, |endpoint| endpoint.set("rate_limit_per_sec", "1").set("burst_size", "10"))
}

#[test]
fn what_an_endpoints_rate_limit_refuses_goes_to_the_next() {
    let (first, second) = (Origin::start("first"), Origin::start("second"));
    let proxy = Proxy::start(&limited(Conf::of([&first, &second]), 0));
    let began = Instant::now();
    let mut client = proxy.client();
    for _ in 0..30 {
        assert_eq!(client.post(json::READ).status, 200);
    }
    let refilled = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((10..=10 + refilled).contains(&first.hits()), "{} requests", first.hits());
    assert_eq!(second.hits(), 30 - first.hits());
    assert_eq!(deferred(&proxy, "first"), second.hits() as f64);
    assert_eq!(deferred(&proxy, "second"), 0.0);
    assert_eq!(proxy.cooldown("first"), 0.0);
}

#[test]
fn a_batch_counts_by_its_members() {
    let (first, second) = (Origin::start("first"), Origin::start("second"));
    let proxy = Proxy::start(&limited(Conf::of([&first, &second]), 0));
    let answered_by = |size| proxy.post(json::batch(size)).json()[0]["result"].clone();
    assert_eq!(answered_by(8), "first");
    assert_eq!(answered_by(8), "second");
    assert_eq!(answered_by(2), "first");
    assert_eq!(deferred(&proxy, "first"), 1.0);
}

#[test]
fn a_batch_over_the_burst_takes_a_full_bucket() {
    let (first, second) = (Origin::start("first"), Origin::start("second"));
    let proxy = Proxy::start(&limited(Conf::of([&first, &second]), 0));
    let answered_by = |size| proxy.post(json::batch(size)).json()[0]["result"].clone();
    assert_eq!(answered_by(50), "first");
    assert_eq!(answered_by(50), "second");
}

#[test]
fn when_every_rate_limit_refuses_the_client_is_told_so() {
    let (first, second) = (Origin::start("first"), Origin::start("second"));
    let proxy = Proxy::start(&limited(limited(Conf::of([&first, &second]), 0), 1));
    let mut client = proxy.client();
    assert_eq!(client.post(json::batch(10)).status, 200);
    assert_eq!(client.post(json::batch(10)).status, 200);
    let refused = client.post(json::batch(3));
    assert_eq!(refused.status, 429);
    // The first bucket to hold three again is at most 3 seconds away.
    let after: u64 = refused.head.get("retry-after").expect("a Retry-After").parse().expect("seconds");
    assert!((1..=3).contains(&after), "{after} s");
    let members = refused.json();
    let expected = serde_json::json!([[1, -32005], [2, -32005], [3, -32005]]);
    let seen: Vec<_> =
        members.as_array().unwrap().iter().map(|m| [m["id"].clone(), m["error"]["code"].clone()]).collect();
    assert_eq!(serde_json::json!(seen), expected);
    assert_eq!((first.hits(), second.hits()), (1, 1));
}

#[test]
fn a_write_that_one_endpoint_refuses_by_its_limit_is_not_told_that_all_do() {
    let origins = [Origin::always("first", Answer::status(429)), Origin::start("second"), Origin::start("third")];
    let proxy = Proxy::start(&Conf::of(&origins).with_shipped_policies());
    let refused = proxy.post(r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{}]}"#);
    let error = refused.json()["error"].clone();
    let message = "the endpoint that was tried last is at its rate limit";
    assert_eq!((refused.status, error), (429, serde_json::json!({ "code": -32005, "message": message })));
    assert_eq!(origins.each_ref().map(Origin::hits), [1, 0, 0]);
}

#[test]
fn a_retry_asks_the_next_endpoints_rate_limit_too() {
    let first = Origin::always("first", Answer::status(503));
    let second = Origin::start("second");
    let third = Origin::start("third");
    let conf = limited(Conf::of([&first, &second, &third]), 1).cooldown("base", "'1ms'").cooldown("max", "'1ms'");
    let proxy = Proxy::start(&conf);
    assert_eq!(proxy.post(json::batch(10)).json()[0]["result"], "second");
    wait_until("the first endpoint is back", || proxy.cooldown("first") == 0.0);
    assert_eq!(proxy.post(json::batch(10)).json()[0]["result"], "third");
    assert_eq!((first.hits(), second.hits(), third.hits()), (2, 1, 1));
}

#[test]
fn no_more_than_max_concurrency_requests_are_under_way() {
    let gate = Gate::new();
    let origin = Origin::always("a", Answer::result("a").held_by(&gate));
    let proxy = Proxy::start(&Conf::of([&origin]).set("max_concurrency", "2"));
    let mut waiting = [proxy.client(), proxy.client()];
    for client in &mut waiting {
        client.send(post("/", &[], json::READ));
    }
    wait_until("two requests are under way", || origin.hits() == 2);
    let refused = proxy.post(json::READ);
    assert_eq!((refused.status, refused.error_code()), (503, -32005));
    assert_eq!(origin.hits(), 2);

    gate.open();
    for client in &mut waiting {
        assert_eq!(client.read().result(), "a");
    }
    wait_until("their places are free", || proxy.status()["upstreams"]["main"]["in_flight"] == 0);
    assert_eq!(proxy.post(json::READ).result(), "a");
}

/// A proxy that admits one request at a time, and a request in flight until the gate opens.
fn occupied(queue_timeout: &str, gate: &Gate) -> (Origin, Proxy, Client) {
    let origin = Origin::always("a", Answer::result("a").held_by(gate));
    let conf = Conf::of([&origin]).set("max_concurrency", "1").set("queue_timeout", &format!("'{queue_timeout}'"));
    let proxy = Proxy::start(&conf.set("deadline", "'60s'").client("timeout", "'60s'"));
    let first = sent(&proxy);
    wait_until("the first request is under way", || origin.hits() == 1);
    (origin, proxy, first)
}

fn sent(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(post("/", &[], json::READ));
    client
}

/// Sends two requests to a queue of one. Returns the waiting client and the answer to the other
/// request.
fn one_waits(proxy: &Proxy) -> (Client, Response) {
    let [mut a, mut b] = [sent(proxy), sent(proxy)];
    wait_until("one of two is refused", || a.has_answer() || b.has_answer());
    if a.has_answer() { (b, a.read()) } else { (a, b.read()) }
}

#[track_caller]
fn assert_overloaded(response: &Response) {
    assert_eq!((response.status, response.error_code()), (503, -32005));
}

#[test]
fn as_many_requests_may_wait_as_may_be_under_way() {
    let gate = Gate::new();
    let (origin, proxy, mut first) = occupied("30s", &gate);
    let (mut waiting, refused) = one_waits(&proxy);
    assert_overloaded(&refused);
    assert!(!waiting.has_answer());
    assert_eq!(origin.hits(), 1);

    gate.open();
    assert_eq!((first.read().result(), waiting.read().result()), ("a".into(), "a".into()));
    // Its place in the queue is free again, too.
    assert_eq!(proxy.post(json::READ).result(), "a");
}

#[test]
fn who_waits_too_long_is_refused() {
    let gate = Gate::new();
    for (queue_timeout, least, most) in [("400ms", 400, 5_000), ("0s", 0, 300)] {
        let (origin, proxy, _first) = occupied(queue_timeout, &gate);
        let took = (0..3).map(|_| {
            let began = Instant::now();
            assert_overloaded(&proxy.post(json::READ));
            began.elapsed()
        });
        let took = took.min().unwrap_or_default();
        assert!(took >= Duration::from_millis(least), "{queue_timeout}: {took:?}");
        assert!(took < Duration::from_millis(most), "{queue_timeout}: {took:?}");
        assert_eq!(origin.hits(), 1);
    }
}

#[test]
fn a_client_that_leaves_the_queue_frees_its_place() {
    let gate = Gate::new();
    let (_origin, proxy, mut first) = occupied("50s", &gate);
    let (waiting, refused) = one_waits(&proxy);
    assert_overloaded(&refused);
    drop(waiting);
    let ended = || proxy.log().lines().filter(|line| line.contains("pointsman::access")).count();
    wait_until("the one that was refused and the one that left are done", || ended() == 2);
    let (mut waiting, refused) = one_waits(&proxy);
    assert_overloaded(&refused);
    gate.open();
    assert_eq!((first.read().result(), waiting.read().result()), ("a".into(), "a".into()));
}

#[test]
fn a_batch_may_be_as_long_as_max_batch_size() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).set("max_batch_size", "3"));
    let mut client = proxy.client();
    assert_eq!(client.post(json::batch(3)).status, 200);
    let refused = client.post(json::batch(4));
    assert_eq!((refused.status, refused.error_code()), (400, -32600));
    assert!(refused.text().contains("at most 3"), "{}", refused.text());
    assert_eq!(origin.hits(), 1);
}
