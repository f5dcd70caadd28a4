//! gRPC over HTTP/2: recognition of calls, their time limits, refusals.
//!
//! The status of a call is read by [`grpc_status`](crate::model::grpc_status).

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::jsonrpc::Refusal;
use crate::model::{GRPC_CONTENT_TYPE, GRPC_STATUS, GrpcCode};

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The most digits of a timeout.
const MAX_DIGITS: usize = 8;

/// Whether this is the head of a call. gRPC-Web, which has another content type, isn't one: its
/// status is in the body.
pub(super) fn is_grpc_call(head: &RequestHeader) -> bool {
    head.version == Version::HTTP_2 && head.method == Method::POST && has_grpc_content_type(&head.headers)
}

/// Whether these are the headers of a call or of its response.
pub(super) fn has_grpc_content_type(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let rest = content_type.and_then(|value| value.strip_prefix(GRPC_CONTENT_TYPE.as_bytes()));
    rest.is_some_and(|rest| rest.first().is_none_or(|next| b"+; ".contains(next)))
}

/// The time that the client gives the call (`grpc-timeout`: up to 8 digits and a unit).
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 60 * 60)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// The head of the response that refuses a call: it has no body, and HTTP's status is 200.
pub(super) fn refusal(why: &Refusal) -> Result<ResponseHeader> {
    let code = match why.status() {
        _ if *why == Refusal::TimedOut => GrpcCode::DeadlineExceeded,
        StatusCode::BAD_REQUEST | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => GrpcCode::Internal,
        StatusCode::NOT_FOUND => GrpcCode::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => GrpcCode::ResourceExhausted,
        StatusCode::REQUEST_TIMEOUT => GrpcCode::Cancelled,
        _ => GrpcCode::Unavailable,
    };
    let mut head = ResponseHeader::build_no_case(StatusCode::OK, Some(4))?;
    head.insert_header(header::CONTENT_TYPE, GRPC_CONTENT_TYPE)?;
    head.insert_header(GRPC_STATUS, code.code())?;
    // The texts of refusals need no percent-encoding.
    head.insert_header(MESSAGE, why.to_string())?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut head = RequestHeader::build("POST", b"/a.B/C", None).unwrap();
            head.set_version(Version::HTTP_2);
            assert!(!is_grpc_call(&head));
            head.insert_header(header::CONTENT_TYPE, content_type).unwrap();
            assert_eq!(is_grpc_call(&head), expected, "{content_type}");
            let mut others = [head.clone(), head];
            others[0].set_version(Version::HTTP_11);
            others[1].set_method(Method::GET);
            assert!(!others.iter().any(is_grpc_call), "of another version or method");
        }
    }

    #[test]
    fn a_clients_deadline_is_read() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("123456789S", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("5s", None),
            ("", None),
            ("é", None),
        ] {
            let headers = HeaderMap::from_iter([(TIMEOUT, http::HeaderValue::from_bytes(text.as_bytes()).unwrap())]);
            assert_eq!(timeout(&headers), expected, "{text}");
        }
    }

    #[test]
    fn a_refusal_has_the_code_of_its_kind() {
        for (why, code) in [
            (Refusal::EndpointsFailed, "14"),
            (Refusal::NoEndpoint, "14"),
            (Refusal::TimedOut, "4"),
            (Refusal::RateLimited { retry_after: None }, "8"),
            (Refusal::Stalled, "1"),
            (Refusal::NoRoute, "12"),
            (Refusal::BrokenBody, "13"),
        ] {
            let head = refusal(&why).unwrap();
            assert_eq!((head.status, &head.headers[GRPC_STATUS]), (StatusCode::OK, &code.parse().unwrap()), "{why}");
        }
    }
}
