//! WebSocket connections: the handshake, frames in both directions, limits, and how they end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Answer, CLOSE_1001, Conf, Echo, Origin, Proxy, read_head, wait_until};

const HANDSHAKE: &str = "GET /ws?key=1 HTTP/1.1\r\nhost: proxy\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ncookie: secret\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

/// A client after its handshake.
struct Socket(TcpStream);

impl Socket {
    /// The status of the handshake, and the connection.
    fn open(proxy: &Proxy) -> (u16, Socket) {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(HANDSHAKE.as_bytes()).unwrap();
        let head = read_head(&mut stream).unwrap();
        (head[9..12].parse().unwrap(), Socket(stream))
    }

    fn greeted(proxy: &Proxy, path: &str) -> Socket {
        let (status, mut socket) = Socket::open(proxy);
        assert_eq!(status, 101);
        assert_eq!(socket.read(2 + path.len())[2..], *path.as_bytes());
        socket
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn is_over(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok() && rest.is_empty()
    }
}

fn conf(echo: &Echo) -> Conf {
    Conf::of([]).and(echo.endpoint("a"))
}

/// Bytes pass in both directions unread, on pools of both protocols.
#[test]
fn frames_pass_both_ways() {
    let echo = Echo::start();
    for (protocol, path) in [("'json-rpc'", "/base"), ("'http'", "/base/ws?key=1")] {
        let proxy = Proxy::start(&conf(&echo).set("protocol", protocol));
        let mut socket = Socket::greeted(&proxy, path);
        let frame = [&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 4 + (64 << 10)]].concat();
        for _ in 0..3 {
            socket.0.write_all(&frame).unwrap();
            assert!(socket.read(frame.len()) == frame);
        }
        let open = || proxy.metrics().sum("websocket_connections", &[]);
        assert_eq!((open(), proxy.endpoint("a")["in_flight"].as_u64()), (1.0, Some(1)));
        drop(socket);
        wait_until("the endpoint is left", || echo.open() == 0);
        wait_until("it is counted as over", || open() == 0.0);
        wait_until("it is logged", || proxy.lines("method=\"websocket\"") == 1 && proxy.lines("status=101") == 1);
    }
}

#[test]
fn an_endpoint_may_have_another_url_for_them() {
    let (echo, origin) = (Echo::start(), Origin::start("a"));
    let ws_url = format!("'ws://{}/other?key=2'", echo.address());
    let proxy = Proxy::start(&Conf::of([&origin]).endpoint(0, |endpoint| endpoint.set("ws_url", &ws_url)));
    Socket::greeted(&proxy, "/other?key=2");
    assert_eq!(origin.hits(), 0);
}

/// Until an endpoint has answered the handshake, another one may.
#[test]
fn a_handshake_that_fails_is_tried_elsewhere() {
    let (echo, refusing) = (Echo::start(), Origin::refusing("refusing"));
    let (hanging, broken) = (Origin::always("hanging", Answer::hang()), Origin::always("broken", Answer::status(502)));
    for bad in [&refusing, &hanging, &broken] {
        let conf = Conf::of([bad]).and(echo.endpoint("a")).client("timeout", "'300ms'");
        Socket::greeted(&Proxy::start(&conf), "/base");
    }
    // A page of another site.
    let proxy = Proxy::start(&conf(&echo));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(HANDSHAKE.replace("host: proxy", "host: proxy\r\norigin: https://a.example").as_bytes()).unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 403 "));
    let none = Origin::always("none", Answer::status(404));
    let proxy = Proxy::start(&Conf::of([&none]));
    assert_eq!(Socket::open(&proxy).0, 404, "the endpoint's own answer");
    let head = none.last().head;
    assert!(head.get("sec-websocket-key").is_some());
    assert_eq!((head.get("cookie"), head.get("x-forwarded-for")), (None, None), "a provider has no use for them");
}

#[test]
fn connections_have_limits() {
    let echo = Echo::start();
    let limited = |limits: &str| Proxy::start(&conf(&echo).set("websocket", limits));
    for (limits, status) in [("{ max_connections = 1 }", 503), ("{ max_per_client = 1 }", 429)] {
        let proxy = limited(limits);
        let first = Socket::greeted(&proxy, "/base");
        assert_eq!(Socket::open(&proxy).0, status, "{limits}");
        drop(first);
        wait_until("there is room", || Socket::open(&proxy).0 == 101);
    }
}

#[test]
fn a_connection_that_is_idle_is_closed() {
    let echo = Echo::start();
    let proxy = Proxy::start(&conf(&echo).set("websocket", "{ idle_timeout = '300ms' }"));
    let mut socket = Socket::greeted(&proxy, "/base");
    assert_eq!(socket.read(4), CLOSE_1001);
    assert!(socket.is_over());
    wait_until("the endpoint has its close", || echo.open() == 0);
}

#[test]
fn a_silent_client_gets_a_ping_and_is_closed_if_it_does_not_answer() {
    let echo = Echo::start();
    let proxy = Proxy::start(&conf(&echo).set("websocket", "{ ping_interval = '200ms' }"));
    let mut socket = Socket::greeted(&proxy, "/base");
    assert_eq!(socket.read(2), [0x89, 0]);
    // A masked pong, which the endpoint gets.
    let pong = [0x8a, 0x80, 1, 2, 3, 4];
    socket.0.write_all(&pong).unwrap();
    assert_eq!(socket.read(6), pong);
    assert_eq!(socket.read(2), [0x89, 0]);
    assert_eq!(socket.read(4), CLOSE_1001);
    assert!(socket.is_over());
}

/// A close doesn't cut a frame.
#[test]
fn a_drain_closes_connections_between_frames() {
    let echo = Echo::start();
    let proxy = Proxy::start(&conf(&echo));
    let mut idle = Socket::greeted(&proxy, "/base");
    let mut busy = Socket::greeted(&proxy, "/base");
    // The first half of a frame, which comes back.
    let (first, second) = ([0x82, 0x84, 0, 0, 0, 0, 1, 2], [3, 4]);
    busy.0.write_all(&first).unwrap();
    assert_eq!(busy.read(8), first);
    proxy.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(idle.read(4), CLOSE_1001);
    busy.0.write_all(&second).unwrap();
    assert_eq!(busy.read(2), second);
    assert_eq!(busy.read(4), CLOSE_1001);
    assert!(idle.is_over() && busy.is_over());
    assert_eq!(proxy.wait_exit(), Some(0));
}

#[test]
fn a_reload_that_removes_the_endpoint_closes_its_connections() {
    let (echo, other) = (Echo::start(), Echo::start());
    let before =
        Conf::of([]).and(echo.endpoint("a")).and(other.endpoint("b").weight(1)).server("shutdown_grace", "'0s'");
    let proxy = Proxy::start(&before);
    let mut socket = Socket::greeted(&proxy, "/base");
    proxy.rewrite_conf(&before.clone().set("max_attempts", "2"));
    assert!(proxy.reload_by_signal());
    socket.0.write_all(&[0x81, 0x80, 0, 0, 0, 0]).unwrap();
    assert_eq!(socket.read(6)[0], 0x81, "its endpoint is still there");
    proxy.rewrite_conf(&Conf::of([]).and(other.endpoint("b")).server("shutdown_grace", "'0s'"));
    assert!(proxy.reload_by_signal());
    assert_eq!(socket.read(4), CLOSE_1001);
    assert!(socket.is_over());
    assert_eq!(Socket::open(&proxy).0, 101);
}
