//! curl and h2load, in cleartext and over TLS: many streams at once, uploads, pools of both protocols.
//!
//! `scripts/install-clients` installs h2load. Without it, its tests print one line and end; with
//! `CI=true` they fail.

use std::process::Command;

use crate::listeners::{TLS_A, with};
use crate::support::{Answer, Authority, CLOSE_1001, Conf, Echo, Origin, Proxy, json, optional, wait_until};

/// Streams of one connection at the same time.
const STREAMS: usize = 100;
/// Requests of a run of h2load.
const REQUESTS: usize = 2_000;

#[test]
fn curl_gets_each_of_a_hundred_streams_its_own_body() {
    let origin = Origin::scripted("a", |request| Answer::body(request.head.first_line.clone()));
    let (proxy, curl) = start(Conf::of([&origin]).set("protocol", "'http'"));
    let bodies = proxy.site().folder().join("bodies");
    std::fs::create_dir(&bodies).unwrap();
    let (urls, output) = (curl.url("/[1-100]"), format!("{}/#1", bodies.display()));
    let most = STREAMS.to_string();
    curl.run(&["--http2", "--parallel", "--parallel-max", &most, "--output", &output, &urls]);
    for number in 1..=STREAMS {
        let body = std::fs::read_to_string(bodies.join(number.to_string())).unwrap();
        assert_eq!(body, format!("GET /{number} HTTP/1.1"));
    }
    let handshakes = proxy.metrics().sum("tls_handshakes_total", &[]);
    assert!(handshakes <= 4.0, "{handshakes} connections for {STREAMS} streams");
}

/// curl announces a long body with `Expect: 100-continue` over HTTP/1.1.
#[test]
fn curl_uploads_and_asks_for_heads_and_ranges() {
    let origin = Origin::scripted("a", |request| match request.head.get("range") {
        Some("bytes=2-4") => Answer::body("234").with_status(206).header("content-range", "bytes 2-4/10"),
        _ if request.head.first_line.starts_with("HEAD") => Answer::body("").header("x-head", "1"),
        _ => Answer::body(request.body.clone()),
    });
    let (proxy, curl) = start(Conf::of([&origin]).set("protocol", "'http'"));
    let upload = proxy.site().folder().join("upload");
    std::fs::write(&upload, "0123456789abcdef".repeat(256 << 10)).unwrap();
    let expected = std::fs::read_to_string(&upload).unwrap();
    let (upload, cleartext) = (upload.to_str().unwrap(), format!("http://{}/x", proxy.address()));
    for (version, url, shown) in
        [("--http1.1", &curl.url("/x"), "1.1"), ("--http2", &curl.url("/x"), "2"), ("--http1.1", &cleartext, "1.1")]
    {
        let version = ["--write-out", "\n%{http_version} %{http_code}", version];
        let ended = format!("\n{shown} 200");
        let run = |more: &[&str]| curl.run(&[&version[..], more, &[url]].concat());
        assert!(run(&["--upload-file", upload]) == format!("{expected}{ended}"), "{shown} {url}");
        assert_eq!(run(&["--range", "2-4"]), format!("234\n{shown} 206"));
        let head = run(&["--head"]);
        assert!(head.contains("x-head: 1") && head.ends_with(&ended), "{head}");
    }
}

/// curl knows no WebSocket in every build, but passes on what follows a 101.
#[test]
fn curl_opens_a_websocket_and_sees_its_close() {
    let echo = Echo::start();
    let conf = Conf::with([echo.endpoint("a")]).set("websocket", "{ idle_timeout = '300ms' }");
    let (_proxy, curl) = start(conf);
    let headers = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let headers = headers.into_iter().chain(["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]);
    let headers: Vec<&str> = headers.flat_map(|header| ["--header", header]).collect();
    let bytes = curl.bytes(&[&["--http1.1", "--include", "--no-buffer"][..], &headers, &[&curl.url("/")]].concat());
    assert!(bytes.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&bytes));
    let frames = [&b"\x81\x05/base"[..], &CLOSE_1001].concat();
    assert!(bytes.ends_with(&frames), "{}", String::from_utf8_lossy(&bytes));
    wait_until("the endpoint has its close", || echo.open() == 0);
}

#[test]
fn h2load_gets_every_answer_of_a_json_rpc_pool() {
    let Some(h2load) = optional("h2load", "h2load", "scripts/install-clients") else { return };
    let origin = Origin::start("a");
    origin.forget();
    let (proxy, curl) = start(Conf::of([&origin]).with_shipped_policies());
    let body = proxy.site().folder().join("body");
    std::fs::write(&body, json::READ).unwrap();
    let post = ["--data", body.to_str().unwrap(), "--header", "content-type: application/json"];
    let length = proxy.post(json::READ).body.len();
    expect_all(Command::new(&h2load).args(post).arg(curl.url("/")), [2, STREAMS], length);
    expect_all(Command::new(&h2load).args(post).args(["--h1", &curl.url("/")]), [STREAMS, 1], length);
    expect_all(
        Command::new(&h2load).args(post).args(["--h1", &format!("http://{}/", proxy.address())]),
        [STREAMS, 1],
        length,
    );
}

#[test]
fn h2load_gets_every_answer_of_an_http_pool() {
    let Some(h2load) = optional("h2load", "h2load", "scripts/install-clients") else { return };
    let body = "0123456789".repeat(1_000);
    let origin = Origin::always("a", Answer::body(body.clone()));
    origin.forget();
    let (proxy, curl) = start(Conf::of([&origin]).set("protocol", "'http'"));
    expect_all(Command::new(&h2load).arg(curl.url("/x")), [2, STREAMS], body.len());
    expect_all(
        Command::new(&h2load).args(["--h1", &format!("http://{}/x", proxy.address())]),
        [STREAMS, 1],
        body.len(),
    );
    // By prior knowledge.
    let cleartext = Proxy::start(&Conf::of([&origin]).set("protocol", "'http'").listener("http2 = true"));
    expect_all(Command::new(&h2load).arg(format!("http://{}/x", cleartext.second())), [2, STREAMS], body.len());
}

/// Runs h2load with this many connections and requests at once over each, and expects a 2xx and a body of this length for each request.
#[track_caller]
fn expect_all(h2load: &mut Command, [connections, streams]: [usize; 2], length: usize) {
    let numbers = [connections, streams, REQUESTS].map(|number| number.to_string());
    let output = h2load.args(["-c", &numbers[0], "-m", &numbers[1], "-n", &numbers[2]]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let all = format!("{REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(text.contains(&all), "{text}");
    assert!(text.contains(&format!("status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{text}");
    assert!(text.contains(&format!("({}) data", REQUESTS * length)), "{length} bytes each: {text}");
}

/// A proxy with a cleartext and a TLS listener, and a curl that trusts it.
fn start(conf: Conf) -> (Proxy, Curl) {
    let authority = Authority::new();
    let conf = with(conf, "a", &authority.certify(&["localhost"])).file("ca.pem", &authority.pem());
    let proxy = Proxy::start(&conf.listener(TLS_A));
    let ca = proxy.site().folder().join("ca.pem").to_str().unwrap().to_owned();
    let curl = Curl { ca, port: proxy.second().port() };
    (proxy, curl)
}

struct Curl {
    ca: String,
    port: u16,
}

impl Curl {
    /// A URL of the TLS listener.
    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.bytes(arguments)).unwrap()
    }

    #[track_caller]
    fn bytes(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--cacert", &self.ca]).args(arguments);
        let output = command.output().expect("curl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
