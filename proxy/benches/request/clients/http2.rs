//! HTTP/2.

use anyhow::ensure;
use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{Method, Request, StatusCode};

use super::{RUNTIME, Stream};
use crate::authority::NAMES;
use crate::parts::{Case, Protocol};

pub struct Client(SendRequest<Bytes>);

impl Client {
    /// The connection ends with the client.
    pub(super) async fn over(stream: impl Stream + 'static) -> anyhow::Result<Client> {
        let (requests, connection) = handshake(stream).await?;
        drop(RUNTIME.spawn(connection));
        Ok(Client(requests))
    }

    pub(super) async fn exchange(&mut self, case: &Case) -> anyhow::Result<()> {
        let request = Request::builder().uri(format!("https://{}/", NAMES[0]));
        let (request, is_whole) = match case.protocol {
            Protocol::JsonRpc => {
                (request.method(Method::POST).header("content-type", "application/json").body(())?, false)
            }
            Protocol::Http => (request.body(())?, true),
        };
        futures_util::future::poll_fn(|cx| self.0.poll_ready(cx)).await?;
        let (response, mut body) = self.0.send_request(request, is_whole)?;
        if !is_whole {
            body.send_data(Bytes::from(case.request.clone()), true)?;
        }
        let response = response.await?;
        ensure!(response.status() == StatusCode::OK, "status {}", response.status());
        let mut body = response.into_body();
        while let Some(piece) = body.data().await {
            let size = piece?.len();
            body.flow_control().release_capacity(size)?;
        }
        Ok(())
    }
}
