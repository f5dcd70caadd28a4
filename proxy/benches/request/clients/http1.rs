//! HTTP/1.1.

use anyhow::{Context, ensure};
use testkit::Head;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Stream;
use crate::parts::{Case, Downstream};

const OK: &str = "HTTP/1.1 200";

pub struct Client(Box<dyn Stream>);

impl Client {
    pub(super) fn over(stream: Box<dyn Stream>) -> Client {
        Client(stream)
    }

    pub(super) async fn exchange(&mut self, case: &Case) -> anyhow::Result<()> {
        self.0.write_all(&case.bytes()).await?;
        self.0.flush().await?;
        let mut bytes = Vec::new();
        let (head, length) = loop {
            if let Some(known) = Head::parse(&bytes) {
                break known;
            }
            ensure!(self.0.read_buf(&mut bytes).await? > 0, "the connection was closed");
        };
        ensure!(head.first_line.starts_with(OK), "{}", head.first_line);
        let end = length + head.content_length().context("a response without a length")?;
        while bytes.len() < end {
            ensure!(self.0.read_buf(&mut bytes).await? > 0, "the connection was closed");
        }
        if case.downstream == Downstream::Handshakes {
            // Whether the proxy closes with an alert of TLS or without, the response was complete.
            let _ = self.0.read_buf(&mut bytes).await;
        }
        Ok(())
    }
}
