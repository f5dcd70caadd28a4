//! Limits of clients' connections and memory. Capacity remains for earlier clients, the operator
//! and the endpoints, and no endpoint is penalised.

use crate::support::{
    Answer, Client, Conf, Gate, Origin, Proxy, Response, chunked as in_chunks, json, post, wait_until,
};

/// A connection that is served and kept.
fn kept(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    assert_eq!(client.post(json::READ).result(), "a");
    client
}

fn start(change: impl FnOnce(Conf) -> Conf) -> (Gate, Origin, Proxy) {
    let gate = Gate::new();
    let origin = Origin::start("a");
    let held = Answer::result("a").held_by(&gate);
    origin.script(move |request| match request.method().as_str() {
        "eth_getLogs" => held.clone(),
        _ => Answer::result("a"),
    });
    let proxy = Proxy::start(&change(Conf::of([&origin])));
    // The connection that checked whether it serves.
    wait_until("nobody is connected", || connected(&proxy) == 0.0);
    (gate, origin, proxy)
}

fn connected(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("connections", &[])
}

fn refused(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metrics().sum("connections_refused_total", &[("reason", reason)])
}

fn shed(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("connections_shed_total", &[])
}

/// A connection with a request in flight.
fn busy(proxy: &Proxy, origin: &Origin) -> Client {
    let before = origin.hits();
    let mut client = proxy.client();
    client.send(post("/", &[], json::request("1", "eth_getLogs")));
    wait_until("the request is under way", || origin.hits() == before + 1);
    client
}

#[test]
fn who_waits_longest_makes_room_for_a_new_client() {
    // One thread: a client with an answer waits before the next one gets its answer.
    let (gate, origin, proxy) = start(|conf| conf.server("max_connections", "3").server("threads", "1"));
    let mut busy = busy(&proxy, &origin);
    let [mut oldest, mut newer] = [kept(&proxy), kept(&proxy)];
    let mut new = kept(&proxy);
    assert!(oldest.is_closed_by_server());
    assert_eq!(newer.post(json::READ).result(), "a");
    assert_eq!((shed(&proxy), connected(&proxy)), (1.0, 3.0));
    gate.open();
    assert_eq!(busy.read().result(), "a");
    assert_eq!(new.post(json::READ).result(), "a");
    assert_eq!(refused(&proxy, "max_connections"), 0.0);
}

#[test]
fn when_nobody_waits_the_new_one_is_refused() {
    let (gate, origin, proxy) = start(|conf| conf.server("max_connections", "2"));
    let mut both = [busy(&proxy, &origin), busy(&proxy, &origin)];
    for _ in 0..20 {
        assert!(proxy.client().is_closed_by_server());
    }
    assert_eq!(refused(&proxy, "max_connections"), 20.0);
    wait_until("the log tells it", || proxy.lines("connections are refused") > 0);
    assert_eq!(proxy.lines("connections are refused"), 1, "the log isn't flooded");
    assert_eq!(proxy.admin("GET", "/health").status, 200);
    gate.open();
    for client in &mut both {
        assert_eq!(client.read().result(), "a");
    }
    // Once the proxy has seen that they wait.
    wait_until("one of them makes room", || {
        let mut client = proxy.client();
        client.send(post("/", &[], json::READ));
        !client.is_closed_by_server()
    });
}

#[test]
fn one_address_takes_no_more_than_its_share() {
    let (_gate, origin, proxy) = start(|conf| conf.server("max_connections_per_address", "2"));
    let _both = [busy(&proxy, &origin), busy(&proxy, &origin)];
    assert!(proxy.client().is_closed_by_server());
    assert_eq!(refused(&proxy, "max_connections_per_address"), 1.0);
}

#[test]
fn a_reload_changes_the_limits() {
    let (_gate, origin, proxy) = start(|conf| conf.server("max_connections", "2"));
    let _both = [busy(&proxy, &origin), busy(&proxy, &origin)];
    assert!(proxy.client().is_closed_by_server());
    proxy.rewrite_conf(&Conf::of([&origin]).server("max_connections", "3"));
    assert!(proxy.reload_by_signal());
    kept(&proxy);
}

#[test]
fn the_limit_of_open_files_is_raised() {
    let (_gate, _origin, proxy) = start(|conf| conf.open_files(256, 400));
    if let Some(limits) = proxy.open_files_limit() {
        assert_eq!(limits, (400, 400));
    }
}

