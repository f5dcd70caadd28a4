//! The origin of WebSocket connections: it accepts every handshake and replies to every message.
//! Other requests get the answer of a JSON-RPC node, for checks and health probes.

use std::net::SocketAddr;

use testkit::Head;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::clients::RUNTIME;
use super::origin::ADDRESSES;

/// A client's handshake, with the key of RFC 6455, section 1.2.
pub const HANDSHAKE: &[u8] = b"GET / HTTP/1.1\r\nhost: proxy\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// The text "Hello", masked and unmasked (section 5.7).
pub const MESSAGE: &[u8; 11] = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
pub const REPLY: &[u8; 7] = b"\x81\x05Hello";

/// A running origin. It accepts nothing more when it is dropped.
pub struct Origin {
    addresses: Vec<SocketAddr>,
    accepting: Vec<AbortHandle>,
}

impl Origin {
    /// Starts an origin that gives `answer` to other requests.
    pub fn start(answer: &str) -> std::io::Result<Origin> {
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        let mut origin = Origin { addresses: Vec::new(), accepting: Vec::new() };
        for _ in 0..ADDRESSES {
            let listener = RUNTIME.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
            origin.addresses.push(listener.local_addr()?);
            origin.accepting.push(RUNTIME.spawn(accept(listener, response.clone())).abort_handle());
        }
        Ok(origin)
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.iter().for_each(AbortHandle::abort);
    }
}

async fn accept(listener: TcpListener, response: String) {
    while let Ok((socket, _)) = listener.accept().await {
        let response = response.clone();
        drop(tokio::spawn(async move { serve(socket, response.as_bytes()).await }));
    }
}

/// Serves a connection until the proxy closes it.
async fn serve(mut socket: TcpStream, response: &[u8]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        while let Some((head, length)) = Head::parse(&bytes) {
            if head.get("upgrade").is_some() {
                socket.write_all(ACCEPTED).await?;
                return reply(socket).await;
            }
            let end = length + head.content_length().unwrap_or_default();
            while bytes.len() < end {
                read(&mut socket, &mut bytes).await?;
            }
            bytes.drain(..end);
            socket.write_all(response).await?;
        }
        read(&mut socket, &mut bytes).await?;
    }
}

/// Replies to each message. Pings and closes of the proxy end the connection.
async fn reply(mut socket: TcpStream) -> std::io::Result<()> {
    let mut message = [0; MESSAGE.len()];
    loop {
        socket.read_exact(&mut message).await?;
        if message != *MESSAGE {
            return Ok(());
        }
        socket.write_all(REPLY).await?;
    }
}

async fn read(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    match socket.read_buf(bytes).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
