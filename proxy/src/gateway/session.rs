//! The client's side of a request in Pingora's session: HTTP/1.1 and HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};

use super::downstream::{Downstream, ResponseHead};
use super::own_answers::complete;
use crate::jsonrpc::whole_secs;
use crate::snapshot::{RouteId, Snapshot};

/// Seconds that a connection waits for its next request (nginx's default).
const KEEPALIVE_SECS: u64 = 75;
/// Time limit for draining a refused body, so that the client sees the refusal and not a reset.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Capacity for a response's own headers and the two that Pingora adds.
const ANSWER_HEADERS: usize = 6;
/// Keeps browsers from guessing another type.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Sets the limits that Pingora leaves open. The connection is kept alive if another request
/// `may_follow` and nothing has ended keep-alive before.
pub(super) fn set_limits(session: &mut ServerSession, may_follow: bool) {
    let kept = may_follow && session.get_keepalive().is_some();
    session.set_keepalive(kept.then_some(KEEPALIVE_SECS));
    // Bodies and responses have limits of their own, which cost nothing unless they wait.
    session.set_read_timeout(None);
    session.set_write_timeout(None);
    session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
}

/// The session of a JSON-RPC request.
pub(super) struct RpcSession<'s> {
    pub(super) session: &'s mut ServerSession,
    /// The request's route, which may add to the response.
    pub(super) route: Option<(Arc<Snapshot>, RouteId)>,
}

impl Downstream for RpcSession<'_> {
    async fn write_head(&mut self, head: ResponseHead) -> Result<()> {
        let mut head = build_head(self.session, head)?;
        if let Some(route) = self.route.as_ref().and_then(|(snapshot, id)| snapshot.route_by_id(*id)) {
            complete(route, &self.session.req_header().headers, &mut head);
        }
        self.session.write_response_header(Box::new(head)).await
    }

    async fn write_body(&mut self, bytes: Bytes, last: bool) -> Result<()> {
        self.session.write_response_body(bytes, last).await
    }

    async fn gone(&mut self) -> Box<Error> {
        // No bytes follow the request: see `bounds`.
        match self.session.read_body_or_idle(true).await {
            Err(error) => error,
            Ok(_) => Error::new(ErrorType::ConnectionClosed),
        }
    }

    fn close(&mut self) {
        self.session.set_keepalive(None);
    }
}

fn build_head(session: &ServerSession, said: ResponseHead) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build_no_case(said.status, Some(ANSWER_HEADERS))?;
    let has_body = said.content_type.is_some();
    if let Some(content_type) = said.content_type {
        head.insert_header(header::CONTENT_TYPE, content_type)?;
    }
    head.insert_header(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)?;
    match said.length {
        _ if !has_body => {}
        Some(length) => head.insert_header(header::CONTENT_LENGTH, length)?,
        // Without either, an HTTP/1.0 response ends with the connection, an HTTP/2 one with its
        // stream.
        None if session.req_header().version != Version::HTTP_11 => {}
        None => head.insert_header(header::TRANSFER_ENCODING, "chunked")?,
    }
    if said.status == StatusCode::METHOD_NOT_ALLOWED {
        head.insert_header(header::ALLOW, "POST")?;
    }
    if let Some(after) = said.retry_after {
        head.insert_header(header::RETRY_AFTER, whole_secs(after))?;
    }
    Ok(head)
}
