//! Rate limits, concurrency, batch sizes.

use std::time::Instant;

use crate::support::{Answer, Conf, Gate, Origin, Proxy, json, post, wait_until};

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
    let members = refused.json();
    let expected = serde_json::json!([[1, -32005], [2, -32005], [3, -32005]]);
    let seen: Vec<_> =
        members.as_array().unwrap().iter().map(|m| [m["id"].clone(), m["error"]["code"].clone()]).collect();
    assert_eq!(serde_json::json!(seen), expected);
    assert_eq!((first.hits(), second.hits()), (1, 1));
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