/// By default, clients may use half of the process's open files; the rest is for endpoints, the
/// operator and a reload.
#[test]
fn idle_clients_that_take_all_they_get_harm_nobody() {
    let (gate, origin, proxy) = start(|conf| conf.open_files(256, 256));
    let mut before = busy(&proxy, &origin);
    // More than the limit of open files.
    let mut idle: Vec<Client> = (0..300).map(|_| proxy.client()).collect();
    wait_until("all have been accepted", || shed(&proxy) > 200.0);
    assert_eq!(connected(&proxy), 64.0, "half of what a reserve of 128 leaves");
    let mut good = kept(&proxy);
    for _ in 0..20 {
        assert_eq!(good.post(json::READ).result(), "a");
    }
    assert_eq!(proxy.admin("GET", "/health").status, 200);
    assert!(proxy.reload_by_signal());
    gate.open();
    assert_eq!(before.read().result(), "a");
    let endpoint = proxy.endpoint("a");
    assert_eq!(endpoint["attempts"], serde_json::json!({ "success": 22 }));
    assert_eq!((endpoint["cooldown_seconds"].as_f64(), refused(&proxy, "files")), (Some(0.0), 0.0));
    assert!(idle[0].is_closed_by_server());
}

/// A request padded with spaces to `size` bytes.
fn padded(request: &str, size: usize) -> String {
    format!("{request}{}", " ".repeat(size - request.len()))
}

#[track_caller]
fn assert_no_memory(response: &Response) {
    assert_eq!((response.status, response.error_code()), (503, -32005), "{}", response.text());
    assert_eq!(response.head.get("retry-after"), Some("1"));
}

/// Sends a request of `size` bytes without the last one.
fn all_but_one(proxy: &Proxy, size: usize, chunked: bool) -> (Client, Vec<u8>) {
    let body = padded(&json::request("1", "eth_getLogs"), size);
    let whole = if chunked {
        let head = b"POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        [head, in_chunks(body.as_bytes(), 10_000)].concat()
    } else {
        post("/", &[], body)
    };
    let mut client = proxy.client();
    client.send(&whole[..whole.len() - 1]);
    (client, whole)
}

#[test]
fn bodies_under_way_are_bounded_together() {
    let (gate, origin, proxy) = start(|conf| conf.server("max_body", "'1MiB'").server("max_buffered", "'1MiB'"));
    for chunked in [false, true] {
        // Complete and in flight at an endpoint.
        let hits = origin.hits();
        let (mut first, whole) = all_but_one(&proxy, 700_000, chunked);
        first.send(&whole[whole.len() - 1..]);
        wait_until("it is under way", || origin.hits() > hits);
        for chunked in [false, true] {
            let (mut second, _) = all_but_one(&proxy, 700_000, chunked);
            assert_no_memory(&second.read());
            drop(second);
        }
        // Small ones don't count.
        assert_eq!(proxy.post(padded(json::READ, 10000)).result(), "a");
        // Its memory is released when it is answered or its client disconnects.
        if chunked {
            gate.open();
            assert_eq!(first.read().result(), "a");
        } else {
            drop(first);
        }
        wait_until("its memory is free", || proxy.post(padded(json::READ, 900000)).status == 200);
    }
}

/// Ids that JSON libraries change are replaced, which copies the request.
#[test]
fn a_copy_with_other_ids_counts_too() {
    let (_gate, _origin, proxy) = start(|conf| conf.server("max_body", "'1MiB'").server("max_buffered", "'1MiB'"));
    let long = "a".repeat(700_000);
    for (id, status) in [("1", 200), ("-0", 503)] {
        let single = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_chainId","params":["{long}"]}}"#);
        for (kind, request) in [("batch", format!("[{single}]")), ("single", single)] {
            assert_eq!(proxy.post(request).status, status, "{kind} with id {id}");
        }
    }
}

#[test]
fn a_body_that_breaks_off_gives_its_memory_back() {
    let (_gate, _origin, proxy) = start(|conf| conf.server("max_body", "'1MiB'").server("max_buffered", "'1MiB'"));
    for chunked in [false, true] {
        let (mut client, _) = all_but_one(&proxy, 900_000, chunked);
        wait_until("it holds memory", || {
            // Another request may get the memory first; then this one is refused.
            if client.has_answer() {
                client = all_but_one(&proxy, 900_000, chunked).0;
            }
            proxy.post(padded(json::READ, 900000)).status == 503
        });
        drop(client);
        wait_until("its memory is free", || proxy.post(padded(json::READ, 900000)).status == 200);
    }
}
