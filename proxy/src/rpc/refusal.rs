//! Answers that the proxy gives itself: a JSON-RPC error for every id of the request, with a matching HTTP status.

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

/// "Parse error" of JSON-RPC 2.0.
const PARSE_ERROR: i32 = -32_700;
/// "Invalid request" of JSON-RPC 2.0.
const INVALID_REQUEST: i32 = -32_600;
/// "Resource unavailable" of EIP-1474.
const RESOURCE_UNAVAILABLE: i32 = -32_002;
/// "Limit exceeded" of EIP-1474.
const LIMIT_EXCEEDED: i32 = -32_005;
/// The first of the codes that JSON-RPC 2.0 leaves to servers.
const SERVER_ERROR: i32 = -32_000;

/// Why there is no endpoint's answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// The body is no JSON.
    #[error("parse error: {0}")]
    NotJson(String),
    /// The body is JSON but no request.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// More members than the upstream allows.
    #[error("invalid request: {0}")]
    BatchTooLong(String),
    /// More bytes than `server.max_body`.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// Not a POST.
    #[error("JSON-RPC requests are sent with POST")]
    NotPost,
    /// No route for the path.
    #[error("no route for this path")]
    NoRoute,
    /// The body breaks HTTP's rules, or ends too early.
    #[error("invalid request: the body is not what its head announced")]
    BrokenBody,
    /// The client stopped sending.
    #[error("the request did not arrive in time")]
    Stalled,
    /// The upstream's `max_concurrency` is reached.
    #[error("too many requests are under way")]
    Overloaded,
    /// Nothing may take the request.
    #[error("no endpoint is available")]
    NoEndpoint,
    /// Every endpoint that could take it refuses by its rate limiter.
    #[error("every endpoint is at its rate limit")]
    RateLimited,
    /// The deadline passed.
    #[error("no endpoint answered in time")]
    TimedOut,
    /// Endpoints were tried and failed.
    #[error("the endpoints that were tried failed")]
    EndpointsFailed,
}

impl Refusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::NotJson(_) | Refusal::Invalid(_) | Refusal::BatchTooLong(_) | Refusal::BrokenBody => {
                StatusCode::BAD_REQUEST
            }
            Refusal::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NoRoute => StatusCode::NOT_FOUND,
            Refusal::Stalled => StatusCode::REQUEST_TIMEOUT,
            Refusal::Overloaded | Refusal::NoEndpoint => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Refusal::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Refusal::EndpointsFailed => StatusCode::BAD_GATEWAY,
        }
    }

    /// The JSON-RPC error code.
    pub fn rpc_code(&self) -> i32 {
        match self {
            Refusal::NotJson(_) => PARSE_ERROR,
            Refusal::Invalid(_)
            | Refusal::BatchTooLong(_)
            | Refusal::BodyTooLarge(_)
            | Refusal::BrokenBody
            | Refusal::NotPost
            | Refusal::NoRoute
            | Refusal::Stalled => INVALID_REQUEST,
            Refusal::Overloaded | Refusal::RateLimited => LIMIT_EXCEEDED,
            Refusal::NoEndpoint => RESOURCE_UNAVAILABLE,
            Refusal::TimedOut | Refusal::EndpointsFailed => SERVER_ERROR,
        }
    }

    /// What the access log calls it.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::NotJson(_) => "not_json",
            Refusal::Invalid(_) => "invalid",
            Refusal::BatchTooLong(_) => "batch_too_long",
            Refusal::BodyTooLarge(_) => "body_too_large",
            Refusal::NotPost => "not_post",
            Refusal::NoRoute => "no_route",
            Refusal::BrokenBody => "broken_body",
            Refusal::Stalled => "stalled",
            Refusal::Overloaded => "overloaded",
            Refusal::NoEndpoint => "no_endpoint",
            Refusal::RateLimited => "rate_limited",
            Refusal::TimedOut => "timed_out",
            Refusal::EndpointsFailed => "endpoints_failed",
        }
    }

    /// The body of the answer. `request` is the client's body, once it was found to be good: its ids are answered. Before
    /// that the id is null.
    pub fn render(&self, request: Option<&[u8]>) -> Bytes {
        let message = self.to_string();
        let error =
            |id| Response { jsonrpc: "2.0", id, error: ErrorObject { code: self.rpc_code(), message: &message } };
        let json = match request.map(ids) {
            Some(Ids::Batch(ids)) if !ids.is_empty() => {
                serde_json::to_vec(&ids.into_iter().map(|id| error(Some(id))).collect::<Vec<_>>())
            }
            Some(Ids::Single(id)) => serde_json::to_vec(&error(id)),
            _ => serde_json::to_vec(&error(None)),
        };
        // Strings, integers and text that was JSON before can't fail to be written.
        json.unwrap_or_default().into()
    }
}

#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: i32,
    message: &'a str,
}

/// The ids of a request; members without one are notifications and get no answer.
enum Ids<'a> {
    Single(Option<&'a RawValue>),
    Batch(Vec<&'a RawValue>),
}

#[derive(Deserialize)]
struct WithId<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
}

fn ids(body: &[u8]) -> Ids<'_> {
    if let Ok(members) = serde_json::from_slice::<Vec<WithId<'_>>>(body) {
        return Ids::Batch(members.into_iter().filter_map(|member| member.id).collect());
    }
    Ids::Single(serde_json::from_slice::<WithId<'_>>(body).ok().and_then(|member| member.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refusal: &Refusal, request: Option<&str>) -> String {
        String::from_utf8(refusal.render(request.map(str::as_bytes)).to_vec()).unwrap()
    }

    #[test]
    fn every_id_is_answered_as_it_was_written() {
        let refusal = Refusal::NoEndpoint;
        let error = r#""error":{"code":-32002,"message":"no endpoint is available"}}"#;
        assert_eq!(
            text(&refusal, Some(r#"{"id": 1e2,"method":"a"}"#)),
            format!(r#"{{"jsonrpc":"2.0","id":1e2,{error}"#)
        );
        assert_eq!(
            text(&refusal, Some(r#"[{"id":"x","method":"a"},{"method":"n"},{"id":7,"method":"b"}]"#)),
            format!(r#"[{{"jsonrpc":"2.0","id":"x",{error},{{"jsonrpc":"2.0","id":7,{error}]"#)
        );
    }

    #[test]
    fn an_unknown_id_is_null() {
        for request in [None, Some("rubbish"), Some(r#"{"method":"a"}"#), Some(r#"[{"method":"a"}]"#)] {
            let answer = text(&Refusal::NotJson("x".into()), request);
            assert!(answer.starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"#), "{answer}");
        }
    }
}
