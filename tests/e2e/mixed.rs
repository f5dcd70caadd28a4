//! Two hundred reloads under load of every kind at once: JSON-RPC over HTTP/1.1 and over HTTP/2 with
//! TLS, WebSocket connections, uploads.
//!
//! Each reload changes the endpoints of all upstreams, their policies and the certificate. No
//! request may fail, none may get another's answer (each asks for its own name), and a WebSocket
//! connection ends only if its endpoint does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use http::Method;
use serde_json::Value;

use crate::listeners::{TLS_A, with};
use crate::support::{
    Answer, Authority, CLOSE_1001, Client, Conf, Echo, Endpoint, Exchange, Guest, Http2Client, Origin, Proxy, Request,
    Response, TlsClient, json, wait_until,
};

const RELOADS: usize = 200;
/// Requests over a connection of HTTP/2: a new one sees a new certificate.
const REQUESTS: usize = 25;
/// Streams of one connection at the same time.
const STREAMS: usize = 4;
/// Bytes of an upload: beyond the replay buffer, so that it can be sent only once, and short ones.
const UPLOADS: [usize; 3] = [300, 20 << 10, 200 << 10];

/// A client. Its requests carry its name, and after each of them it asks whether to go on.
type Load = fn(&Setting, &str, &dyn Fn() -> bool);
const LOADS: [Load; 6] = [calls, calls_over_http2, uploads, uploads_over_http2, stays_connected, is_sent_away];

