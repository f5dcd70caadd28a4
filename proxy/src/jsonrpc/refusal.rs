//! Answers of the proxy itself: a JSON-RPC error for every id of the request, with a matching HTTP
//! status.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::batch::{Expected, array};

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

/// The reason why a request has no endpoint's answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// The body isn't JSON.
    #[error("parse error: {0}")]
    NotJson(String),
    /// The body is JSON but not a request.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// More members than the upstream allows.
    #[error("invalid request: {0}")]
    BatchTooLong(String),
    /// The head is ambiguous or malformed. The connection is closed.
    #[error("invalid request: not well-formed HTTP: {0}")]
    Malformed(&'static str),
    /// A plain HTTP request to a listener with TLS.
    #[error("this port speaks TLS: the URL must begin with https://")]
    NeedsTls,
    /// The content type isn't JSON.
    #[error("invalid request: the body must be sent with content-type application/json")]
    NotJsonType,
    /// The forwarded headers have more bytes than endpoints accept.
    #[error("the headers that are passed on to endpoints are larger than {0} bytes together")]
    HeadersTooLarge(usize),
    /// The body has more bytes than `server.max_body`.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// Not a POST.
    #[error("JSON-RPC requests are sent with POST")]
    NotPost,
    /// No route for the path.
    #[error("no route for this path")]
    NoRoute,
    /// The body violates HTTP, or ends too early.
    #[error("invalid request: the body is not what its head announced")]
    BrokenBody,
    /// The client stopped sending.
    #[error("the request did not arrive in time")]
    Stalled,
    /// The head has no end within this many bytes.
    #[error("the head is larger than {0} bytes")]
    HeadTooLarge(usize),
    /// `server.max_buffered` is reached.
    #[error("the proxy holds as many bytes of requests as it may")]
    NoMemory,
    /// The upstream's `max_concurrency` is reached.
    #[error("too many requests are under way")]
    Overloaded,
    /// The client has as many WebSocket connections as it may.
    #[error("this client has as many WebSocket connections as it may")]
    TooManyTunnels,
    /// A page of an origin that the route doesn't allow.
    #[error("pages of this origin may not open a WebSocket here")]
    ForbiddenOrigin,
    /// No endpoint may take the request.
    #[error("no endpoint is available")]
    NoEndpoint,
    /// The scoring policy refused the request.
    #[error("the scoring policy refuses this request")]
    ByPolicy,
    /// The rate limiter of every endpoint that could take the request refuses it.
    #[error("every endpoint is at its rate limit")]
    RateLimited {
        /// Time until the first of them admits it, if known.
        retry_after: Option<Duration>,
    },
    /// The last endpoint that was tried is at its own limit. Others may be free: a write that was
    /// sent goes to none of them, and the attempts of a read are limited.
    #[error("the endpoint that was tried last is at its rate limit")]
    EndpointLimited {
        /// The endpoint's own `Retry-After`, if it sent one.
        retry_after: Option<Duration>,
    },
    /// The deadline passed.
    #[error("no endpoint answered in time")]
    TimedOut,
    /// No connection could be made because the proxy ran out of resources.
    #[error("the proxy has no file descriptor, port or memory left")]
    OwnLack,
    /// Endpoints were tried and failed.
    #[error("the endpoints that were tried failed")]
    EndpointsFailed,
}

