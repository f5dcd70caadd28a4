//! Listeners whose clients are named by the PROXY protocol.

use std::time::{Duration, Instant};

use crate::listeners::{TLS_A, failures as tls_failures, with};
use crate::support::{Authority, Client, Conf, Origin, Proxy, TlsClient, json, post, wait_until};

/// The proxy's limit for the beginning of a connection.
const OPENING: Duration = Duration::from_secs(10);

fn v1(client: &str) -> String {
    format!("PROXY TCP4 {client} 192.0.2.200 4711 443\r\n")
}

/// Version 2, of the command LOCAL or PROXY, for a client 198.51.100.LAST.
fn v2(command: u8, last: u8) -> Vec<u8> {
    let addresses = [198, 51, 100, last, 192, 0, 2, 200, 0x12, 0x67, 0x01, 0xbb];
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 12], &addresses].concat()
}

fn start(change: impl FnOnce(Conf) -> Conf) -> (Origin, Proxy) {
    let origin = Origin::start("good");
    let proxy = Proxy::start(&change(Conf::of([&origin]).listener("proxy_protocol = true")));
    (origin, proxy)
}

fn connect(proxy: &Proxy, header: impl AsRef<[u8]>) -> Client {
    let mut client = Client::connect(proxy.second());
    client.send(header);
    client
}

fn failures(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metrics().sum("proxy_protocol_failures_total", &[("reason", reason)])
}

#[test]
fn the_header_names_the_client() {
    let (_origin, proxy) = start(|conf| conf);
    let mut local = connect(&proxy, v2(0x20, 9));
    let own = local.local().to_string();
    for (client, expected) in [
        (&mut connect(&proxy, v1("192.0.2.7")), "192.0.2.7:4711"),
        (&mut connect(&proxy, v2(0x21, 8)), "198.51.100.8:4711"),
        // A load balancer's health check has its own address.
        (&mut local, own.as_str()),
    ] {
        for _ in 0..2 {
            assert_eq!(client.post(json::READ).result(), "good");
        }
        wait_until("the log names the client", || proxy.lines(&format!("client={expected} ")) == 2);
    }
}

#[test]
fn a_request_may_come_with_the_header() {
    let (_origin, proxy) = start(|conf| conf);
    let request = [v1("192.0.2.7").as_bytes(), &post("/", &[], json::READ)].concat();
    assert_eq!(connect(&proxy, &request).read().result(), "good");
    let mut slow = Client::connect(proxy.second());
    for byte in &request {
        slow.send([*byte]);
    }
    assert_eq!(slow.read().result(), "good");
}

#[test]
fn a_connection_without_a_good_header_is_closed() {
    let (origin, proxy) = start(|conf| conf);
    for (bytes, reason) in [
        (post("/", &[], json::READ), "missing"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".to_vec(), "malformed"),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 500]].concat(), "malformed"),
        (v2(0x2f, 1), "malformed"),
    ] {
        let before = failures(&proxy, reason);
        assert!(connect(&proxy, &bytes).is_closed_by_server());
        wait_until("it is counted", || failures(&proxy, reason) == before + 1.0);
    }
    assert_eq!(origin.hits(), 0);
    // The other listener takes no header.
    assert_eq!(proxy.client().post(json::READ).result(), "good");
}

#[test]
fn a_slow_header_is_cut() {
    let (_origin, proxy) = start(|conf| conf);
    let began = Instant::now();
    let mut slow =
        [Client::connect(proxy.second()), connect(&proxy, "PROXY TCP4 192.0"), connect(&proxy, &v2(0x21, 1)[..20])];
    for client in &mut slow {
        assert!(client.is_closed_by_server());
    }
    assert!(began.elapsed() >= OPENING - Duration::from_millis(10));
    assert_eq!(failures(&proxy, "timeout"), 3.0);
}

/// All connections have the load balancer's address, which is no client's.
#[test]
fn limits_of_an_address_are_those_of_the_named_client() {
    let (_origin, proxy) = start(|conf| conf.server("max_connections_per_address", "1"));
    let mut clients: Vec<Client> = (1..=5).map(|last| connect(&proxy, v2(0x21, last))).collect();
    for client in &mut clients {
        assert_eq!(client.post(json::READ).result(), "good");
    }
    // The second connection of a client takes the place of its idle first one.
    let mut second = connect(&proxy, v2(0x21, 3));
    assert_eq!(second.post(json::READ).result(), "good");
    assert!(clients.remove(2).is_closed_by_server());
    for client in &mut clients {
        assert_eq!(client.post(json::READ).result(), "good");
    }
}

#[test]
fn the_header_precedes_the_handshake() {
    let (authority, origin) = (Authority::new(), Origin::start("good"));
    let conf = with(Conf::of([&origin]), "a", &authority.certify(&["a.example"]));
    let proxy = Proxy::start(&conf.listener(&format!("proxy_protocol = true\n{TLS_A}")));
    let tls = TlsClient::trusting(&authority);
    for (header, expected) in [(v1("192.0.2.7").into_bytes(), "192.0.2.7:4711"), (v2(0x21, 8), "198.51.100.8:4711")] {
        let mut client = tls.try_connect_after(proxy.second(), "a.example", &header).unwrap();
        assert_eq!(client.post(json::READ).result(), "good");
        wait_until("the log names the client", || proxy.lines(&format!("client={expected} ")) == 1);
    }
    assert!(tls.try_connect(proxy.second(), "a.example").is_err());
    wait_until("it is counted", || failures(&proxy, "missing") == 1.0);
    // The address behind the header of one that doesn't speak TLS.
    let mut plain = connect(&proxy, v1("192.0.2.7"));
    assert_eq!(plain.post(json::READ).status, 400);
    wait_until("it is counted", || tls_failures(&proxy, "plaintext") == 1.0);
}