#[test]
fn reloads_under_mixed_load_fail_nothing_and_mix_up_nothing() {
    let setting = Setting::start();
    let (stop, progress) = (AtomicBool::new(false), LOADS.map(|_| AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        // Also when an expectation fails: the scope waits for its threads.
        let _stop = Stop(&stop);
        for (number, (load, progress)) in LOADS.iter().zip(&progress).enumerate() {
            let (setting, stop) = (&setting, &stop);
            scope.spawn(move || {
                load(setting, &format!("client-{number}"), &|| {
                    progress.fetch_add(1, SeqCst);
                    !stop.load(SeqCst)
                });
            });
        }
        for step in 1..=RELOADS {
            let before = progress.each_ref().map(|count| count.load(SeqCst));
            setting.proxy.rewrite_conf(&setting.backends.conf(step));
            let report = setting.proxy.post_reload();
            assert_eq!(report.status, 200, "{}", report.text());
            wait_until("every client goes on", || {
                progress.iter().zip(before).all(|(count, before)| count.load(SeqCst) > before)
            });
        }
    });
    println!("{progress:?}; connections that were sent away: {}", setting.sent_away.load(SeqCst));
    assert!(setting.sent_away.load(SeqCst) >= RELOADS / 2, "{:?}", setting.sent_away);
    assert_eq!(setting.proxy.status()["generation"], RELOADS + 1);
    assert_eq!(setting.proxy.metrics().sum("tls_handshake_failures_total", &[]), 0.0);
    wait_until("one generation lives", || setting.proxy.metrics().sum("generations_live", &[]) == 1.0);
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// The endpoints of four upstreams.
struct Backends {
    authority: Authority,
    /// Their results are the first parameter.
    nodes: [Origin; 4],
    /// They answer with the request's body.
    stores: [Origin; 3],
    stays: Echo,
    goes: [Echo; 2],
}

/// A proxy that has some of them.
struct Setting {
    backends: Backends,
    proxy: Proxy,
    tls: TlsClient,
    /// WebSocket connections that were closed because their endpoint was removed.
    sent_away: AtomicUsize,
}

impl Setting {
    fn start() -> Setting {
        let node = |request: &Request| {
            let call: Value = serde_json::from_slice(&request.body).unwrap();
            Answer::result(call["params"][0].as_str().unwrap())
        };
        let store = |request: &Request| Answer::body(request.body.clone());
        let backends = Backends {
            authority: Authority::new(),
            nodes: ["a", "b", "c", "d"].map(|name| Origin::scripted(name, node)),
            stores: ["a", "b", "c"].map(|name| Origin::scripted(name, store)),
            stays: Echo::start(),
            goes: [Echo::start(), Echo::start()],
        };
        backends.nodes.iter().chain(&backends.stores).for_each(Origin::forget);
        let (proxy, tls) = (Proxy::start(&backends.conf(0)), TlsClient::trusting(&backends.authority));
        Setting { backends, proxy, tls, sent_away: AtomicUsize::new(0) }
    }

    fn over_tls(&self) -> Client {
        self.tls.connect(self.proxy.second(), "a.example")
    }

    /// Does `work` over connections of HTTP/2, each for a while, until it is time to end.
    fn over_http2(&self, go_on: &dyn Fn() -> bool, mut work: impl FnMut(&Http2Client)) {
        loop {
            let client = Http2Client::try_connect(&self.tls, self.proxy.second(), "a.example").unwrap();
            for _ in 0..REQUESTS {
                work(&client);
                if !go_on() {
                    return;
                }
            }
        }
    }
}

impl Backends {
    /// The conf of this step.
    fn conf(&self, step: usize) -> Conf {
        let chosen = |origins: &[Origin], count: usize| -> Vec<Endpoint> {
            (0..count).map(|n| Endpoint::of(&origins[(step + n) % origins.len()])).collect()
        };
        let table = |upstream: &str, endpoints: &str| {
            format!(
                "[upstreams.{upstream}]\nprotocol = 'http'\nscoring = 'scoring'\nretry = 'retry'\n\
                 health_check = 'off'\nendpoints = [{endpoints}]\n\
                 [[routes]]\npath_prefix = '/{upstream}'\nupstream = '{upstream}'"
            )
        };
        let inline = |address: SocketAddr| format!("{{ url = 'http://{address}' }},");
        let stores = [step, step + 1].map(|n| inline(self.stores[n % self.stores.len()].address()));
        let scoring = ["tiers", "peak-ewma", "ranked"][step % 3];
        let ranked = Guest::in_order("ranked", &format!("1.0.{}", step % 2), step.is_multiple_of(2));
        let conf = Conf::with(chosen(&self.nodes, 3)).shipped("tiers").shipped("peak-ewma").shipped("json-rpc-retry");
        let conf = conf
            .shipped("http-retry")
            .guest_file(&ranked)
            .set("scoring", "'scoring'")
            .set("retry", "'again'")
            .extra(&format!("[policies.scoring]\nplugin = '{scoring}'\n[policies.again]\nplugin = 'json-rpc-retry'"))
            .extra("[policies.retry]\nplugin = 'http-retry'\n[[routes]]\npath_prefix = '/'\nupstream = 'main'")
            .extra(&table("store", &stores.concat()))
            .extra(&table("stays", &inline(self.stays.address())))
            .extra(&table("goes", &inline(self.goes[step % 2].address())))
            .client("timeout", "'10s'")
            .server("shutdown_grace", "'0s'")
            .environment("RUST_LOG", "error,pointsman::server=info")
            .listener(TLS_A);
        with(conf, "a", &self.authority.certify(&["a.example"]))
    }
}

fn calls(setting: &Setting, client: &str, go_on: &dyn Fn() -> bool) {
    let mut connection = setting.proxy.client();
    for number in 0.. {
        let name = format!("{client}-{number}");
        expect(&connection.post(call(&name)), &name);
        if !go_on() {
            return;
        }
    }
}

fn calls_over_http2(setting: &Setting, client: &str, go_on: &dyn Fn() -> bool) {
    let mut numbers = 0..;
    setting.over_http2(go_on, |connection| {
        let names: Vec<String> = numbers.by_ref().take(STREAMS).map(|number| format!("{client}-{number}")).collect();
        let exchanges: Vec<Exchange> = names.iter().map(|name| connection.try_post(call(name)).unwrap()).collect();
        for (name, exchange) in names.iter().zip(exchanges) {
            expect(&exchange.response().unwrap(), name);
        }
    });
}

fn call(name: &str) -> String {
    json::READ.replace("[]", &format!("[\"{name}\"]"))
}

#[track_caller]
fn expect(response: &Response, name: &str) {
    assert_eq!((response.status, response.text().contains(name)), (200, true), "{name}: {}", response.text());
    assert_eq!(response.result(), name);
}

fn uploads(setting: &Setting, client: &str, go_on: &dyn Fn() -> bool) {
    let mut connection = setting.proxy.client();
    for number in 0.. {
        let body = upload(client, number);
        let head = format!("PUT /store HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.send([head, body.clone()].concat());
        expect_echo(&connection.read(), &body);
        if !go_on() {
            return;
        }
    }
}

fn uploads_over_http2(setting: &Setting, client: &str, go_on: &dyn Fn() -> bool) {
    let mut numbers = 0..;
    setting.over_http2(go_on, |connection| {
        let body = upload(client, numbers.next().unwrap());
        expect_echo(&connection.try_send(Method::PUT, "/store", &body).unwrap().response().unwrap(), &body);
    });
}

/// A body that says its name all along.
fn upload(client: &str, number: usize) -> String {
    let name = format!("{client}-{number} ");
    name.repeat(UPLOADS[number % UPLOADS.len()] / name.len())
}

#[track_caller]
fn expect_echo(response: &Response, body: &str) {
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.body == body.as_bytes(), "{:.100} for {body:.40}", response.text());
}

/// Its one connection lasts.
fn stays_connected(setting: &Setting, client: &str, go_on: &dyn Fn() -> bool) {
    let mut socket = Socket::open(setting.over_tls(), "/stays");
    for number in 0.. {
        assert!(socket.echoes(&format!("{client}-{number}")), "the connection to an endpoint that stays was closed");
        if !go_on() {
            return;
        }
    }
}

/// Its endpoint changes with every step.
fn is_sent_away(setting: &Setting, client: &str, go_on: &dyn Fn() -> bool) {
    let mut socket = Socket::open(setting.proxy.client(), "/goes");
    for number in 0.. {
        if !socket.echoes(&format!("{client}-{number}")) {
            setting.sent_away.fetch_add(1, SeqCst);
            socket = Socket::open(setting.proxy.client(), "/goes");
        }
        if !go_on() {
            return;
        }
    }
}

/// A WebSocket connection.
struct Socket(Client);

impl Socket {
    fn open(mut client: Client, path: &str) -> Socket {
        client.send(format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        let head = client.read_head().unwrap();
        assert!(head.first_line.starts_with("HTTP/1.1 101 "), "{head:?}");
        let mut socket = Socket(client);
        // An endpoint that was removed meanwhile may send nothing but the close.
        let greeting = socket.message();
        assert!(greeting.is_none_or(|greeting| greeting == path));
        socket
    }

    /// Sends a message and expects it back; false if the connection is closed with 1001 instead.
    fn echoes(&mut self, text: &str) -> bool {
        // Masked with zeros.
        let head = [0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        if self.0.try_send([&head, text.as_bytes()].concat()).is_err() {
            return false;
        }
        let answer = self.message();
        assert!(answer.as_deref().is_none_or(|answer| answer == text), "{answer:?} for {text}");
        answer.is_some()
    }

    /// The next message; `None` for a close with 1001.
    fn message(&mut self) -> Option<String> {
        let head = self.0.read_exactly(2).unwrap();
        let mask = if head[1] & 0x80 == 0 { 0 } else { 4 };
        let payload = self.0.read_exactly(mask + usize::from(head[1] & 0x7f)).unwrap();
        if head[0] == CLOSE_1001[0] {
            assert_eq!([&head, &payload[..]].concat(), CLOSE_1001);
            return None;
        }
        Some(String::from_utf8(payload[mask..].to_vec()).unwrap())
    }
}
