//! Probes over HTTP/2: a GET, and gRPC's health protocol
//! (`grpc.health.v1.Health/Check`).
//!
//! Their connections are the health checker's own: those of requests belong to the workers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Version, header};
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v2::client::Http2Session;
use tokio::time::timeout;

use super::connect_failure::{NO_HTTP2, UNRESOLVED};
use super::probe::wrong_status;
use super::target::{HttpVersion, Target};
use crate::clock;
use crate::model::{GRPC_CONTENT_TYPE, GRPC_STATUS, GrpcCode, ProbeFailure, grpc_status};

/// Maximum bytes read of a response.
const MAX_ANSWER: usize = 64 << 10;
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// The head of a gRPC message: not compressed, then the length.
const MESSAGE_HEAD: usize = 5;
/// Field 1 as a string, in the encoding of Protocol Buffers.
const SERVICE: u8 = 0x0a;
/// Field 1 as a number, then SERVING.
const SERVING: [u8; 2] = [0x08, 1];

const TIMED_OUT: ProbeFailure = ProbeFailure::new("timed out");

/// A response, as far as it was read.
struct Response {
    status: StatusCode,
    /// The trailers, if the status of a call is there.
    headers: HeaderMap,
    body: Bytes,
}

/// Sends a GET for `path`, and expects `status`, within `budget`.
///
/// # Errors
/// The reason for a missing or different response.
pub(super) async fn get(target: &Target, path: &str, status: u16, budget: Duration) -> Result<(), ProbeFailure> {
    let response = send(target, (Method::GET, path), None, budget).await?;
    if response.status.as_u16() == status { Ok(()) } else { Err(wrong_status(response.status)) }
}

/// Asks for the health of a service, within `budget`; the empty name is the server's.
///
/// # Errors
/// The reason for a missing answer, or that the service isn't serving.
pub async fn check_grpc(target: &Target, service: &str, budget: Duration) -> Result<(), ProbeFailure> {
    let path = target.destination.join(CHECK);
    let response = send(target, (Method::POST, &path), Some(health_request(service)), budget).await?;
    match (response.status, grpc_status(&response.headers)) {
        (StatusCode::OK, Some(code)) if code == GrpcCode::Unimplemented.code() => {
            Err(ProbeFailure::new("has no gRPC health service"))
        }
        (StatusCode::OK, Some(0)) if is_serving(&response.body) => Ok(()),
        (StatusCode::OK, Some(0)) => Err(ProbeFailure::new("its gRPC service is not serving")),
        (StatusCode::OK, _) => Err(ProbeFailure::new("gRPC error")),
        (status, _) => Err(wrong_status(status)),
    }
}

/// A `HealthCheckRequest` with its head.
fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::from(&[0; MESSAGE_HEAD][..]);
    // Up to 127 bytes, the conf's limit, the length is one byte.
    if let Ok(length @ 1..) = u8::try_from(service.len()) {
        message.extend_from_slice(&[SERVICE, length]);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len() - MESSAGE_HEAD).unwrap_or(u32::MAX);
    message[1..MESSAGE_HEAD].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}

/// Whether a `HealthCheckResponse` says SERVING.
fn is_serving(body: &[u8]) -> bool {
    body.get(MESSAGE_HEAD..).is_some_and(|message| message == SERVING)
}

/// Sends one probe. Its connection is kept for the next one, unless it answers too late.
async fn send(
    target: &Target,
    what: (Method, &str),
    body: Option<Bytes>,
    budget: Duration,
) -> Result<Response, ProbeFailure> {
    let began = clock::now();
    let peer = target.peer_for_proxy(budget, HttpVersion::Http2);
    let peer = peer.ok_or(ProbeFailure::new(UNRESOLVED))?;
    let head = head(target, what, body.is_some()).map_err(ProbeFailure::new)?;
    let connecting = timeout(budget, target.transport.http2.get_http_session(&peer)).await;
    let (session, _) = connecting
        .map_err(|_| TIMED_OUT)?
        // The next probe goes to the next address.
        .map_err(|error| ProbeFailure::new(target.fail_to_connect(&error)))?;
    let HttpSession::H2(mut stream) = session else {
        return Err(ProbeFailure::new(NO_HTTP2));
    };
    let left = budget.saturating_sub(clock::now().since(began));
    let answered = timeout(left, exchange(&mut stream, head, body)).await;
    if !matches!(answered, Ok(Ok(_))) {
        stream.conn.mark_shutdown();
    }
    let idle_timeout = Some(target.settings.idle_timeout);
    target.transport.http2.release_http_session(HttpSession::H2(stream), &peer, idle_timeout).await;
    answered.map_err(|_| TIMED_OUT)?.map_err(|_| ProbeFailure::new("the connection broke"))
}

fn head(target: &Target, (method, path): (Method, &str), is_call: bool) -> Result<RequestHeader, &'static str> {
    let destination = &target.destination;
    let scheme = if destination.tls { "https" } else { "http" };
    let authority = destination.authority.to_str().unwrap_or_default();
    let uri = format!("{scheme}://{authority}{path}");
    let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    if is_call {
        request = request.header(header::CONTENT_TYPE, GRPC_CONTENT_TYPE).header(header::TE, "trailers");
    }
    for (name, value) in &destination.headers {
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).map_err(|_| "the path can't be sent")?.into_parts();
    Ok(parts.into())
}

async fn exchange(stream: &mut Http2Session, head: RequestHeader, body: Option<Bytes>) -> pingora::Result<Response> {
    stream.write_request_header(Box::new(head), body.is_none())?;
    if let Some(body) = body {
        stream.write_request_body(body, true).await?;
    }
    stream.read_response_header().await?;
    let (status, headers) = stream
        .response_header()
        .map(|head| (head.status, head.headers.clone()))
        .unwrap_or((StatusCode::BAD_GATEWAY, HeaderMap::new()));
    let mut read = BytesMut::new();
    while read.len() < MAX_ANSWER
        && let Some(piece) = stream.read_response_body().await?
    {
        read.extend_from_slice(&piece);
    }
    let trailers = if stream.response_finished() { None } else { stream.read_trailers().await? };
    let headers = trailers.filter(|trailers| trailers.contains_key(GRPC_STATUS)).unwrap_or(headers);
    Ok(Response { status, headers, body: read.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_service() {
        assert_eq!(&health_request("")[..], [0; 5]);
        assert_eq!(&health_request("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let longest = "x".repeat(127);
        assert_eq!(&health_request(&longest)[..7], b"\0\0\0\0\x81\x0a\x7f");
        assert_eq!(health_request(&longest).len(), 7 + 127);
    }

    #[test]
    fn only_serving_is_good() {
        assert!(is_serving(b"\0\0\0\0\x02\x08\x01"));
        for other in [&b""[..], b"\0\0\0\0\0", b"\0\0\0\0\x02\x08\x02", b"\0\0\0\0\x02\x08"] {
            assert!(!is_serving(other), "{other:?}");
        }
    }
}
