//! WebSocket (RFC 6455).

use anyhow::ensure;
use testkit::Head;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::websocket::{HANDSHAKE, MESSAGE, REPLY};

const ACCEPTED: &str = "HTTP/1.1 101";

pub struct Client(TcpStream);

impl Client {
    pub(super) async fn over(mut socket: TcpStream) -> anyhow::Result<Client> {
        socket.write_all(HANDSHAKE).await?;
        let mut bytes = Vec::new();
        let head = loop {
            if let Some((head, _)) = Head::parse(&bytes) {
                break head;
            }
            ensure!(socket.read_buf(&mut bytes).await? > 0, "the connection was closed");
        };
        ensure!(head.first_line.starts_with(ACCEPTED), "{}", head.first_line);
        Ok(Client(socket))
    }

    pub(super) async fn exchange(&mut self) -> anyhow::Result<()> {
        self.0.write_all(MESSAGE).await?;
        let mut reply = [0; REPLY.len()];
        self.0.read_exact(&mut reply).await?;
        ensure!(reply == *REPLY, "another message: {reply:?}");
        Ok(())
    }
}
