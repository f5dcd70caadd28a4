//! Requests that the proxy sends to an endpoint for itself, and their results.
//!
//! Probes use the endpoint's own [`Target`], as requests do: same settings, headers, TLS and idle
//! connections. Their responses are short, and no content of them is passed on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::exchange::send;
use super::idle::Connection;
use super::probe_http2;
pub use super::probe_http2::check_grpc;
use super::request::Head;
use super::response::Failure;
use super::target::{HttpVersion, Target};
use crate::clock;
use crate::jsonrpc::batch::Expected;
use crate::jsonrpc::classify::classify;
use crate::jsonrpc::id::Id;
use crate::model::{Outcome, ProbeFailure, RpcError};

/// Maximum bytes read of a response. A head response has some hundred bytes.
const MAX_ANSWER: usize = 64 << 10;
const HTTP_STATUS: &str = "HTTP status";

/// Calls a JSON-RPC method without parameters, within `budget`. Returns its result.
///
/// # Errors
/// The reason for a missing result.
pub async fn call(target: &Arc<Target>, method: &str, budget: Duration) -> Result<Value, ProbeFailure> {
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] }).to_string();
    let answer = within(budget, ask(target, &ProbeRequest::Post(Bytes::from(body)))).await?;
    let Some(body) = answer.body else {
        let too_large = Err(ProbeFailure::new("answer is too large"));
        return if answer.status.is_success() { too_large } else { Err(wrong_status(answer.status)) };
    };
    let expected = Expected::Single(Id::as_is(Bytes::from_static(b"1")));
    let classified = classify(answer.status, answer.encoded, &body, &expected);
    match classified.outcome {
        Outcome::Success => read_result(&body),
        Outcome::HttpError => Err(wrong_status(answer.status)),
        Outcome::RpcError if classified.rpc_error.is_some_and(|error| error.code == RpcError::METHOD_NOT_FOUND) => {
            Err(ProbeFailure::NO_METHOD)
        }
        _ => Err(ProbeFailure::new(classified.detail)),
    }
}

/// Sends a GET for `path` to the target's host, and expects `status`, within `budget`.
///
/// # Errors
/// The reason for a missing or different response.
pub async fn get(target: &Arc<Target>, path: &str, status: u16, budget: Duration) -> Result<(), ProbeFailure> {
    if target.version() == HttpVersion::Http2 {
        return probe_http2::get(target, path, status, budget).await;
    }
    let answer = within(budget, ask(target, &ProbeRequest::Get(path))).await?;
    if answer.status.as_u16() == status { Ok(()) } else { Err(wrong_status(answer.status)) }
}

enum ProbeRequest<'a> {
    /// A JSON-RPC request with this body.
    Post(Bytes),
    /// A GET of this path.
    Get(&'a str),
}

struct ProbeResponse {
    status: StatusCode,
    encoded: bool,
    /// `None` if it is too large.
    body: Option<Bytes>,
}

async fn within<T>(budget: Duration, answer: impl Future<Output = Result<T, &'static str>>) -> Result<T, ProbeFailure> {
    let answer = tokio::time::timeout(budget, answer).await.unwrap_or(Err("timed out"));
    answer.map_err(ProbeFailure::new)
}

/// Sends one probe. The connection is kept for the next one.
async fn ask(target: &Arc<Target>, request: &ProbeRequest<'_>) -> Result<ProbeResponse, &'static str> {
    if let Some(connection) = target.reuse(clock::now()) {
        match converse(connection, false, target, request).await {
            // The endpoint closed the idle connection just as it was reused.
            Err(failure) if failure.silent => {}
            answered => return answered.map_err(|failure| failure.detail),
        }
    }
    let connection = target.connect().await?;
    converse(connection, true, target, request).await.map_err(|failure| failure.detail)
}

async fn converse(
    connection: Connection,
    fresh: bool,
    target: &Target,
    request: &ProbeRequest<'_>,
) -> Result<ProbeResponse, Failure> {
    let Connection { stream, worker } = connection;
    let (mut response, sent_whole) = match request {
        ProbeRequest::Post(body) => send(stream, fresh, &target.head, &[], Some(body)).await?,
        ProbeRequest::Get(path) => send(stream, fresh, &Head::of_get(path, &target.destination), &[], None).await?,
    };
    if !sent_whole {
        return Err(Failure::silent("broke while the request was sent"));
    }
    let body = response.read_body(MAX_ANSWER).await?;
    let is_whole = response.is_complete() && body.len() <= MAX_ANSWER;
    let (status, encoded) = (response.head.status, response.head.encoded);
    if is_whole {
        response.release(target, worker).await;
    }
    Ok(ProbeResponse { status, encoded, body: is_whole.then_some(body) })
}

pub(super) fn wrong_status(status: StatusCode) -> ProbeFailure {
    ProbeFailure { detail: HTTP_STATUS, http_status: Some(status.as_u16()) }
}

fn read_result(body: &[u8]) -> Result<Value, ProbeFailure> {
    #[derive(Deserialize)]
    struct Success {
        result: Value,
    }
    let answer = serde_json::from_slice::<Success>(body);
    answer.map(|answer| answer.result).map_err(|_| ProbeFailure::new("not a JSON-RPC answer"))
}
