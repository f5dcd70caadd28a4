//! The PROXY protocol, versions 1 and 2: a load balancer's header with the address of its client,
//! before all other bytes of a connection.
//!
//! Only the bytes of the header are taken from the socket; TLS or HTTP begins right behind it.

use std::io;
use std::net::SocketAddr;

use memchr::memmem;
use ppp::{v1, v2};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The longest header of version 1 with its end of line, by the specification.
const LONGEST_V1: usize = 107;
/// The longest header of version 2. Its length field allows 64 KiB, of which addresses and usual
/// extensions need some hundred bytes; nginx takes 4 KiB, too.
const LONGEST_V2: usize = 4 << 10;
/// The part of a version 2 header that holds the length of the rest.
const FIXED_V2: usize = 16;

/// Why a connection has no client's address.
#[derive(Debug, Error)]
pub(super) enum HeaderError {
    #[error("the connection doesn't begin with a header of the PROXY protocol")]
    Missing,
    #[error("the header of the PROXY protocol is malformed or too long")]
    Malformed,
    #[error("the connection ended before its PROXY header did: {0}")]
    Closed(#[from] io::Error),
}

impl HeaderError {
    /// The label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            HeaderError::Missing => "missing",
            HeaderError::Malformed => "malformed",
            HeaderError::Closed(_) => "closed",
        }
    }
}

/// Reads the header. Returns the client's address: the peer's own, if the header names none, as
/// those of a load balancer's health checks.
///
/// # Errors
/// When there is no good header. Then nothing is known about the connection's next byte.
pub(super) async fn read(socket: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, HeaderError> {
    let (mut header, mut seen) = (Vec::new(), [0; LONGEST_V1]);
    loop {
        let count = socket.peek(&mut seen).await?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let begin = header.len();
        header.extend_from_slice(&seen[..count]);
        // Without a known end all of it belongs to the header.
        let length = length(&header)?;
        header.truncate(length.unwrap_or(header.len()));
        socket.read_exact(&mut header[begin..]).await?;
        if length.is_some_and(|length| length == header.len()) {
            return Ok(client(&header)?.unwrap_or(peer));
        }
    }
}

/// The length of the whole header, once it is known.
fn length(header: &[u8]) -> Result<Option<usize>, HeaderError> {
    let is_begun = |prefix: &[u8]| header.starts_with(prefix) || prefix.starts_with(header);
    if is_begun(v2::PROTOCOL_PREFIX) {
        let Some(fixed) = header.first_chunk::<FIXED_V2>() else { return Ok(None) };
        let [.., high, low] = *fixed;
        let length = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
        return if length > LONGEST_V2 { Err(HeaderError::Malformed) } else { Ok(Some(length)) };
    }
    if !is_begun(b"PROXY ") {
        return Err(HeaderError::Missing);
    }
    match memmem::find(header, b"\r\n").map(|at| at + 2) {
        Some(length) if length <= LONGEST_V1 => Ok(Some(length)),
        None if header.len() < LONGEST_V1 => Ok(None),
        _ => Err(HeaderError::Malformed),
    }
}

/// The client's address in a whole header, if it has one.
fn client(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    if header.starts_with(b"PROXY ") {
        let header = v1::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
        return Ok(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(addresses) => Some((addresses.source_address, addresses.source_port).into()),
            v1::Addresses::Tcp6(addresses) => Some((addresses.source_address, addresses.source_port).into()),
        });
    }
    let header = v2::Header::try_from(header).map_err(|_| HeaderError::Malformed)?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const PEER: &str = "192.0.2.9:9";

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    /// The result for a connection that brings `bytes` in pieces of `at_once`, and the bytes behind
    /// the header.
    async fn outcome(bytes: &[u8], at_once: usize) -> (Result<String, &'static str>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut load_balancer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        load_balancer.set_nodelay(true).unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        let bytes = bytes.to_vec();
        let writing = tokio::spawn(async move {
            for piece in bytes.chunks(at_once) {
                // The proxy may have closed.
                if load_balancer.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let read = read(&mut socket, PEER.parse().unwrap()).await;
        let mut rest = Vec::new();
        if read.is_ok() {
            socket.read_to_end(&mut rest).await.unwrap();
        }
        drop(socket);
        writing.await.unwrap();
        (read.map(|client| client.to_string()).map_err(|error| error.label()), rest)
    }

    #[tokio::test]
    async fn a_good_header_names_the_client_and_is_all_that_is_taken() {
        let ipv4 = [192, 0, 2, 1, 192, 0, 2, 2, 0x1f, 0x90, 0, 80];
        let ipv6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 16][..], &[0, 7, 0, 80]].concat();
        let with_extension = [&ipv4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        let longest = [&ipv4[..], &vec![0; LONGEST_V2 - FIXED_V2 - 12]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 8080 80\r\n".to_vec(), "192.0.2.1:8080"),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 7 80\r\n".to_vec(), "[2001:db8::1]:7"),
            (b"PROXY UNKNOWN\r\n".to_vec(), PEER),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), PEER),
            (v2(0x21, 0x11, &ipv4), "192.0.2.1:8080"),
            (v2(0x21, 0x21, &ipv6), "[2001:db8::1]:7"),
            (v2(0x21, 0x11, &with_extension), "192.0.2.1:8080"),
            (v2(0x21, 0x11, &longest), "192.0.2.1:8080"),
            // LOCAL, with and without addresses.
            (v2(0x20, 0x00, &[]), PEER),
            (v2(0x20, 0x11, &ipv4), PEER),
            // Addresses of no IP.
            (v2(0x21, 0x00, &[]), PEER),
            (v2(0x21, 0x31, &[0; 216]), PEER),
        ] {
            for (at_once, rest) in [(1, &b""[..]), (5, b"\r\nGET /"), (usize::MAX, b"PROXY \x16\x03\r\n")] {
                let bytes = [&header, rest].concat();
                let outcome = outcome(&bytes, at_once).await;
                assert_eq!(outcome, (Ok(expected.to_owned()), rest.to_vec()), "{header:?} by {at_once}");
            }
        }
    }

    #[tokio::test]
    async fn a_bad_header_is_refused_as_soon_as_it_is_bad() {
        let too_long = [b"PROXY UNKNOWN ", &[b'x'; 200][..], b"\r\n"].concat();
        for (bytes, expected) in [
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "missing"),
            (b"\x16\x03\x01".to_vec(), "missing"),
            (b"PROXX".to_vec(), "missing"),
            (b"\r\n\r\n\0\r\nQUIX".to_vec(), "missing"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 8080\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 8080 99999\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n".to_vec(), "malformed"),
            (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(), "malformed"),
            (too_long, "malformed"),
            (v2(0x31, 0x11, &[0; 12]), "malformed"),
            (v2(0x22, 0x11, &[0; 12]), "malformed"),
            (v2(0x21, 0x51, &[0; 12]), "malformed"),
            (v2(0x21, 0x11, &[0; 11]), "malformed"),
            (v2(0x21, 0x00, &vec![0; LONGEST_V2]), "malformed"),
            (b"PROXY TCP4 192".to_vec(), "closed"),
            (v2(0x21, 0x11, &[0; 12])[..20].to_vec(), "closed"),
            (Vec::new(), "closed"),
        ] {
            for at_once in [1, usize::MAX] {
                assert_eq!(outcome(&bytes, at_once).await.0, Err(expected), "{bytes:?}");
            }
        }
    }
}
