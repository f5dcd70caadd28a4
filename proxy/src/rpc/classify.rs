//! From a response to an [`Outcome`]. This is the only place that looks at a status code or at an answer's body.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{Outcome, RpcError};

/// Bytes of an endpoint's error message that are kept.
const MAX_MESSAGE: usize = 1_024;
const CODED: &str = "a content coding that was not asked for";
const HTTP_STATUS: &str = "HTTP status";

/// The classification of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Classified {
    /// The outcome.
    pub outcome: Outcome,
    /// The JSON-RPC error in the body, whatever the status.
    pub rpc_error: Option<RpcError>,
    /// What was wrong, for the log.
    pub detail: &'static str,
}

/// What a good answer to a request looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An object with a result or an error.
    Single,
    /// An array of them.
    Batch,
    /// Nothing, or one of the others: no member of the request has an id.
    Nothing,
}

/// A member of an answer.
#[derive(Deserialize)]
struct Member<'a> {
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorObject<'a> {
    #[serde(default, borrow)]
    code: Option<&'a RawValue>,
    #[serde(default, borrow)]
    message: Option<Cow<'a, str>>,
}

/// Classifies a response whose whole `body` was read. `encoded` says that it has a content coding, which nobody asked for.
pub fn classify(status: StatusCode, encoded: bool, body: &[u8], expected: Expected) -> Classified {
    let parsed = if encoded { Parsed::Broken } else { parse(body, expected) };
    match (status.is_success(), parsed) {
        (true, Parsed::Answer) => Classified { outcome: Outcome::Success, rpc_error: None, detail: "" },
        (true, Parsed::Error(error)) => {
            Classified { outcome: Outcome::RpcError, rpc_error: Some(error), detail: "JSON-RPC error" }
        }
        (true, Parsed::Broken) => {
            let detail = if encoded { CODED } else { "not a JSON-RPC answer" };
            Classified { outcome: Outcome::BadResponse, rpc_error: None, detail }
        }
        (false, parsed) => {
            let rpc_error = if let Parsed::Error(error) = parsed { Some(error) } else { None };
            Classified { outcome: Outcome::HttpError, rpc_error, detail: HTTP_STATUS }
        }
    }
}

/// Classifies a response that is too long to be held back: no endpoint wraps an error in that much.
pub fn classify_long(status: StatusCode, encoded: bool) -> Classified {
    let (outcome, detail) = match (status.is_success(), encoded) {
        (true, false) => (Outcome::Success, ""),
        (true, true) => (Outcome::BadResponse, CODED),
        (false, _) => (Outcome::HttpError, HTTP_STATUS),
    };
    Classified { outcome, rpc_error: None, detail }
}

enum Parsed {
    Answer,
    Error(RpcError),
    Broken,
}

fn parse(body: &[u8], expected: Expected) -> Parsed {
    match expected {
        Expected::Nothing if body.trim_ascii().is_empty() => Parsed::Answer,
        Expected::Nothing | Expected::Batch => match serde_json::from_slice::<Vec<Member<'_>>>(body) {
            Ok(members) => parse_batch(&members),
            // A single answer to a batch is only ever an error.
            Err(_) => parse_single(body, expected == Expected::Nothing),
        },
        Expected::Single => parse_single(body, true),
    }
}

fn parse_single(body: &[u8], may_be_result: bool) -> Parsed {
    match serde_json::from_slice::<Member<'_>>(body) {
        Ok(Member { error: Some(error), .. }) => Parsed::Error(read_error(error)),
        // `"result": null` reads as none; a second look tells it from a missing one.
        Ok(Member { result, .. }) if may_be_result && (result.is_some() || has_null_result(body)) => Parsed::Answer,
        _ => Parsed::Broken,
    }
}

