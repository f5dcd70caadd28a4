//! Listeners with TLS: certificates and names, client certificates, versions, failed handshakes.

use std::time::{Duration, Instant};

use crate::support::{Answer, Authority, Client, Conf, Issued, Origin, Proxy, TlsClient, json, wait_until};

/// The proxy's limit for the beginning of a connection.
const OPENING: Duration = Duration::from_secs(10);

/// The TLS of one certificate, in the files `a.pem` and `a.key`.
pub(super) const TLS_A: &str = "tls = { certificates = [{ chain = 'a.pem', key = 'a.key' }] }";

/// Adds the files of a certificate, `NAME.pem` and `NAME.key`.
pub(super) fn with(conf: Conf, name: &str, issued: &Issued) -> Conf {
    conf.file(&format!("{name}.pem"), &issued.chain).file(&format!("{name}.key"), &issued.key)
}

/// A proxy with one TLS listener and a certificate for `a.example`.
pub(super) fn start(authority: &Authority) -> (Origin, Conf, Proxy) {
    let origin = Origin::start("good");
    let conf = with(Conf::of([&origin]), "a", &authority.certify(&["a.example"])).listener(TLS_A);
    let proxy = Proxy::start(&conf);
    (origin, conf, proxy)
}

pub(super) fn failures(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metrics().sum("tls_handshake_failures_total", &[("reason", reason)])
}

fn answers(client: &mut Client) {
    assert_eq!(client.post(json::READ).result(), "good");
}

#[test]
fn requests_are_answered_over_a_kept_connection_of_either_version() {
    let authority = Authority::new();
    let (_origin, _, proxy) = start(&authority);
    for version in ["1.2", "1.3"] {
        let mut client = TlsClient::speaking(&authority, version).connect(proxy.second(), "a.example");
        let local = client.local().to_string();
        for _ in 0..3 {
            answers(&mut client);
        }
        wait_until("the log names the client", || proxy.lines(&format!("client={local} ")) == 3);
    }
    // The short form listens beside it.
    answers(&mut proxy.client());
    assert_eq!(proxy.metrics().sum("tls_handshakes_total", &[("kind", "full")]), 2.0);
}

#[test]
fn long_bodies_and_answers_pass() {
    let authority = Authority::new();
    let (origin, _, proxy) = start(&authority);
    let long = "x".repeat(3 << 20);
    let result = long.clone();
    origin.script(move |_| Answer::result(&result));
    let mut client = TlsClient::trusting(&authority).connect(proxy.second(), "a.example");
    for _ in 0..2 {
        let body = json::request("1", "eth_call").replace("[]", &format!("[\"{long}\"]"));
        assert_eq!(client.post(body).result(), long);
    }
    assert_eq!(proxy.metrics().sum("tls_handshakes_total", &[]), 1.0);
}

#[test]
fn the_name_that_a_client_asks_for_selects_the_certificate() {
    let (authority, origin) = (Authority::new(), Origin::start("good"));
    let issued = [&["a.example", "127.0.0.1"][..], &["b.example"], &["*.c.example", "C.example"]];
    let issued = issued.map(|names| authority.certify(names));
    let conf = with(Conf::of([&origin]), "a", &issued[0]);
    let conf = with(with(conf, "b", &issued[1]), "c", &issued[2]).listener(
        "[[server.listeners.tls.certificates]]\nchain = 'a.pem'\nkey = 'a.key'
        [[server.listeners.tls.certificates]]\nchain = 'b.pem'\nkey = 'b.key'
        [[server.listeners.tls.certificates]]\nchain = 'c.pem'\nkey = 'c.key'",
    );
    let proxy = Proxy::start(&conf);
    let client = TlsClient::trusting(&authority);
    // An address is no name that could be asked for: the first certificate is the default.
    for (name, expected) in
        [("127.0.0.1", 0), ("a.example", 0), ("b.example", 1), ("x.c.example", 2), ("c.example", 2), ("Y.C.EXAMPLE", 2)]
    {
        let mut client = client.connect(proxy.second(), name);
        assert_eq!(client.certificate(), issued[expected].certificate().to_vec(), "{name}");
        answers(&mut client);
    }
    // No certificate is for these. The client refuses the default one.
    for name in ["d.example", "x.y.c.example", "x.a.example"] {
        assert!(client.try_connect(proxy.second(), name).is_err(), "{name}");
    }
    wait_until("the refusals are counted", || failures(&proxy, "alert") == 3.0);
}

#[test]
fn clients_without_a_good_certificate_are_refused_if_one_is_required() {
    let (authority, clients, origin) = (Authority::new(), Authority::new(), Origin::start("good"));
    let conf = with(Conf::of([&origin]), "a", &authority.certify(&["a.example"])).file("ca.pem", &clients.pem());
    let conf = conf.listener(&TLS_A.replace("] }", "], client_ca = 'ca.pem' }"));
    let proxy = Proxy::start(&conf);
    let good = clients.certify(&["client"]);
    answers(&mut TlsClient::with_certificate(&authority, &good).connect(proxy.second(), "a.example"));

    let expired = clients.certify_for_days(&["client"], -9, -1);
    let bad = [
        TlsClient::trusting(&authority),
        TlsClient::with_certificate(&authority, &authority.certify(&["client"])),
        TlsClient::with_certificate(&authority, &expired),
    ];
    for (count, bad) in (1u8..).zip(bad) {
        // With TLS 1.3 the client's part is over before the refusal.
        let answer = bad.try_connect(proxy.second(), "a.example").and_then(|mut client| client.try_post(json::READ));
        let error = answer.expect_err("no answer").to_string();
        assert!(error.contains("received fatal alert"), "{error}");
        wait_until("the refusal is counted", || failures(&proxy, "client_certificate") == f64::from(count));
    }
}

