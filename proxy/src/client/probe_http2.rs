//! Probes over HTTP/2: a GET, and gRPC's health protocol
//! (`grpc.health.v1.Health/Check`).
//!
//! Their connections are the health checker's own: those of requests belong to the workers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v2::client::Http2Session;
use pingora::upstreams::peer::Peer;

use super::connect_failure::kind;
use super::probe::wrong_status;
use super::target::{HttpVersion, Target};
use crate::model::{GrpcCode, ProbeFailure, grpc_status};

/// Maximum bytes read of a response.
const MAX_ANSWER: usize = 64 << 10;
const CHECK: &str = "/grpc.health.v1.Health/Check";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// The head of a gRPC message: not compressed, then the length.
const MESSAGE_HEAD: usize = 5;
/// Field 1 as a string, in the encoding of Protocol Buffers.
const SERVICE: u8 = 0x0a;
/// Field 1 as a number, then SERVING.
const SERVING: [u8; 2] = [0x08, 1];

/// A response, as far as it was read.
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Sends a GET for `path`, and expects `status`, within `budget`.
///
/// # Errors
/// The reason for a missing or different response.
pub(super) async fn get(target: &Target, path: &str, status: u16, budget: Duration) -> Result<(), ProbeFailure> {
    let response = ask(target, (Method::GET, path), None, budget).await?;
    if response.status.as_u16() == status { Ok(()) } else { Err(wrong_status(response.status)) }
}

/// Asks for the health of a service, within `budget`; the empty name is the server's.
///
/// # Errors
/// The reason for a missing answer, or that the service isn't serving.
pub async fn check_grpc(target: &Target, service: &str, budget: Duration) -> Result<(), ProbeFailure> {
    let base = target.destination.path.split_once('?').map_or(&*target.destination.path, |(path, _)| path);
    let path = format!("{}{CHECK}", base.trim_end_matches('/'));
    let response = ask(target, (Method::POST, &path), Some(question(service)), budget).await?;
    match (response.status, grpc_status(&response.headers)) {
        (StatusCode::OK, Some(code)) if code == GrpcCode::Unimplemented.code() => {
            Err(ProbeFailure::new("has no gRPC health service"))
        }
        (StatusCode::OK, Some(_)) => Err(ProbeFailure::new("gRPC error")),
        (StatusCode::OK, None) if is_serving(&response.body) => Ok(()),
        (StatusCode::OK, None) => Err(ProbeFailure::new("its gRPC service is not serving")),
        (status, _) => Err(wrong_status(status)),
    }
}

/// A `HealthCheckRequest` with its head.
fn question(service: &str) -> Bytes {
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

async fn ask(
    target: &Target,
    what: (Method, &str),
    body: Option<Bytes>,
    budget: Duration,
) -> Result<Response, ProbeFailure> {
    let asked = tokio::time::timeout(budget, converse(target, what, body));
    asked.await.unwrap_or(Err("timed out")).map_err(ProbeFailure::new)
}

async fn converse(target: &Target, what: (Method, &str), body: Option<Bytes>) -> Result<Response, &'static str> {
    let peer = target.peer_for_proxy(target.settings.timeout, HttpVersion::Http2);
    let peer = peer.ok_or("the host name has no address")?;
    let address = peer.address().as_inet().copied();
    let connected = target.transport.http2.get_http_session(&peer).await;
    let (session, _) = connected.map_err(|error| address.map_or("connect failed", |address| kind(&error, address)))?;
    let HttpSession::H2(mut stream) = session else { return Err("the endpoint doesn't speak HTTP/2") };
    let answered = exchange(&mut stream, head(target, what, body.is_some())?, body).await;
    let idle_timeout = Some(target.settings.idle_timeout);
    target.transport.http2.release_http_session(HttpSession::H2(stream), &peer, idle_timeout).await;
    answered.map_err(|_| "the connection broke")
}

fn head(target: &Target, (method, path): (Method, &str), is_call: bool) -> Result<RequestHeader, &'static str> {
    let destination = &target.destination;
    let scheme = if destination.tls { "https" } else { "http" };
    let authority = destination.authority.to_str().unwrap_or_default();
    let uri = format!("{scheme}://{authority}{path}");
    let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    if is_call {
        request = request.header(header::CONTENT_TYPE, GRPC).header(header::TE, "trailers");
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
    Ok(Response { status, headers, body: read.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_service() {
        assert_eq!(&question("")[..], [0; 5]);
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let longest = "x".repeat(127);
        assert_eq!(&question(&longest)[..7], b"\0\0\0\0\x81\x0a\x7f");
        assert_eq!(question(&longest).len(), 7 + 127);
    }

    #[test]
    fn only_serving_is_good() {
        assert!(is_serving(b"\0\0\0\0\x02\x08\x01"));
        for other in [&b""[..], b"\0\0\0\0\0", b"\0\0\0\0\x02\x08\x02", b"\0\0\0\0\x02\x08"] {
            assert!(!is_serving(other), "{other:?}");
        }
    }
}