/// A batch is an error only when all of its members are: the others' results are worth having.
fn parse_batch(members: &[Member<'_>]) -> Parsed {
    let error_of = |member: &Member<'_>| member.error.map(read_error);
    match members.first().and_then(error_of) {
        Some(first) if members.iter().all(|member| error_of(member).is_some()) => Parsed::Error(first),
        None if members.is_empty() => Parsed::Broken,
        _ => Parsed::Answer,
    }
}

fn read_error(raw: &RawValue) -> RpcError {
    let error: Option<ErrorObject<'_>> = serde_json::from_str(raw.get()).ok();
    let code = error.as_ref().and_then(|e| e.code).and_then(|code| code.get().parse().ok()).unwrap_or(0);
    let mut message = error.and_then(|e| e.message).unwrap_or_default().into_owned();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    RpcError { code, message }
}

fn has_null_result(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Present {
        #[expect(dead_code, reason = "its presence is what counts")]
        result: (),
    }
    serde_json::from_slice::<Present>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str, batch: bool) -> (Outcome, Option<i64>) {
        answered(status, body, if batch { Expected::Batch } else { Expected::Single })
    }

    fn answered(status: u16, body: &str, expected: Expected) -> (Outcome, Option<i64>) {
        let classified = classify(StatusCode::from_u16(status).unwrap(), false, body.as_bytes(), expected);
        (classified.outcome, classified.rpc_error.map(|e| e.code))
    }

    #[test]
    fn a_notification_may_be_answered_with_nothing() {
        for body in ["", " \n", "{\"id\":null,\"result\":1}", "[{\"result\":1}]"] {
            assert_eq!(answered(200, body, Expected::Nothing), (Outcome::Success, None), "{body}");
        }
        assert_eq!(answered(204, "", Expected::Nothing), (Outcome::Success, None));
        assert_eq!(answered(200, "<html>", Expected::Nothing), (Outcome::BadResponse, None));
        assert_eq!(answered(500, "", Expected::Nothing), (Outcome::HttpError, None));
    }

    #[test]
    fn answers_are_successes() {
        assert_eq!(of(200, r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#, false), (Outcome::Success, None));
        assert_eq!(of(200, r#"{"id":1,"result":null}"#, false), (Outcome::Success, None));
        assert_eq!(of(200, r#"{"id":1,"result":1,"error":null}"#, false), (Outcome::Success, None));
        assert_eq!(of(200, r#"[{"id":1,"result":1},{"id":2,"error":{"code":3}}]"#, true), (Outcome::Success, None));
    }

    #[test]
    fn errors_keep_their_code_whatever_the_status() {
        let body = r#"{"id":1,"error":{"code":-32005,"message":"slow down"}}"#;
        assert_eq!(of(200, body, false), (Outcome::RpcError, Some(-32_005)));
        assert_eq!(of(200, body, true), (Outcome::RpcError, Some(-32_005)));
        assert_eq!(of(500, body, false), (Outcome::HttpError, Some(-32_005)));
        assert_eq!(
            of(200, r#"[{"id":1,"error":{"code":5}},{"id":2,"error":{"code":6}}]"#, true),
            (Outcome::RpcError, Some(5))
        );
        assert_eq!(of(200, r#"{"error":"text"}"#, false), (Outcome::RpcError, Some(0)));
        assert_eq!(of(200, r#"{"error":{"code":"-1"}}"#, false), (Outcome::RpcError, Some(0)));
    }

    #[test]
    fn anything_else_is_a_bad_response_or_a_status() {
        for body in ["", "<html>", "{}", "[]", "7", r#"{"id":1}"#, r#"{"result":1"#, r#"{"error":null}"#] {
            assert_eq!(of(200, body, false), (Outcome::BadResponse, None), "{body}");
        }
        assert_eq!(of(200, "[]", true), (Outcome::BadResponse, None));
        assert_eq!(of(200, r#"{"id":1,"result":1}"#, true), (Outcome::BadResponse, None));
        assert_eq!(of(503, "<html>", false), (Outcome::HttpError, None));
        assert_eq!(of(301, "", false), (Outcome::HttpError, None));
        let gzip = classify(StatusCode::OK, true, br#"{"result":1}"#, Expected::Single);
        assert_eq!(gzip.outcome, Outcome::BadResponse);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let body = format!(r#"{{"error":{{"code":1,"message":"{}"}}}}"#, "é".repeat(2_000));
        let error = classify(StatusCode::OK, false, body.as_bytes(), Expected::Single).rpc_error.unwrap();
        assert_eq!(error.message.len(), MAX_MESSAGE);
    }
}
