//! Raw bytes for the admin address: accepted, forbidden and ambiguous requests.
//!
//! The table documents the rules. `@` stands for the admin port; a request is built from its lines.

use std::time::{Duration, Instant};

use crate::support::{Client, Conf, Origin, Proxy, wait_until};

/// Without a token: request line, headers, body, and the status of the answer. 0 means a connection
/// that ends without an answer.
type Case = (&'static str, &'static [&'static str], &'static str, u16);

const GET: &str = "GET /status HTTP/1.1";
const RELOAD: &str = "POST /reload HTTP/1.1";
const ROLLBACK: &str = "POST /rollback HTTP/1.1";
const LOCAL: &str = "Host: 127.0.0.1:@";

#[rustfmt::skip]
const WITHOUT_TOKEN: [Case; 106] = [
    // Names of this host.
    (GET, &["Host: 127.0.0.1:@"], "", 200),
    (GET, &["Host: 127.0.0.1"], "", 200),
    (GET, &["Host: 127.0.0.1:"], "", 200),
    (GET, &["Host: 127.0.0.1:9"], "", 200),
    (GET, &["Host: 127.9.8.7:@"], "", 200),
    (GET, &["Host: localhost:@"], "", 200),
    (GET, &["Host: LocalHost:@"], "", 200),
    (GET, &["Host: localhost."], "", 200),
    (GET, &["Host: [::1]:@"], "", 200),
    (GET, &["Host: [0:0:0:0:0:0:0:1]"], "", 200),
    (GET, &["Host: [::ffff:127.0.0.1]:@"], "", 200),
    (GET, &["host:127.0.0.1"], "", 200),
    (GET, &["Host: metrics.example:@"], "", 200),
    (GET, &["Host: METRICS.EXAMPLE"], "", 200),
    // Names that another site may resolve to this host.
    (GET, &["Host: evil.example"], "", 421),
    (GET, &["Host: evil.example:@"], "", 421),
    (GET, &["Host: localhost.evil.example"], "", 421),
    (GET, &["Host: evil.localhost"], "", 421),
    (GET, &["Host: metrics.example.evil"], "", 421),
    (GET, &["Host: xmetrics.example"], "", 421),
    (GET, &["Host: 0.0.0.0:@"], "", 421),
    (GET, &["Host: 0:@"], "", 421),
    (GET, &["Host: 127.1:@"], "", 421),
    (GET, &["Host: 0x7f000001:@"], "", 421),
    (GET, &["Host: 2130706433:@"], "", 421),
    (GET, &["Host: 127.0.0.1.evil.example"], "", 421),
    (GET, &["Host: [::]:@"], "", 421),
    (GET, &["Host: [::2]"], "", 421),
    (GET, &["Host: [::ffff:10.0.0.1]"], "", 421),
    (GET, &["Host: 10.0.0.1:@"], "", 421),
    (GET, &["Host:"], "", 421),
    (GET, &["Host: :@"], "", 421),
    ("GET /metrics HTTP/1.1", &["Host: evil.example"], "", 421),
    ("GET /explain HTTP/1.1", &["Host: evil.example"], "", 421),
    ("GET /shadow HTTP/1.1", &["Host: evil.example"], "", 421),
    ("GET /nothing HTTP/1.1", &["Host: evil.example"], "", 421),
    ("GET /status HTTP/1.0", &[], "", 421),
    (RELOAD, &["Host: evil.example"], "", 421),
    (RELOAD, &["Host: evil.example", "Origin: http://evil.example"], "", 421),
    (ROLLBACK, &["Host: evil.example:@"], "", 421),
    // Invalid hosts.
    (GET, &[], "", 400),
    (GET, &["Host: 127.0.0.1", "Host: 127.0.0.1"], "", 400),
    (GET, &["Host: 127.0.0.1", "host: evil.example"], "", 400),
    (GET, &["Host: 127.0.0.1, evil.example"], "", 400),
    (GET, &["Host: evil.example@127.0.0.1"], "", 400),
    (GET, &["Host: 127.0.0.1@evil.example"], "", 400),
    (GET, &["Host: 127.0.0.1/evil"], "", 400),
    (GET, &["Host: http://127.0.0.1"], "", 400),
    (GET, &["Host: 127.0.0.1:port"], "", 400),
    (GET, &["Host: 127.0.0.1:99999"], "", 400),
    (GET, &["Host: 127.0.0.1:1:2"], "", 400),
    (GET, &["Host: [::1"], "", 400),
    (GET, &["Host: [::1]x"], "", 400),
    (GET, &["Host: [evil]"], "", 400),
    (GET, &["Host: local\thost"], "", 400),
    // Targets.
    ("GET http://127.0.0.1:@/status HTTP/1.1", &[LOCAL], "", 200),
    ("GET HTTP://127.0.0.1:@/status HTTP/1.1", &[LOCAL], "", 200),
    ("GET http://evil.example/status HTTP/1.1", &[LOCAL], "", 400),
    ("GET http://127.0.0.1:@@evil.example/status HTTP/1.1", &[LOCAL], "", 400),
    ("GET http://evil.example/status HTTP/1.1", &["Host: evil.example"], "", 421),
    ("GET https://127.0.0.1:@/status HTTP/1.1", &[LOCAL], "", 400),
    ("GET status HTTP/1.1", &[LOCAL], "", 400),
    ("CONNECT 127.0.0.1:@ HTTP/1.1", &[LOCAL], "", 400),
    ("OPTIONS * HTTP/1.1", &[LOCAL], "", 404),
    ("GET /%73tatus HTTP/1.1", &[LOCAL], "", 404),
    ("GET //status HTTP/1.1", &[LOCAL], "", 404),
    ("GET /x/../status HTTP/1.1", &[LOCAL], "", 404),
    // Methods.
    ("HEAD /health HTTP/1.1", &[LOCAL], "", 200),
    ("GET /reload HTTP/1.1", &[LOCAL], "", 405),
    ("HEAD /rollback HTTP/1.1", &[LOCAL], "", 405),
    ("OPTIONS /reload HTTP/1.1", &[LOCAL], "", 405),
    ("OPTIONS /reload HTTP/1.1", &[LOCAL, "Origin: http://evil.example", "Access-Control-Request-Method: POST"], "", 403),
    ("PUT /reload HTTP/1.1", &[LOCAL], "", 405),
    ("GET /reload HTTP/1.1", &[LOCAL, "X-HTTP-Method-Override: POST"], "", 405),
    ("POST /status HTTP/1.1", &[LOCAL], "", 405),
    // Health reveals nothing and needs no token.
    ("GET /health HTTP/1.1", &["Host: 10.0.0.1:@"], "", 200),
    ("GET /health HTTP/1.0", &[], "", 200),
    ("GET /health HTTP/1.1", &[], "", 400),
    // Changes requested by web pages.
    (RELOAD, &[LOCAL], "", 200),
    (RELOAD, &[LOCAL, "Origin: http://127.0.0.1:@"], "", 200),
    (RELOAD, &[LOCAL, "Origin: http://127.0.0.1:@", "Sec-Fetch-Site: same-origin"], "", 200),
    (RELOAD, &[LOCAL, "Sec-Fetch-Site: none"], "", 200),
    (RELOAD, &[LOCAL, "Origin: https://127.0.0.1:@"], "", 200),
    (RELOAD, &[LOCAL, "Origin: null"], "", 403),
    (RELOAD, &[LOCAL, "Origin:"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://evil.example"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://localhost:@"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://127.0.0.1"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://127.0.0.1:1"], "", 403),
    (RELOAD, &[LOCAL, "Origin: file://127.0.0.1:@"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://127.0.0.1:@ http://evil.example"], "", 403),
    (RELOAD, &[LOCAL, "Sec-Fetch-Site: cross-site"], "", 403),
    (RELOAD, &[LOCAL, "Sec-Fetch-Site: same-site"], "", 403),
    (RELOAD, &[LOCAL, "Sec-Fetch-Site: whatever"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://127.0.0.1:@", "Sec-Fetch-Site: cross-site"], "", 403),
    (RELOAD, &[LOCAL, "Origin: http://127.0.0.1:@", "Origin: http://evil.example"], "", 400),
    (RELOAD, &[LOCAL, "Origin: null", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3"], "a=b", 403),
    (ROLLBACK, &[LOCAL, "Origin: http://evil.example"], "", 403),
    (ROLLBACK, &[LOCAL, "Origin: null"], "", 403),
    // Bodies and framing.
    (RELOAD, &[LOCAL, "Content-Length: 2"], "{}", 200),
    (RELOAD, &[LOCAL, "Content-Length: 65537"], "", 413),
    (RELOAD, &[LOCAL, "Content-Length: 99999999999999999999999"], "", 413),
    (RELOAD, &[LOCAL, "Content-Length: -1"], "", 400),
    (RELOAD, &[LOCAL, "Transfer-Encoding: chunked"], "0\r\n\r\n", 411),
    (RELOAD, &[LOCAL, "Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n", 400),
];

#[rustfmt::skip]
const ODD_FRAMES: [(&str, u16); 22] = [
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2, 2\r\n\r\n{}", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: +2\r\n\r\n{}", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0x2\r\n\r\n{}", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length:\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: identity\r\n\r\n", 411),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 411),
    ("POST /reload HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n folded\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\nHost: 127.0.0.1\n\n", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\rX: a\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n", 400),
    ("POST  /reload HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
    ("POST /reload HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n", 400),
    ("POST /reload\r\nHost: 127.0.0.1\r\n\r\n", 400),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
    ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nbad name: x\r\n\r\n", 400),
    ("\r\n\r\n\r\n", 400),
];

/// With a token, which is `open-sesame`.
#[rustfmt::skip]
const WITH_TOKEN: [Case; 21] = [
    (GET, &["Host: evil.example", "Authorization: Bearer open-sesame"], "", 200),
    (GET, &["Host: x", "Authorization: bearer open-sesame"], "", 200),
    (GET, &["Host: x", "Authorization: BEARER open-sesame"], "", 200),
    (GET, &["Host: x", "Authorization: Bearer   open-sesame"], "", 200),
    (GET, &["Host: x", "authorization:Bearer open-sesame "], "", 200),
    (GET, &["Host: x"], "", 401),
    (GET, &["Host: 127.0.0.1"], "", 401),
    (GET, &["Host: x", "Authorization: Bearer open-sesamE"], "", 401),
    (GET, &["Host: x", "Authorization: Bearer"], "", 401),
    (GET, &["Host: x", "Authorization: Beareropen-sesame"], "", 401),
    (GET, &["Host: x", "Authorization: open-sesame"], "", 401),
    (GET, &["Host: x", "Authorization: Basic open-sesame"], "", 401),
    (GET, &["Host: x", "Authorization: Bearer open-sesame, Bearer x"], "", 401),
    (GET, &["Host: x", "Authorization: Bearer open-sesame", "Authorization: Bearer open-sesame"], "", 400),
    (GET, &["Host: x", "Authorization: Bearer x", "Authorization: Bearer open-sesame"], "", 400),
    ("GET /health HTTP/1.1", &["Host: x"], "", 200),
    ("GET /nothing HTTP/1.1", &["Host: x"], "", 401),
    (RELOAD, &["Host: x", "Content-Length: 100000"], "", 401),
    (RELOAD, &["Host: x", "Authorization: Bearer open-sesame"], "", 200),
    (RELOAD, &["Host: x", "Authorization: Bearer open-sesame", "Origin: http://evil.example"], "", 403),
    (RELOAD, &["Host: x", "Authorization: Bearer open-sesame", "Origin: https://x"], "", 200),
];

fn written(proxy: &Proxy, (line, headers, body, _): &Case) -> String {
    let head: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let port = proxy.admin_address().port().to_string();
    // A doubled `@` stands for a literal one, as in a URL's user part.
    format!("{line}\r\n{head}\r\n{body}")
        .replace("@@", "\u{1}")
        .replace(":@", &format!(":{port}"))
        .replace('\u{1}', "1@")
}

fn run(proxy: &Proxy, cases: &[Case]) {
    let results = |proxy: &Proxy| proxy.reloads_with(&["success", "failure"]);
    for case in cases {
        let text = written(proxy, case);
        let before = results(proxy);
        let mut client = proxy.admin_client();
        client.send(&text);
        let head = client.read_head().unwrap_or_else(|error| panic!("{error}: {text:?}"));
        let status: u16 = head.first_line.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(status, case.3, "{text:?}");
        assert!(client.read_rest().is_ok(), "the connection ends: {text:?}");
        assert_eq!(head.names().iter().filter(|name| name.starts_with("access-control")).count(), 0, "{text:?}");
        assert_eq!(head.get("www-authenticate").is_some(), status == 401, "{text:?}");
        let changed = results(proxy) > before;
        assert_eq!(changed, status == 200 && case.0.starts_with("POST"), "{text:?}");
    }
}

fn conf(origin: &Origin) -> Conf {
    Conf::of([origin]).admin("hosts", "['Metrics.example']")
}

#[test]
fn pages_of_other_sites_are_kept_away_and_nothing_ambiguous_is_answered() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&conf(&good));
    run(&proxy, &WITHOUT_TOKEN);
    for (text, status) in ODD_FRAMES {
        let mut client = proxy.admin_client();
        client.send(text);
        assert_eq!(client.read().status, status, "{text:?}");
    }
    let mut client = proxy.admin_client();
    client.send("GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(client.read().json()["error"].as_str().unwrap().contains("admin.hosts"), "it says what to set");
}

#[test]
fn a_token_stands_in_for_the_name_but_not_for_the_origin() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&conf(&good).admin("token", "'open-sesame'"));
    let results = |name: &str| {
        let mut client = proxy.admin_client();
        client.send("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer open-sesame\r\n\r\n");
        let text = client.read().text();
        text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    for case in &WITH_TOKEN {
        let before = results("pointsman_reloads_total");
        let mut client = proxy.admin_client();
        let text = written(&proxy, case);
        client.send(&text);
        let response = client.read();
        assert_eq!(response.status, case.3, "{text:?}");
        assert_eq!(response.head.get("www-authenticate").is_some(), case.3 == 401, "{text:?}");
        let changed = results("pointsman_reloads_total") != before;
        assert_eq!(changed, case.3 == 200 && case.0.starts_with("POST"), "{text:?}");
    }
}

#[test]
fn what_follows_a_request_is_no_request() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&conf(&good));
    let one = format!("POST /reload HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.admin_address());
    let mut client = proxy.admin_client();
    client.send(one.repeat(3));
    assert_eq!(client.read().json()["generation"], 2);
    assert!(client.is_closed_by_server());
    assert_eq!(proxy.reloads("success"), 1.0);
}

/// Far more incomplete requests than allowed connections.
#[test]
fn half_requests_end_and_keep_nobody_out() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&conf(&good));
    let began = Instant::now();
    let mut half: Vec<Client> = (0..300)
        .map(|number| {
            let mut client = proxy.admin_client();
            let beginnings = ["", "GET /sta", "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n"];
            client.send(beginnings[number % 3]);
            client
        })
        .collect();
    assert_eq!(proxy.admin("GET", "/health").status, 200);
    assert_eq!(proxy.post_reload().status, 200);
    // The oldest were closed to make room before their timeout, which would send an answer.
    assert!(half[1].is_closed_by_server());
    let last = half.last_mut().unwrap();
    assert_eq!(last.read().status, 408, "the newest have the time of a head, and no more");
    assert!(began.elapsed() >= Duration::from_secs(9), "not before its time");
    wait_until("all have ended", || proxy.open_files().is_none_or(|files| files < 150));
}

#[test]
fn a_head_and_a_body_have_their_limits() {
    let good = Origin::start("good");
    let proxy = Proxy::start(&conf(&good));
    let start = format!("GET /status HTTP/1.1\r\nHost: {}\r\n", proxy.admin_address());
    let status = |text: String| {
        let mut client = proxy.admin_client();
        let _ = client.try_send(text);
        client.read().status
    };
    assert_eq!(status(format!("{start}X: {}\r\n\r\n", "x".repeat(20_000))), 431);
    assert_eq!(status(format!("{start}{}\r\n", "X: x\r\n".repeat(100))), 431);
    let post = start.replace("GET /status", "POST /reload");
    assert_eq!(status(format!("{post}Content-Length: 60000\r\n\r\n{}", "x".repeat(60_000))), 200);
    let mut client = proxy.admin_client();
    client.send(format!("{post}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    assert_eq!(client.read().status, 100);
    client.send("{}");
    assert_eq!(client.read().status, 200);
}
