//! The client's side of one request, which both lanes provide.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use pingora::{Error, Result};

/// Where the response to a request goes.
pub(super) trait Downstream: Send {
    /// Writes the head of the response.
    fn write_head(&mut self, head: ResponseHead) -> impl Future<Output = Result<()>> + Send;

    /// Writes a part of the body; `last`: the response ends with it.
    fn write_body(&mut self, bytes: Bytes, last: bool) -> impl Future<Output = Result<()>> + Send;

    /// Waits until the client closes its connection.
    fn gone(&mut self) -> impl Future<Output = Box<Error>> + Send;

    /// Ends keep-alive: the connection closes after this response.
    fn close(&mut self);
}

/// The head of a response to a JSON-RPC request.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    /// The type of the body; `None` without one.
    pub(super) content_type: Option<HeaderValue>,
    /// The length of the body, if it is known.
    pub(super) length: Option<usize>,
    pub(super) retry_after: Option<Duration>,
}

impl ResponseHead {
    /// The head of a response without a body.
    pub(super) fn without_body(status: StatusCode) -> Self {
        ResponseHead { status, content_type: None, length: None, retry_after: None }
    }
}
