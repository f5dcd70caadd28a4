//! An endpoint for long bodies: it checks those that it gets as they arrive, and makes those that it
//! sends. Neither is ever in memory as a whole.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock};

use crate::support::wait_until;

/// Length of the bytes that every body repeats: a prime, so that no buffer's size divides it.
const PERIOD: usize = 65_521;
/// Bytes of one read.
const READ: usize = 64 << 10;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(PERIOD).collect()
});

/// Bytes of a body of `size` bytes from this position on, as many as are there at once.
pub(super) fn piece_of(position: u64, size: u64) -> &'static [u8] {
    let bytes = &PATTERN[usize::try_from(position % PERIOD as u64).unwrap()..];
    &bytes[..bytes.len().min(usize::try_from(size - position).unwrap_or(usize::MAX))]
}

/// Whether these are the bytes of a body from this position on.
pub(super) fn is_piece(position: u64, bytes: &[u8]) -> bool {
    let (mut position, end) = (position, position + bytes.len() as u64);
    let mut rest = bytes;
    while position < end {
        let expected = piece_of(position, end);
        let (first, others) = rest.split_at(expected.len());
        if first != expected {
            return false;
        }
        (position, rest) = (position + first.len() as u64, others);
    }
    true
}

/// A server of `PUT`, whose answer is the length of a good body, and of `GET`, for a body of a
/// fixed length. A body under `/held` isn't read until the depot is opened.
pub(super) struct Depot {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    size: u64,
    is_open: AtomicBool,
    connections: AtomicUsize,
    sent: AtomicU64,
}

impl Depot {
    /// Answers to `GET` have `size` bytes.
    pub(super) fn start(size: u64) -> Depot {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, connections, sent) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { size, is_open, connections, sent });
        let serving = Arc::clone(&shared);
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&serving));
                shared.connections.fetch_add(1, SeqCst);
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        Depot { address, shared }
    }

    /// Held bodies are read from now on.
    pub(super) fn open(&self) {
        self.shared.is_open.store(true, SeqCst);
    }

    /// Bytes of all bodies that it has sent.
    pub(super) fn sent(&self) -> u64 {
        self.shared.sent.load(SeqCst)
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }
}

impl Shared {
    /// An error ends the connection, and a client sees it.
    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(READ, stream);
        loop {
            let head = read_head(&mut reader)?;
            if head.contains("/held") {
                wait_until("the depot is open", || self.is_open.load(SeqCst));
            }
            if head.starts_with("get ") {
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", self.size)?;
                self.send(stream)?;
            } else {
                let length = receive(&mut reader, &head)?.to_string();
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{length}", length.len())?;
            }
        }
    }

    fn send(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut position = 0;
        while position < self.size {
            let piece = piece_of(position, self.size);
            stream.write_all(piece)?;
            position += piece.len() as u64;
            self.sent.fetch_add(piece.len() as u64, SeqCst);
        }
        Ok(())
    }
}

/// Reads a body and returns its length.
fn receive(reader: &mut impl BufRead, head: &str) -> io::Result<u64> {
    if let Some((_, rest)) = head.split_once("content-length: ") {
        let length = rest.lines().next().unwrap_or_default().parse().map_err(io::Error::other)?;
        return check(reader, 0, length);
    }
    let mut position = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        position = check(reader, position, length)?;
        reader.read_exact(&mut [0; 2])?;
        if length == 0 {
            return Ok(position);
        }
    }
}

/// Reads `length` bytes from this position of a body on. Returns the position behind them.
fn check(reader: &mut impl Read, mut position: u64, length: u64) -> io::Result<u64> {
    let (end, mut buffer) = (position + length, [0; READ]);
    while position < end {
        let most = READ.min(usize::try_from(end - position).unwrap_or(READ));
        let count = reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        assert!(is_piece(position, &buffer[..count]), "wrong bytes near {position}");
        position += count as u64;
    }
    Ok(position)
}

/// A head, in lower case.
fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head.to_ascii_lowercase())
}