/// A delay in whole seconds for `Retry-After`: rounded up, at least 1.
pub fn whole_secs(delay: Duration) -> u64 {
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

impl Refusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::NotJson(_)
            | Refusal::Invalid(_)
            | Refusal::BatchTooLong(_)
            | Refusal::Malformed(_)
            | Refusal::NeedsTls
            | Refusal::BrokenBody => StatusCode::BAD_REQUEST,
            Refusal::NotJsonType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::NoRoute => StatusCode::NOT_FOUND,
            Refusal::ForbiddenOrigin => StatusCode::FORBIDDEN,
            Refusal::Stalled => StatusCode::REQUEST_TIMEOUT,
            Refusal::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::Overloaded | Refusal::NoMemory | Refusal::NoEndpoint | Refusal::OwnLack | Refusal::ByPolicy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::RateLimited { .. } | Refusal::EndpointLimited { .. } | Refusal::TooManyTunnels => {
                StatusCode::TOO_MANY_REQUESTS
            }
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
            | Refusal::Malformed(_)
            | Refusal::NeedsTls
            | Refusal::NotJsonType
            | Refusal::HeadersTooLarge(_)
            | Refusal::BodyTooLarge(_)
            | Refusal::HeadTooLarge(_)
            | Refusal::BrokenBody
            | Refusal::NotPost
            | Refusal::NoRoute
            | Refusal::ForbiddenOrigin
            | Refusal::Stalled => INVALID_REQUEST,
            Refusal::Overloaded
            | Refusal::NoMemory
            | Refusal::TooManyTunnels
            | Refusal::RateLimited { .. }
            | Refusal::EndpointLimited { .. } => LIMIT_EXCEEDED,
            Refusal::NoEndpoint | Refusal::OwnLack | Refusal::ByPolicy => RESOURCE_UNAVAILABLE,
            Refusal::TimedOut | Refusal::EndpointsFailed => SERVER_ERROR,
        }
    }

    /// The name in the access log.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::NotJson(_) => "not_json",
            Refusal::Invalid(_) => "invalid",
            Refusal::BatchTooLong(_) => "batch_too_long",
            Refusal::Malformed(_) => "malformed",
            Refusal::NeedsTls => "needs_tls",
            Refusal::NotJsonType => "not_json_type",
            Refusal::HeadersTooLarge(_) => "headers_too_large",
            Refusal::BodyTooLarge(_) => "body_too_large",
            Refusal::NotPost => "not_post",
            Refusal::NoRoute => "no_route",
            Refusal::ForbiddenOrigin => "forbidden_origin",
            Refusal::BrokenBody => "broken_body",
            Refusal::Stalled => "stalled",
            Refusal::HeadTooLarge(_) => "head_too_large",
            Refusal::NoMemory => "no_memory",
            Refusal::Overloaded => "overloaded",
            Refusal::TooManyTunnels => "too_many_websockets",
            Refusal::NoEndpoint => "no_endpoint",
            Refusal::ByPolicy => "refused_by_policy",
            Refusal::RateLimited { .. } | Refusal::EndpointLimited { .. } => "rate_limited",
            Refusal::TimedOut => "timed_out",
            Refusal::OwnLack => "own_lack",
            Refusal::EndpointsFailed => "endpoints_failed",
        }
    }

    /// The delay for `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::RateLimited { retry_after } | Refusal::EndpointLimited { retry_after } => *retry_after,
            // The memory is free again within moments.
            Refusal::NoMemory => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The refusal, with the position of the member that it is about.
    pub(super) fn about_member(self, position: usize) -> Refusal {
        match self {
            Refusal::Invalid(what) => Refusal::Invalid(format!("request {} of the batch: {what}", position + 1)),
            other => other,
        }
    }

    /// The response body for a request that expected `answer`, with its ids. Without one the id is
    /// null.
    pub fn render(&self, answer: Option<&Expected>) -> Bytes {
        match answer {
            Some(Expected::Single(id)) => self.to_id(id),
            Some(Expected::Batch(members)) => {
                array(members.iter().filter_map(|member| member.id.as_deref()).map(|id| self.to_id(id)))
            }
            Some(Expected::Nothing) | None => self.to_id(b"null"),
        }
    }

    /// The error for one id, given as raw JSON.
    pub(crate) fn to_id(&self, id: &[u8]) -> Bytes {
        let message = self.to_string();
        let id = serde_json::from_slice(id).unwrap_or(RawValue::NULL);
        let error = ErrorObject { code: self.rpc_code(), message: &message };
        // Strings, integers and raw JSON always serialize.
        serde_json::to_vec(&Response { jsonrpc: "2.0", id, error }).unwrap_or_default().into()
    }
}

#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    error: ErrorObject<'a>,
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    code: i32,
    message: &'a str,
}

#[cfg(test)]
mod tests {
    use super::super::batch::MemberRequest;
    use super::super::id::Id;
    use super::*;
    use crate::model::MethodClass;

    fn text(refusal: &Refusal, answer: Option<&Expected>) -> String {
        String::from_utf8(refusal.render(answer).to_vec()).unwrap()
    }

    #[test]
    fn every_id_is_answered_as_it_was_written() {
        let refusal = Refusal::NoEndpoint;
        let error = r#""error":{"code":-32002,"message":"no endpoint is available"}}"#;
        let single = Expected::Single(Id::as_is(Bytes::from_static(b"1e2")));
        assert_eq!(text(&refusal, Some(&single)), format!(r#"{{"jsonrpc":"2.0","id":1e2,{error}"#));
        let member = |id: Option<&'static str>| MemberRequest {
            id: id.map(|id| Id::as_is(Bytes::from_static(id.as_bytes()))),
            raw: Bytes::new(),
            class: MethodClass::Read,
        };
        let batch = Expected::Batch([member(Some("\"x\"")), member(None), member(Some("7"))].into());
        let expected = format!(r#"[{{"jsonrpc":"2.0","id":"x",{error},{{"jsonrpc":"2.0","id":7,{error}]"#);
        assert_eq!(text(&refusal, Some(&batch)), expected);
    }

    #[test]
    fn an_unknown_id_is_null() {
        for answer in [None, Some(Expected::Nothing)] {
            let answer = text(&Refusal::NotJson("x".into()), answer.as_ref());
            assert!(answer.starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"#), "{answer}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_none() {
        let secs =
            |ms| Refusal::RateLimited { retry_after: Some(Duration::from_millis(ms)) }.retry_after().map(whole_secs);
        assert_eq!([0, 1, 1_000, 1_001].map(secs), [Some(1), Some(1), Some(1), Some(2)]);
        assert_eq!(Refusal::NoEndpoint.retry_after(), None);
    }
}
