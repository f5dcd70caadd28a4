//! HTTP/2 to clients: by ALPN and by prior knowledge, and the limits against its floods.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::support::{Authority, Conf, Issued, Origin, Proxy, json, wait_until};

const CLEARTEXT: &str = "http2 = true";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
/// A request's pseudo-headers: POST / of http, from the static table, and an authority.
const POST: &[u8] = b"\x83\x86\x84\x41\x05proxy";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn curl(arguments: &[&str]) -> String {
    let output =
        Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn cleartext() -> (Origin, Proxy) {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).listener(CLEARTEXT));
    (origin, proxy)
}

/// A connection after its preface, and whether the proxy has ended it since.
struct Raw(TcpStream);

impl Raw {
    fn connect(proxy: &Proxy) -> Raw {
        let mut stream = TcpStream::connect(proxy.second()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).unwrap();
        Raw(stream)
    }

    /// Sends until the proxy ends the connection, at most this many pieces.
    fn ends_by(mut self, pieces: impl Iterator<Item = Vec<u8>>) -> bool {
        for piece in pieces {
            if self.0.write_all(&piece).is_err() {
                return true;
            }
        }
        let mut rest = Vec::new();
        self.0.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn cookies_in_several_headers_are_one_for_an_endpoint() {
    let origin = Origin::start("a");
    let proxy = Proxy::start(&Conf::of([&origin]).set("protocol", "'http'").listener(CLEARTEXT));
    let url = format!("http://{}/", proxy.second());
    curl(&["--http2-prior-knowledge", "-H", "cookie: a=1", "-H", "cookie: b=2", &url]);
    let cookies: Vec<_> = origin.last().head.headers.into_iter().filter(|(name, _)| name == "cookie").collect();
    assert_eq!(cookies, [("cookie".to_owned(), "a=1; b=2".to_owned())]);
}

#[test]
fn requests_are_answered_by_alpn_and_by_prior_knowledge() {
    let (authority, origin) = (Authority::new(), Origin::start("a"));
    let Issued { chain, key } = authority.certify(&["a.example"]);
    let tls = "tls = { certificates = [{ chain = 'a.pem', key = 'a.key' }] }";
    let conf = Conf::of([&origin]).file("a.pem", &chain).file("a.key", &key).listener(tls);
    let proxy = Proxy::start(&conf);
    let port = proxy.second().port();
    let ca = proxy.site().folder().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let resolve = format!("a.example:{port}:127.0.0.1");
    let url = format!("https://a.example:{port}/");
    for (version, expected) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let text = curl(&[
            version,
            "--cacert",
            ca.to_str().unwrap(),
            "--resolve",
            &resolve,
            "-H",
            "content-type: application/json",
            "-d",
            json::READ,
            "-w",
            " %{http_version} %{http_code} %{num_connects}",
            &url,
            &url,
        ]);
        assert_eq!(text.matches("\"result\":\"a\"").count(), 2, "{text}");
        assert!(text.ends_with(&format!(" {expected} 200 0")), "the connection is used again: {text}");
    }
    assert_eq!(origin.hits(), 4);

    let (origin, proxy) = cleartext();
    let url = format!("http://{}/", proxy.second());
    let text = curl(&[
        "--http2-prior-knowledge",
        "-H",
        "content-type: application/json",
        "-d",
        json::READ,
        "-w",
        " %{http_version}",
        &url,
    ]);
    assert_eq!((text.contains("\"result\":\"a\""), text.ends_with(" 2")), (true, true), "{text}");
    assert_eq!(proxy.post(json::READ).result(), "a", "HTTP/1.1 has its own listener");
    wait_until("all are logged", || proxy.lines("outcome=\"success\"") == 2);
    assert_eq!(origin.hits(), 2);
}

#[test]
fn without_http2_a_preface_is_no_request() {
    let (_origin, proxy) = cleartext();
    let mut client = proxy.client();
    client.send(PREFACE);
    assert_eq!(client.read().status, 400);
}

#[test]
fn a_flood_ends_its_connection_and_harms_no_other() {
    let (_origin, proxy) = cleartext();
    let streams = || (0..20_000_u32).map(|n| 2 * n + 1);
    let rapid = streams().map(|id| [frame(HEADERS, 4, id, POST), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat());
    assert!(Raw::connect(&proxy).ends_by(rapid), "rapid reset");
    let endless = std::iter::once(frame(HEADERS, 0, 1, POST)).chain(
        (0..20_000)
            .map(|_| frame(CONTINUATION, 0, 1, &[b"\x40\x01x\x7f\xf0\x00"[..6].to_vec(), vec![b'y'; 200]].concat())),
    );
    assert!(Raw::connect(&proxy).ends_by(endless), "endless headers");
    let odd = streams().map(|id| frame(HEADERS, 5, id, b"\x83\x86\x44\x03/\r\n\x41\x05proxy"));
    assert!(Raw::connect(&proxy).ends_by(odd.take(200)), "malformed requests");
    // Frames that need an answer are answered one at a time; the client pays for them.
    let pings = Raw::connect(&proxy).ends_by((0..20_000).map(|_| frame(PING, 0, 0, &[0; 8])));
    let settings = Raw::connect(&proxy).ends_by((0..20_000).map(|_| frame(SETTINGS, 0, 0, b"")));
    let url = format!("http://{}/", proxy.second());
    let text = curl(&["--http2-prior-knowledge", "-H", "content-type: application/json", "-d", json::READ, &url]);
    assert!(text.contains("\"result\":\"a\""), "{text}; pings: {pings}, settings: {settings}");
    assert!(proxy.memory().is_none_or(|kib| kib < 400 << 10));
}

#[test]
fn a_client_that_sends_only_a_preface_is_cut() {
    let (_origin, proxy) = cleartext();
    let mut stream = TcpStream::connect(proxy.second()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&PREFACE[..20]).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}
