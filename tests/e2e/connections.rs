//! Connections to endpoints: keep-alive, names, answers in pieces or truncated.

use serde_json::json as value;

use crate::support::{Answer, Conf, Endpoint, Origin, Proxy, Request, json, wait_until};

/// Timeout of an attempt if a test has to wait for it.
const SHORT: &str = "'300ms'";

fn bad(answer: Answer) -> Origin {
    Origin::always("bad", answer)
}

#[test]
fn a_kept_connection_that_the_endpoint_closed_is_no_error() {
    let (origin, good) = (bad(Answer::result("bad").then_close()), Origin::start("good"));
    let proxy = Proxy::start(&Conf::of([&origin, &good]));
    let mut client = proxy.client();
    for number in 1..=10 {
        let body = if number % 2 == 0 { json::READ } else { json::WRITE };
        assert_eq!(client.post(body).result(), "bad");
        wait_until("the endpoint has closed the connection", || origin.open_connections() == 0);
    }
    assert_eq!((origin.connections(), good.hits()), (10, 0));
    assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "success": 10 }));
}

#[test]
fn threads_lend_each_other_connections() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).server("threads", "8"));
    // Each client goes to another thread while the previous ones stay connected.
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.post(json::READ).result(), "a");
        // A client may have its answer before that.
        wait_until("the connection is idle again", || proxy.endpoint("a")["idle_connections"] == 1);
    }
    assert_eq!(origin.connections(), 1, "seven borrowed it");
    // A worker that soon needs another connection opens one.
    wait_until("each has its own", || {
        clients.iter_mut().for_each(|client| assert_eq!(client.post(json::READ).result(), "a"));
        origin.connections() == 8
    });
    assert_eq!(proxy.endpoint("a")["idle_connections"], 8);
}

/// The race that a check of the connection before its use can't avoid.
#[test]
fn a_kept_connection_that_closes_under_a_request_is_no_error() {
    for ending in [Answer::close(), Answer::reset()] {
        let good = Origin::start("good");
        let origin = Origin::scripted("bad", move |request: &Request| match request.nth {
            1 => Answer::result("bad"),
            _ => ending.clone(),
        });
        let proxy = Proxy::start(&Conf::of([&origin, &good]));
        let mut client = proxy.client();
        for body in [json::READ, json::READ, json::RAW_WRITE, json::READ] {
            assert_eq!(client.post(body).result(), "bad");
        }
        assert_eq!((origin.connections(), good.hits()), (4, 0));
        assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "success": 4 }));
        // A write isn't sent a second time, not even to the same endpoint.
        let sent = origin.hits();
        assert_eq!(client.post(json::WRITE).status, 502);
        assert_eq!((origin.hits(), good.hits()), (sent + 1, 0));
    }
}

#[test]
fn an_answer_in_many_pieces_is_an_answer() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]));
    let mut client = proxy.client();
    for answer in [Answer::result("whole"), Answer::result("whole").chunked(1)] {
        for size in [1, 2, 7, 64] {
            origin.answer(answer.clone().in_pieces(size));
            assert_eq!(client.post(json::READ).result(), "whole");
        }
    }
    let hinted = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n";
    origin.answer(Answer::raw(format!(r#"{hinted}{{"id":1,"result":"two"}}"#)));
    assert_eq!(client.post(json::READ).result(), "two");
    assert_eq!(origin.connections(), 1);
}

/// Sent bytes can't be withdrawn: the client must detect that the answer is incomplete.
#[test]
fn a_long_answer_that_breaks_off_is_seen_to_be_broken() {
    let long = json::long_answer(4 << 20);
    for answer in [Answer::body(long.clone()), Answer::body(long).chunked(50_000)] {
        let cut = answer.cut_after(3 << 20);
        for (outcome, ending) in [("reset", cut.clone().then_close()), ("timeout", cut.then_hang())] {
            let (origin, good) = (bad(ending), Origin::start("good"));
            let proxy = Proxy::start(&Conf::of([&origin, &good]).client("timeout", SHORT));
            assert!(proxy.client().try_post(json::READ).is_err(), "{outcome}");
            assert_eq!(good.hits(), 0);
            let attempts = || proxy.endpoint("bad")["attempts"].clone();
            wait_until("the attempt is settled", || attempts() != value!({}));
            // The endpoint broke off, not the client.
            assert_eq!(attempts(), value!({ outcome: 1 }));
            if outcome == "timeout" {
                let latency = proxy.endpoint("bad")["latency_ms"].as_f64().unwrap();
                assert!(latency >= 300.0, "what was waited is no short latency: {latency} ms");
            }
        }
    }
}

#[test]
fn an_answer_larger_than_max_body_is_no_answer() {
    let long = json::long_answer(3 << 20);
    let chunked = |size: usize, chunk: usize| Answer::body(json::long_answer(size)).chunked(chunk);
    let cases = [Answer::body(long.clone()), chunked(2_000, 2_000), chunked(900_000, 1_000)];
    for (answer, max_body) in cases.into_iter().zip(["'2MiB'", "'1KiB'", "'512KiB'"]) {
        let (origin, good) = (bad(answer), Origin::start("good"));
        let proxy = Proxy::start(&Conf::of([&origin, &good]).server("max_body", max_body));
        assert_eq!(proxy.post(json::READ).result(), "good");
        assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "bad_response": 1 }));
    }
}

/// `localhost` has two addresses on most machines, and a node listens on one of them.
#[test]
fn an_endpoint_by_name_is_reached_at_the_address_that_answers() {
    let origin = Origin::start("a");
    let url = format!("http://localhost:{}", origin.address().port());
    let proxy = Proxy::start(&Conf::with([Endpoint::new(&url, "a")]));
    for _ in 0..4 {
        assert_eq!(proxy.post(json::READ).result(), "a");
    }
    assert_eq!(proxy.endpoint("a")["attempts"], value!({ "success": 4 }));
}

#[test]
fn a_name_without_an_address_is_a_failed_connect() {
    let good = Origin::start("good");
    let endpoints = [Endpoint::new("http://nowhere.invalid:1", "bad").weight(100), Endpoint::of(&good)];
    let proxy = Proxy::start(&Conf::with(endpoints));
    assert_eq!(proxy.post(json::WRITE).result(), "good");
    assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "connect_failed": 1 }));
}
