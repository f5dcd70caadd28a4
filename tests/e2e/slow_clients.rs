//! Clients that send requests slowly. Until a request is complete, they hold a connection for a
//! limited time, but no place among the requests in flight.

use std::time::{Duration, Instant};

use crate::support::{Client, Conf, Origin, PATIENCE, Proxy, json, post, wait_until};

const INVALID_REQUEST: i64 = -32600;
/// The proxy's limit for a head, and for a body before its rate is checked.
const GRACE: Duration = Duration::from_secs(10);
/// Resolution of the server's timers, which may fire early by this much.
const TIMER_STEP: Duration = Duration::from_millis(10);
/// Pause between two bytes of a trickle.
const PAUSE: Duration = Duration::from_millis(250);

const HEAD: &str = "POST / HTTP/1.1\r\nhost: proxy\r\n";

fn start() -> (Origin, Proxy) {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).set("max_concurrency", "2").set("queue_timeout", "'0s'"));
    (origin, proxy)
}

#[test]
fn who_has_not_said_all_holds_no_place() {
    let (origin, proxy) = start();
    let whole = post("/", &[], json::READ);
    let mut slow: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    // Each stops at a different position of its request, before the last byte.
    let ends = (0..slow.len()).map(|n| whole.len() * (n + 1) / (slow.len() + 1));
    let ends: Vec<usize> = ends.collect();
    for sent in 0..whole.len() - 1 {
        for (client, _) in slow.iter_mut().zip(&ends).filter(|(_, end)| sent < **end) {
            client.send(&whole[sent..=sent]);
        }
    }
    for _ in 0..8 {
        assert_eq!(proxy.post(json::READ).result(), "a");
    }
    assert_eq!(proxy.status()["upstreams"]["main"]["in_flight"], 0);
    assert_eq!(origin.hits(), 8);
    // They are served like any other once they are complete.
    for (client, end) in slow.iter_mut().zip(&ends) {
        client.send(&whole[*end..]);
        assert_eq!(client.read().result(), "a");
    }
}

/// Asserts a refusal and a close after the time limit, even with a steady flow of bytes.
#[track_caller]
fn assert_cut_off(mut client: Client, beginning: &str, filler: &str) {
    let began = Instant::now();
    client.send(beginning);
    while !client.has_answer() {
        // It may be closed between the check and the byte.
        let _ = client.try_send(filler);
        std::thread::sleep(PAUSE);
        assert!(began.elapsed() < GRACE + PATIENCE, "{beginning:?} is waited for without an end");
    }
    let took = began.elapsed();
    let response = client.read();
    assert_eq!((response.status, response.error_code()), (408, INVALID_REQUEST), "{beginning:?}");
    assert!(took >= GRACE - TIMER_STEP, "{beginning:?} after {took:?}");
    assert!(client.is_closed_by_server(), "{beginning:?}");
}

/// All at once, since each takes the proxy's time limit.
#[test]
fn a_trickle_is_refused_when_its_time_is_over() {
    let (origin, proxy) = start();
    let used = || {
        let mut client = proxy.client();
        assert_eq!(client.post(json::READ).result(), "a");
        client
    };
    std::thread::scope(|scope| {
        let cut_off = |client: Client, beginning: String, filler: &'static str| {
            scope.spawn(move || assert_cut_off(client, &beginning, filler));
        };
        cut_off(proxy.client(), HEAD.into(), "x");
        cut_off(proxy.client(), "\r\n".into(), "\r\n");
        cut_off(used(), HEAD.into(), "x");
        cut_off(used(), HEAD.into(), "");
        cut_off(proxy.client(), format!("{HEAD}content-length: 9000\r\n\r\n"), " ");
        cut_off(used(), format!("{HEAD}transfer-encoding: chunked\r\n\r\n"), "1\r\n \r\n");
        // Twice the required rate, for longer than the grace period.
        let (mut steady, body) = (proxy.client(), format!("{}{}", json::READ, " ".repeat(26_000)));
        scope.spawn(move || {
            steady.send(format!("{HEAD}content-length: {}\r\n\r\n", body.len()));
            for piece in body.as_bytes().chunks(512) {
                steady.send(piece);
                std::thread::sleep(PAUSE);
            }
            assert_eq!(steady.read().result(), "a");
        });
    });
    assert_eq!(origin.hits(), 4);
    wait_until("nothing is under way", || proxy.status()["upstreams"]["main"]["in_flight"] == 0);
}

#[test]
fn a_request_in_many_pieces_is_a_request() {
    let (origin, proxy) = start();
    let mut client = proxy.client();
    // Two requests, so that the second one's beginning arrives with the first one's end.
    let whole = [post("/", &[], json::READ), post("/", &[], json::READ)].concat();
    for size in [1, 2, 3, 7, 50] {
        whole.chunks(size).for_each(|piece| client.send(piece));
        assert_eq!([client.read().result(), client.read().result()], ["a", "a"]);
    }
    assert_eq!(origin.hits(), 10);
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let (origin, proxy) = start();
    let head = |size: usize| format!("{HEAD}x-long: {}\r\n", "x".repeat(size));
    let response = proxy.client().post_with("/", &[("x-long", &"x".repeat(60_000))], json::READ);
    assert_eq!(response.result(), "a");
    let mut client = proxy.client();
    client.send(head(70_000));
    let response = client.read();
    assert_eq!((response.status, response.error_code()), (431, INVALID_REQUEST));
    assert!(client.is_closed_by_server());
    assert_eq!(origin.hits(), 1);
}
