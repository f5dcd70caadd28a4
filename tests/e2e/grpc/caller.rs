//! A client of [`service`](super::service).

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::Stream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::service::{RUNTIME, Raw};

/// A client of the service.
#[derive(Clone)]
pub(crate) struct Caller(tonic::client::Grpc<Channel>);

impl Caller {
    pub(crate) fn new(channel: Channel) -> Caller {
        Caller(tonic::client::Grpc::new(channel))
    }

    /// By prior knowledge.
    pub(crate) fn to(address: SocketAddr) -> Caller {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let _inside = RUNTIME.enter();
        Caller::new(endpoint.connect_lazy())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(format!("no connection: {error}")))
    }

    pub(crate) async fn call(&mut self, method: &str, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.ready().await?;
        self.0.unary(request, format!("/test.Echo/{method}").parse().unwrap(), Raw).await
    }

    /// A unary call, and the text of its reply.
    pub(crate) fn ask(&mut self, text: &str) -> Result<String, Status> {
        let request = Request::new(Bytes::from(text.to_owned()));
        let reply = RUNTIME.block_on(self.call("Unary", request))?;
        Ok(String::from_utf8(reply.into_inner().to_vec()).unwrap())
    }

    /// A unary call that may be repeated.
    pub(crate) fn ask_again(&mut self, text: &str) -> Result<String, Status> {
        let mut request = Request::new(Bytes::from(text.to_owned()));
        request.metadata_mut().insert("idempotency-key", "1".parse().unwrap());
        let reply = RUNTIME.block_on(self.call("Unary", request))?;
        Ok(String::from_utf8(reply.into_inner().to_vec()).unwrap())
    }

    pub(crate) async fn download(&mut self, numbers: &str) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let request = Request::new(Bytes::from(numbers.to_owned()));
        let path = "/test.Echo/Download".parse().unwrap();
        Ok(self.0.server_streaming(request, path, Raw).await?.into_inner())
    }

    pub(crate) async fn upload(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<String, Status> {
        self.ready().await?;
        let path = "/test.Echo/Upload".parse().unwrap();
        let reply = self.0.client_streaming(Request::new(messages), path, Raw).await?;
        Ok(String::from_utf8(reply.into_inner().to_vec()).unwrap())
    }

    pub(crate) async fn chat(
        &mut self,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let path = "/test.Echo/Chat".parse().unwrap();
        Ok(self.0.streaming(Request::new(messages), path, Raw).await?.into_inner())
    }
}
