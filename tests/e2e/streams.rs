//! Long bodies and answers: early answers, slow readers and senders. Neither side blocks resources
//! that others need.

use std::time::{Duration, Instant};

use serde_json::json as value;

use crate::support::{Answer, Client, Conf, Endpoint, Origin, Proxy, Request, json, post, wait_until};

/// More than all buffers between an endpoint and a client hold.
const LONG: usize = 40 << 20;

fn long_read() -> String {
    json::READ.replace("[]", &format!(r#"["{}"]"#, "x".repeat(20 << 20)))
}

/// An endpoint that answers after the head and never reads more. It ends with the process.
fn refuses_early(answer: &'static [u8], then_reset: bool) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1_000]);
            let _ = stream.write_all(answer);
            // Closing with unread bytes is a reset.
            if !then_reset {
                held.push(stream);
            }
        }
    });
    address
}

#[test]
fn an_endpoint_that_answers_early_and_stops_reading_has_answered() {
    let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large";
    for then_reset in [false, true] {
        let good = Origin::start("good");
        let address = refuses_early(answer, then_reset);
        let bad = Endpoint::new(&format!("http://{address}"), "bad").weight(200);
        let conf = Conf::of([&good])
            .endpoint(0, |good| good.weight(20))
            .and(bad)
            .with_shipped_policies()
            .server("max_body", "'32MiB'");
        let proxy = Proxy::start(&conf);
        for n in 1..=2 {
            assert_eq!(proxy.post(long_read()).result(), "good");
            assert_eq!(proxy.endpoint("bad")["attempts"], value!({ "http_error": n }), "reset: {then_reset}");
        }
        assert_eq!(proxy.endpoint("bad")["idle_connections"], 0, "the request was not sent to its end");
        assert_eq!(proxy.cooldown("bad"), 0.0);
    }
}

/// A proxy with `places` concurrent requests, and an endpoint with long answers to reads.
fn with_places(places: usize, long: Answer) -> (Origin, Proxy) {
    let origin = Origin::scripted("a", move |request: &Request| match request.method().as_str() {
        "eth_blockNumber" => long.clone(),
        _ => Answer::result("a"),
    });
    let conf = Conf::of([&origin]).with_shipped_policies().server("max_body", "'64MiB'").set("deadline", "'2s'");
    let conf = conf.set("max_concurrency", &places.to_string()).set("queue_timeout", "'3s'").client("timeout", "'1s'");
    (origin, Proxy::start(&conf))
}

#[test]
fn slow_readers_hold_no_places_and_blame_nobody() {
    let (origin, proxy) = with_places(3, Answer::body(json::long_answer(LONG)));
    let mut readers: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    for reader in &mut readers {
        reader.send(post("/", &[], json::READ));
        assert!(reader.read_head().is_ok(), "its answer has begun");
    }
    assert_eq!(proxy.post(json::request("2", "eth_chainId")).result(), "a", "there is a place");
    let in_flight = proxy.endpoint("a")["in_flight"].clone();
    assert_eq!(in_flight, 3, "all long answers still go on");
    let places = || proxy.status()["upstreams"]["main"]["in_flight"].clone();
    wait_until("all clients have made it wait", || places() == 0);
    // The endpoint breaks off, which the clients see when they continue to read.
    origin.stop();
    for mut reader in readers {
        assert!(reader.read_rest().is_ok_and(|rest| rest.len() < LONG), "the answer broke off");
    }
    wait_until("all are settled", || proxy.endpoint("a")["in_flight"] == 0);
    let attempts = proxy.endpoint("a")["attempts"].clone();
    assert_eq!(attempts["canceled"], 3, "{attempts}");
    assert_eq!((attempts.get("reset"), attempts.get("timeout")), (None, None), "{attempts}");
    assert_eq!(proxy.cooldown("a"), 0.0);
}

#[test]
fn a_trickling_endpoint_holds_no_places_and_is_a_timeout() {
    let begin = String::from_utf8(json::long_answer(1_100_000)).unwrap().replace("\"}", "");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n{begin}");
    // About 5 KB a second after an initial megabyte.
    let trickle = Answer::raw(head).then_trickle("7777777777", Duration::from_millis(2));
    let (_origin, proxy) = with_places(1, trickle);
    let mut reader = proxy.client();
    let began = Instant::now();
    reader.send(post("/", &[], json::READ));
    assert!(reader.read_head().is_ok(), "its answer has begun");
    // One that comes before the first's deadline has the same remaining time.
    wait_until("there is a place", || proxy.post(json::request("2", "eth_chainId")).status == 200);
    assert!(reader.read_rest().is_ok(), "it breaks off");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(proxy.endpoint("a")["attempts"]["timeout"], 1, "{}", proxy.endpoint("a")["attempts"]);
}

#[test]
fn a_whole_answer_gives_its_place_back_before_it_is_taken() {
    // Split batches are assembled and complete at any length.
    let origin = Origin::scripted("a", |request: &Request| match request.body.first() {
        Some(b'[') => Answer::body(json::answer(&request.body, &format!(r#""result":"{}""#, "7".repeat(LONG / 3)))),
        _ => Answer::result("a"),
    });
    let conf = Conf::of([&origin]).endpoint(0, |a| a.set("max_batch_size", "1")).server("max_body", "'64MiB'");
    let proxy = Proxy::start(&conf.set("max_concurrency", "1").set("queue_timeout", "'0s'"));
    let mut reader = proxy.client();
    reader.send(post("/", &[], json::batch(3)));
    assert!(reader.read_head().is_ok(), "its answer has begun");
    assert_eq!(proxy.post(json::READ).result(), "a");
}

/// A resource shortage of the process is not a failure of an endpoint.
#[test]
fn without_a_file_descriptor_nobody_is_blamed() {
    let origins = [Origin::start("a"), Origin::start("b")];
    let proxy = Proxy::start(&Conf::of(&origins).with_shipped_policies());
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 405, "it is connected");
    proxy.limit_open_files(3);
    let refused = client.post(json::READ);
    assert_eq!((refused.status, refused.error_code()), (503, -32002), "{}", refused.text());
    proxy.limit_open_files(1_000);
    for origin in &origins {
        let endpoint = proxy.endpoint(origin.name());
        assert_eq!((&endpoint["attempts"], proxy.cooldown(origin.name())), (&value!({ "connect_failed": 1 }), 0.0));
    }
    assert_eq!(client.post(json::READ).result(), "a", "the first is preferred as before");
}
