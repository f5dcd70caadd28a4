//! An HTTP/1.1 connection, for both sides.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use testkit::{Head, dechunk};

/// A connection and the bytes read beyond the last message.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects to this address.
    pub async fn connect(address: SocketAddr) -> Result<Wire> {
        Wire::new(TcpStream::connect(address).await?)
    }

    /// An open connection.
    pub fn new(stream: TcpStream) -> Result<Wire> {
        stream.set_nodelay(true)?;
        Ok(Wire { stream, buffer: Vec::with_capacity(1024) })
    }

    /// Whether an idle connection is unusable.
    pub fn is_stale(&self) -> bool {
        match self.stream.try_read(&mut [0]) {
            Err(error) => error.kind() != ErrorKind::WouldBlock,
            // Closed, or unexpected bytes.
            Ok(_) => true,
        }
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads the next message. A body without a length extends to the end of the connection.
    pub async fn read(&mut self) -> Result<(Head, Vec<u8>)> {
        let (head, start) = loop {
            match Head::parse(&self.buffer) {
                Some(parsed) => break parsed,
                None => self.read_more().await?,
            }
        };
        self.buffer.drain(..start);
        let body = if head.is_chunked() {
            self.read_chunks().await?
        } else if let Some(length) = head.content_length() {
            while self.buffer.len() < length {
                self.read_more().await?;
            }
            self.buffer.drain(..length).collect()
        } else {
            self.stream.read_to_end(&mut self.buffer).await?;
            std::mem::take(&mut self.buffer)
        };
        Ok((head, body))
    }

    /// Waits until the other side closes.
    pub async fn closed(&mut self) {
        while self.read_more().await.is_ok() {}
    }

    /// Resets the connection.
    pub fn reset(self) {
        // Closing with a linger time of zero discards unsent data and sends a reset.
        let _ = self.stream.set_zero_linger();
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some((body, length)) = dechunk(&self.buffer) {
                self.buffer.drain(..length);
                return Ok(body);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Error::from(ErrorKind::UnexpectedEof)),
            _ => Ok(()),
        }
    }
}
