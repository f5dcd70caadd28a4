//! Long bodies through pools of plain HTTP: every byte arrives, and the proxy holds next to nothing of
//! them, however slowly one side reads.
//!
//! `LARGE_MIB` sets the size of a body; `make large` takes 2 GiB and the release binary.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;

use crate::listeners::{TLS_A, with};
use crate::support::{Authority, Conf, Endpoint, Head, Http2Client, PATIENCE, Proxy, TlsClient, wait_for, wait_until};

mod depot;

use depot::{Depot, is_piece, piece_of};

const DEFAULT_MIB: u64 = 256;
/// A body that stalls: more than the system's buffers of both connections hold.
const STALLING: u64 = 64 << 20;
/// Memory above the idle process's.
const ALLOWED_KIB: u64 = 64 << 10;
/// Requests of each kind whose other side doesn't read.
const STALLED: usize = 4;
/// A transfer that makes no progress for this long has stalled. A busy machine may stall one, too:
/// then less has arrived than could, and the expectations hold all the same.
const STILL: Duration = Duration::from_secs(1);

#[test]
fn long_bodies_pass_both_ways_and_are_not_held() {
    let mib = std::env::var("LARGE_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_MIB);
    let size = mib << 20;
    let (depot, proxy, tls) = start(size);
    let memory = Memory::of(&proxy);
    for version in ["HTTP/1.1", "HTTP/2"] {
        let connect = || Wire::connect(&proxy, (version == "HTTP/2").then_some(&tls));
        let began = Instant::now();
        connect().upload("/", size, &AtomicU64::new(0));
        println!("{version}: {} MiB up in {:.1?}; {memory}", mib, began.elapsed());
        let began = Instant::now();
        connect().download(size, || {});
        println!("{version}: {} MiB down in {:.1?}; {memory}", mib, began.elapsed());
    }
    memory.expect_flat();
    assert!(depot.connections() <= 2, "a transfer leaves its connection usable, which a worker keeps");
}

#[test]
fn a_side_that_does_not_read_stops_the_other() {
    let (depot, proxy, tls) = start(STALLING);
    let memory = Memory::of(&proxy);
    let (uploaded, reading) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Also when an expectation fails: the scope waits for its threads.
        let release = Release { depot: &depot, reading: &reading };
        for number in 0..2 * STALLED {
            let connect = || Wire::connect(&proxy, (number % 2 == 0).then_some(&tls));
            let (upload, download) = (connect(), connect());
            scope.spawn(|| upload.upload("/held", STALLING, &uploaded));
            scope.spawn(|| download.download(STALLING, || wait_until("the client reads", || reading.load(SeqCst))));
        }
        let whole = 2 * STALLED as u64 * STALLING;
        let (sent, made) = (stalled(|| uploaded.load(SeqCst)), stalled(|| depot.sent()));
        println!("stalled: {} MiB up and {} MiB down of {} MiB; {memory}", sent >> 20, made >> 20, whole >> 20);
        assert!(sent > 0 && made > 0 && sent < whole && made < whole);
        memory.expect_flat();
        drop(release);
    });
    // Each transfer came to its end.
    assert_eq!(uploaded.load(SeqCst), depot.sent());
    memory.expect_flat();
}

/// The first value that stays for a while.
fn stalled(value: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (value(), Instant::now());
    wait_for("the transfers stall", || {
        let now = value();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (now > 0 && since.elapsed() > STILL).then_some(now)
    })
}

/// Lets the sides that don't read go on.
struct Release<'a> {
    depot: &'a Depot,
    reading: &'a AtomicBool,
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.depot.open();
        self.reading.store(true, SeqCst);
    }
}

/// A proxy before an endpoint with bodies of `size` bytes.
fn start(size: u64) -> (Depot, Proxy, TlsClient) {
    let (depot, authority) = (Depot::start(size), Authority::new());
    let endpoint = Endpoint::new(&format!("http://{}", depot.address), "depot");
    let conf = Conf::with([endpoint]).set("protocol", "'http'").set("deadline", "'600s'").client("timeout", "'20s'");
    let conf = with(conf, "a", &authority.certify(&["a.example"])).listener(TLS_A);
    (depot, Proxy::start(&conf), TlsClient::trusting(&authority))
}

