//! Start, signals, clients that disconnect.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Answer, Client, Conf, Gate, Origin, Proxy, Signal, Site, json, post, wait_until};

/// A proxy with a request in flight, which the origin answers when the gate opens.
fn with_a_request_under_way(conf: impl FnOnce(Conf) -> Conf) -> (Gate, Origin, Proxy, Client) {
    let gate = Gate::new();
    let origin = Origin::always("a", Answer::result("a").held_by(&gate));
    let proxy = Proxy::start(&conf(Conf::of([&origin])));
    let mut client = proxy.client();
    client.send(post("/", &[], json::READ));
    wait_until("the request is at the origin", || origin.hits() == 1);
    (gate, origin, proxy, client)
}

fn refuses_connections(proxy: &Proxy) -> bool {
    TcpStream::connect(proxy.address()).is_err()
}

#[test]
fn a_client_that_leaves_ends_its_attempt() {
    let (_gate, origin, proxy, client) = with_a_request_under_way(|conf| conf);
    assert_eq!(proxy.endpoint("a")["in_flight"], 1);
    drop(client);
    wait_until("the attempt is canceled", || proxy.metrics().attempts("a", "canceled") == 1.0);
    wait_until("the origin's connection is closed", || origin.abandoned() == 1 && origin.open_connections() == 0);
    let endpoint = proxy.endpoint("a");
    assert_eq!(endpoint["in_flight"], 0);
    assert_eq!(endpoint["consecutive_failures"], 0);
    assert_eq!(endpoint["cooldown_seconds"], 0.0);
    wait_until("the request is over", || proxy.status()["upstreams"]["main"]["in_flight"] == 0);
    assert_eq!(proxy.metrics().sum("requests_total", &[("status", "499")]), 1.0);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_long_answer_ends_it() {
    let origin = Origin::always("a", Answer::body(json::long_answer(50_000_000)));
    let proxy = Proxy::start(&Conf::of([&origin]).server("max_body", "'100MiB'"));
    let mut client = proxy.client();
    client.send(post("/", &[], json::READ));
    assert_eq!(client.read_head().unwrap().content_length(), Some(50_000_000));
    drop(client);
    wait_until("the attempt is canceled", || proxy.metrics().attempts("a", "canceled") == 1.0);
    assert_eq!(proxy.endpoint("a")["in_flight"], 0);
    wait_until("the origin's connection is closed", || origin.open_connections() == 0);
    wait_until("the request is over", || proxy.status()["upstreams"]["main"]["in_flight"] == 0);
}

fn lets_requests_finish(signal: Signal) {
    let (gate, _origin, proxy, mut client) = with_a_request_under_way(|conf| conf);
    proxy.signal(signal);
    let began = Instant::now();
    wait_until("new connections are refused", || refuses_connections(&proxy));
    wait_until("the request has kept it running for a while", || {
        assert!(proxy.is_running(), "it ended after {:?}", began.elapsed());
        began.elapsed() > Duration::from_millis(500)
    });
    gate.open();
    assert_eq!(client.read().result(), "a");
    assert_eq!(proxy.wait_exit(), Some(0));
}

#[test]
fn sigterm_lets_requests_finish_and_takes_no_new_ones() {
    lets_requests_finish(Signal::SIGTERM);
}

#[test]
fn sigquit_too_lets_requests_finish() {
    lets_requests_finish(Signal::SIGQUIT);
}

#[test]
fn a_kept_connection_without_a_request_holds_up_no_shutdown() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]));
    let mut kept = proxy.client();
    assert_eq!(kept.post(json::READ).result(), "a");
    let _silent = proxy.client();
    let began = Instant::now();
    assert_eq!(proxy.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

/// Closing a connection while its client sends the next request would lose that request.
#[test]
fn a_kept_connection_is_answered_once_more_while_the_process_ends() {
    let (gate, _origin, proxy, mut client) = with_a_request_under_way(|conf| conf);
    let mut kept = proxy.client();
    assert_eq!(kept.get("/").head.get("connection"), Some("keep-alive"));
    proxy.signal(Signal::SIGTERM);
    wait_until("new connections are refused", || refuses_connections(&proxy));
    assert_eq!(kept.get("/").head.get("connection"), Some("close"));
    assert!(kept.is_closed_by_server());
    gate.open();
    assert_eq!(client.read().result(), "a");
    assert_eq!(proxy.wait_exit(), Some(0));
}

#[test]
fn a_request_that_outlasts_shutdown_grace_is_cut_off() {
    let (_gate, _origin, proxy, mut client) = with_a_request_under_way(|conf| conf.server("shutdown_grace", "'500ms'"));
    let began = Instant::now();
    assert_eq!(proxy.terminate(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(500), "it took {:?}", began.elapsed());
    assert!(client.try_read().is_err());
    assert!(proxy.log().contains("shutdown_grace is over"), "the log says why");
}

#[test]
fn sigint_ends_at_once() {
    let (_gate, _origin, proxy, mut client) = with_a_request_under_way(|conf| conf.server("shutdown_grace", "'1h'"));
    proxy.signal(Signal::SIGINT);
    assert_eq!(proxy.wait_exit(), Some(0));
    assert!(client.try_read().is_err());
}

#[test]
fn a_taken_port_is_said_clearly() {
    let origin = Origin::start("a");
    for (key, address) in [("server.listen", 0), ("admin.listen", 1)] {
        let site = Site::new(&Conf::of([&origin]));
        let address = [site.listen, site.admin][address];
        let _taken = TcpListener::bind(address).unwrap();
        let output = site.run(&["--config", "pointsman.toml"]);
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        let message = format!("{key}: can't listen on {address}");
        assert!(output.stderr.contains(&message), "{message} is not in: {}", output.stderr);
    }
}

#[test]
fn check_tells_by_its_exit_code() {
    let origin = Origin::start("a");
    let site = Site::new(&Conf::of([&origin]));
    // It doesn't listen, so a taken port doesn't matter.
    let _taken = TcpListener::bind(site.listen).unwrap();
    let output = site.run(&["check", "--config", "pointsman.toml"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(output.stdout.contains("good"), "{}", output.stdout);

    site.write_text(&(site.text() + "\n[surprise]\n"));
    let output = site.run(&["check", "--config", "pointsman.toml"]);
    assert_eq!(output.code, Some(1));
    let line = site.text().lines().count();
    assert!(output.stderr.contains(&format!("pointsman.toml:{line}:2")), "{}", output.stderr);
    assert!(output.stderr.contains("surprise"), "{}", output.stderr);

    let output = site.run(&["check", "--config", "missing.toml"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("missing.toml"), "{}", output.stderr);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let site = Site::new(&Conf::of([]));
    for arguments in [&["run"][..], &["check"], &[], &["--surprise"], &["--config"], &["dance", "--config", "x"]] {
        let output = site.run(arguments);
        assert_eq!(output.code, Some(2), "{arguments:?}: {}", output.stderr);
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", output.stdout);
    }
}

#[test]
fn a_bad_conf_ends_the_start_with_its_reason() {
    let site = Site::new(&Conf::of([]));
    let output = site.run(&["--config", "pointsman.toml"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("endpoints"), "{}", output.stderr);
}

#[test]
fn the_access_log_has_one_line_per_request() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]));
    let lines = || -> Vec<String> {
        proxy.log().lines().filter(|line| line.contains("pointsman::access")).map(str::to_owned).collect()
    };
    proxy.post(json::READ);
    // Each request has a thread of its own, and is logged after its answer.
    wait_until("the first is logged", || lines().len() == 1);
    proxy.post("rubbish");
    wait_until("both requests are logged", || lines().len() == 2);
    let [good, bad] = <[String; 2]>::try_from(lines()).unwrap();
    for part in ["method=\"eth_blockNumber\"", "endpoint=\"a\"", "attempts=1", "outcome=\"success\"", "status=200"] {
        assert!(good.contains(part), "{part} is not in: {good}");
    }
    for part in ["attempts=0", "outcome=\"not_json\"", "status=400"] {
        assert!(bad.contains(part), "{part} is not in: {bad}");
    }
}
