//! A server of WebSocket connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::conf::Endpoint;

/// A close with the status "going away".
pub const CLOSE_1001: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// A server that answers every handshake and then sends back what it gets, unmasked as it is.
pub struct Echo {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
}

impl Echo {
    pub fn start() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&open);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, count) = (stream.unwrap(), Arc::clone(&count));
                std::thread::spawn(move || echo(stream, &count));
            }
        });
        Echo { address, open }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// An endpoint whose path is `/base`.
    pub fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint::new(&format!("http://{}/base", self.address), name)
    }
}

/// The first message is the path of the handshake. A close is answered and ends the connection.
fn echo(mut stream: TcpStream, open: &AtomicUsize) {
    let Some(head) = read_head(&mut stream) else { return };
    open.fetch_add(1, SeqCst);
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let answer = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";
    let greeting = [&[0x81, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    stream.write_all(&[answer.as_bytes(), &greeting].concat()).unwrap();
    let mut piece = [0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        let (data, close) = split_close(&piece[..count]);
        let _ = stream.write_all(&[data, &close].concat());
        if !close.is_empty() {
            break;
        }
    }
    open.fetch_sub(1, SeqCst);
}

/// The data, and the answer to a masked close behind it.
fn split_close(bytes: &[u8]) -> (&[u8], Vec<u8>) {
    match bytes.split_last_chunk() {
        Some((data, [0x88, 0x82, a, b, _, _, x, y])) => (data, vec![0x88, 2, x ^ a, y ^ b]),
        _ => (bytes, Vec::new()),
    }
}

/// The next head of a connection; `None` at its end.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}