/// The proxy's memory above that of the idle process.
struct Memory<'a> {
    proxy: &'a Proxy,
    idle: Option<u64>,
}

impl Memory<'_> {
    fn of(proxy: &Proxy) -> Memory<'_> {
        proxy.forget_peak_memory();
        Memory { proxy, idle: proxy.memory() }
    }

    /// The most so far, in KiB; `None` if the system doesn't report it.
    fn growth(&self) -> Option<u64> {
        Some(self.proxy.peak_memory()?.saturating_sub(self.idle?))
    }

    #[track_caller]
    fn expect_flat(&self) {
        assert!(self.growth().is_none_or(|growth| growth <= ALLOWED_KIB), "{self}");
    }
}

impl fmt::Display for Memory<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory: {:?} KiB, at most {:?} more", self.idle, self.growth())
    }
}

/// A client's connection: HTTP/1.1 in cleartext, or HTTP/2 over TLS.
enum Wire {
    Http1(TcpStream),
    Http2(Http2Client),
}

impl Wire {
    fn connect(proxy: &Proxy, tls: Option<&TlsClient>) -> Wire {
        if let Some(tls) = tls {
            return Wire::Http2(Http2Client::try_connect(tls, proxy.second(), "a.example").unwrap());
        }
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Wire::Http1(stream)
    }

    /// Sends a body, whose bytes are added to `sent` as they leave, and expects its length as the
    /// answer. In HTTP/2 it has no length beforehand.
    fn upload(self, path: &str, size: u64, sent: &AtomicU64) {
        let pieces = || {
            let mut position = 0;
            std::iter::from_fn(move || {
                let piece = piece_of(position, size);
                position += piece.len() as u64;
                (!piece.is_empty()).then_some(piece)
            })
        };
        let count = |piece: &[u8]| sent.fetch_add(piece.len() as u64, SeqCst);
        let answer = match self {
            Wire::Http1(mut stream) => {
                write!(stream, "PUT {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n").unwrap();
                for piece in pieces() {
                    stream.write_all(piece).unwrap();
                    count(piece);
                }
                let (_, mut body) = read_head(&mut stream);
                while body.len() < size.to_string().len() {
                    read_more(&mut stream, &mut body);
                }
                body
            }
            Wire::Http2(client) => {
                let mut exchange = client.begin(Method::PUT, path).unwrap();
                for piece in pieces() {
                    exchange.send(Bytes::from_static(piece), false).unwrap();
                    count(piece);
                }
                exchange.send(Bytes::new(), true).unwrap();
                exchange.response().unwrap().body
            }
        };
        assert_eq!(String::from_utf8(answer).unwrap(), size.to_string());
    }

    /// Gets a body and expects every byte of it. `begun` runs after the first ones.
    fn download(self, size: u64, begun: impl Fn()) {
        let mut position = 0;
        let mut expect = |piece: &[u8]| {
            if position == 0 && !piece.is_empty() {
                begun();
            }
            assert!(is_piece(position, piece), "wrong bytes near {position}");
            position += piece.len() as u64;
            position == size
        };
        match self {
            Wire::Http1(mut stream) => {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                let (head, mut piece) = read_head(&mut stream);
                assert_eq!(head.content_length(), usize::try_from(size).ok());
                while !expect(&piece) {
                    piece.clear();
                    read_more(&mut stream, &mut piece);
                }
            }
            Wire::Http2(client) => {
                let mut exchange = client.begin(Method::GET, "/").unwrap();
                exchange.send(Bytes::new(), true).unwrap();
                for piece in exchange.answer().unwrap().1 {
                    expect(&piece.unwrap());
                }
                assert!(expect(b""), "the body is incomplete");
            }
        }
    }
}

/// The head of an answer, and what came with it.
fn read_head(stream: &mut TcpStream) -> (Head, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some((head, length)) = Head::parse(&bytes) {
            return (head, bytes.split_off(length));
        }
        read_more(stream, &mut bytes);
    }
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) {
    let before = bytes.len();
    bytes.resize(before + (64 << 10), 0);
    let count = stream.read(&mut bytes[before..]).unwrap();
    assert!(count > 0, "the connection ended");
    bytes.truncate(before + count);
}