#[test]
fn a_version_below_the_lowest_is_refused_and_a_reload_changes_the_lowest() {
    let authority = Authority::new();
    let (_origin, conf, proxy) = start(&authority);
    let old = TlsClient::speaking(&authority, "1.2");
    answers(&mut old.connect(proxy.second(), "a.example"));
    proxy.rewrite_conf(&conf.clone().listener(&TLS_A.replace("] }", "], min_version = '1.3' }")));
    let report = proxy.post_reload().json();
    assert_eq!(report["changes"]["restart_required"], serde_json::json!([]), "{report}");
    assert!(old.try_connect(proxy.second(), "a.example").is_err());
    wait_until("it is counted", || failures(&proxy, "incompatible") == 1.0);
    answers(&mut TlsClient::trusting(&authority).connect(proxy.second(), "a.example"));
    proxy.rewrite_conf(&conf);
    assert!(proxy.reload_by_signal());
    answers(&mut old.connect(proxy.second(), "a.example"));
}

#[test]
fn a_plain_request_is_told_to_use_https() {
    let authority = Authority::new();
    let (_origin, _, proxy) = start(&authority);
    let mut client = Client::connect(proxy.second());
    let response = client.post(json::READ);
    assert_eq!(response.status, 400);
    assert!(response.text().contains("this port speaks TLS"), "{}", response.text());
    assert!(client.is_closed_by_server());
    wait_until("it is counted", || failures(&proxy, "plaintext") == 1.0);
    answers(&mut proxy.client());
}

#[test]
fn what_is_no_handshake_is_refused_at_once() {
    let authority = Authority::new();
    let (_origin, _, proxy) = start(&authority);
    let began = Instant::now();
    for (count, bytes) in (1u8..).zip([&b"\x16\x03\x01\x00\x05hello"[..], &[0xff; 300], b"\x00\x00\x00\x00\x00\x00"]) {
        let mut client = Client::connect(proxy.second());
        client.send(bytes);
        // An alert, and the end.
        let answer = client.read_rest().unwrap();
        assert!(answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
        wait_until("it is counted", || failures(&proxy, "malformed") == f64::from(count));
    }
    assert!(began.elapsed() < OPENING);
    drop(Client::connect(proxy.second()));
    wait_until("who leaves is counted", || failures(&proxy, "closed") == 1.0);
}

#[test]
fn slow_handshakes_are_cut() {
    let authority = Authority::new();
    let (_origin, _, proxy) = start(&authority);
    let began = Instant::now();
    let mut slow: Vec<Client> = (0..3).map(|_| Client::connect(proxy.second())).collect();
    // Nothing, and the beginning of a record with and without one of a message.
    slow[1].send(b"\x16\x03\x01");
    slow[2].send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    for client in &mut slow {
        assert!(client.is_closed_by_server());
    }
    assert!(began.elapsed() >= OPENING - Duration::from_millis(10));
    assert_eq!(failures(&proxy, "timeout"), 3.0);
    answers(&mut TlsClient::trusting(&authority).connect(proxy.second(), "a.example"));
}

/// An unfinished handshake is an idle connection.
#[test]
fn an_unfinished_handshake_makes_room_for_a_new_client() {
    let (authority, origin) = (Authority::new(), Origin::start("good"));
    let conf = with(Conf::of([&origin]), "a", &authority.certify(&["a.example"])).listener(TLS_A);
    let proxy = Proxy::start(&conf.server("max_connections", "2"));
    wait_until("nobody is connected", || proxy.metrics().sum("connections", &[]) == 0.0);
    let mut slow = [Client::connect(proxy.second()), Client::connect(proxy.second())];
    wait_until("both are connected", || proxy.metrics().sum("connections", &[]) == 2.0);
    slow[1].send(b"\x16");
    let tls = TlsClient::trusting(&authority);
    let mut good = [tls.connect(proxy.second(), "a.example"), tls.connect(proxy.second(), "a.example")];
    for client in &mut slow {
        assert!(client.is_closed_by_server());
    }
    good.iter_mut().for_each(answers);
    assert_eq!(failures(&proxy, "shed"), 2.0);
}

#[test]
fn curl_is_served() {
    let authority = Authority::new();
    let (_origin, _, proxy) = start(&authority);
    let ca = proxy.site().folder().join("authority.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let (port, second) = (proxy.second().port(), proxy.second());
    let curl = |more: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--cacert"]).arg(&ca);
        command.args(["--resolve", &format!("a.example:{port}:{}", second.ip())]).args(more);
        command.args(["--header", "content-type: application/json", "--data", json::READ]);
        let output = command.arg(format!("https://a.example:{port}/")).output().expect("curl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for more in [&[][..], &["--tlsv1.3"], &["--tls-max", "1.2"]] {
        assert!(curl(more).contains("\"good\""), "{more:?}");
    }
}
