//! Classification of a response as an [`Outcome`]. No other code looks at a status code or at the
//! body of an answer.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::answer::{Member, Says, cut};
use super::batch::{Expected, MemberAnswer, MemberRequest, find_answers};
use super::id::Id;
use crate::model::{Outcome, RpcError};

const CODED: &str = "a content coding that was not asked for";
const HTTP_STATUS: &str = "HTTP status";
const NO_STATUS: &str = "an HTTP status that says nothing about a request";
const NO_ANSWER: &str = "not a JSON-RPC answer";
const NO_CODE: &str = "an error without a code";
const OTHER_ID: &str = "an answer to another id";
const INCOMPLETE: &str = "a batch with members that are not answered";
const RPC_ERROR: &str = "JSON-RPC error";

/// The classification of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Classified {
    /// The outcome.
    pub outcome: Outcome,
    /// The JSON-RPC error in the body, whatever the status.
    pub rpc_error: Option<RpcError>,
    /// The beginning of the body of an HTTP error that isn't JSON-RPC.
    pub text: String,
    /// The answer to each member of a batch, if the body can't be passed on or judged as a whole.
    pub members: Option<Vec<MemberAnswer>>,
    /// A description of the failure, for the log.
    pub detail: &'static str,
}

impl Classified {
    fn new(outcome: Outcome, detail: &'static str) -> Self {
        Classified { outcome, rpc_error: None, text: String::new(), members: None, detail }
    }
}

/// Classifies a response whose whole `body` was read. `encoded`: it has a content coding, which the
/// request didn't allow.
pub fn classify(status: StatusCode, encoded: bool, body: &Bytes, expected: &Expected) -> Classified {
    let classified = if encoded { Classified::new(Outcome::BadResponse, CODED) } else { parse(body, expected) };
    if status.is_success() {
        return classified;
    }
    let (outcome, detail) = failed(status);
    let rpc_error = classified.rpc_error;
    let text = match (&rpc_error, std::str::from_utf8(body)) {
        (None, Ok(text)) => cut(text).to_owned(),
        _ => String::new(),
    };
    Classified { rpc_error, text, ..Classified::new(outcome, detail) }
}

/// Classifies a response that is too long to hold back, by its `beginning`: no endpoint wraps an
/// error in that much, but some send long pages.
pub fn classify_long(status: StatusCode, encoded: bool, beginning: &[u8], expected: &Expected) -> Classified {
    let first = beginning.trim_ascii_start().first();
    let is_other = |asked: &Id| leading_id(beginning).is_some_and(|given| !asked.is(given));
    let is_json = match expected {
        Expected::Single(_) => first == Some(&b'{'),
        Expected::Batch(_) => first == Some(&b'['),
        Expected::Nothing => matches!(first, Some(b'{' | b'[')),
    };
    let (outcome, detail) = match (status.is_success(), expected) {
        (false, _) => failed(status),
        (true, _) if encoded => (Outcome::BadResponse, CODED),
        (true, _) if !is_json => (Outcome::BadResponse, NO_ANSWER),
        (true, Expected::Single(asked)) if is_other(asked) => (Outcome::BadResponse, OTHER_ID),
        (true, _) => (Outcome::Success, ""),
    };
    Classified::new(outcome, detail)
}

/// The id of an incomplete answer, if it precedes the result.
pub(crate) fn leading_id(beginning: &[u8]) -> Option<&[u8]> {
    let mut id = None;
    // Always fails: at the end of the beginning, if not before.
    let _ = serde_json::Deserializer::from_slice(beginning).deserialize_map(LeadingId(&mut id));
    id.map(|id| id.get().as_bytes())
}

struct LeadingId<'de, 'a>(&'a mut Option<&'de RawValue>);

impl<'de> Visitor<'de> for LeadingId<'de, '_> {
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()?.filter(|name| name != "result") {
            match name.as_str() {
                "id" => *self.0 = Some(fields.next_value()?),
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The outcome of a status other than 2xx. The proxy never asks for another protocol, and codes
/// beyond 599 are invalid (RFC 9110, section 15).
fn failed(status: StatusCode) -> (Outcome, &'static str) {
    match status.as_u16() {
        200..600 => (Outcome::HttpError, HTTP_STATUS),
        _ => (Outcome::BadResponse, NO_STATUS),
    }
}

fn parse(body: &Bytes, expected: &Expected) -> Classified {
    match expected {
        Expected::Single(id) => parse_single(body, Some(id)),
        Expected::Batch(requests) => parse_batch(body, requests),
        Expected::Nothing if body.trim_ascii().is_empty() => Classified::new(Outcome::Success, ""),
        Expected::Nothing if body.trim_ascii_start().starts_with(b"[") => parse_batch(body, &[]),
        Expected::Nothing => parse_single(body, None),
    }
}

/// Classifies a single answer. An error may lack the id: the endpoint may not have read it. `None`
/// accepts any id.
fn parse_single(body: &[u8], id: Option<&Id>) -> Classified {
    // Serde also accepts an array of the fields as an object, and doesn't validate skipped strings.
    let is_object = body.trim_ascii_start().starts_with(b"{") && std::str::from_utf8(body).is_ok();
    let Some(member) = Member::parse(body).filter(|_| is_object) else {
        return Classified::new(Outcome::BadResponse, NO_ANSWER);
    };
    let is_asked = |given: &[u8]| id.is_none_or(|asked| asked.is(given));
    match (member.says(), member.id()) {
        (Says::Error(error), id) if id.is_none_or(is_asked) => rpc_error(error),
        (Says::Result, id) if is_asked(id.unwrap_or(b"null")) => Classified::new(Outcome::Success, ""),
        (Says::Uncoded(text), id) if id.is_none_or(is_asked) => {
            Classified { text, ..Classified::new(Outcome::BadResponse, NO_CODE) }
        }
        (Says::Nothing, _) => Classified::new(Outcome::BadResponse, NO_ANSWER),
        _ => Classified::new(Outcome::BadResponse, OTHER_ID),
    }
}

/// Classifies a batch by its worst member: an open one, then an error.
fn parse_batch(body: &Bytes, requests: &[MemberRequest]) -> Classified {
    let Some(answers) = find_answers(requests, body) else {
        // A single answer to a batch can only be an error.
        let single = parse_single(body, None);
        let is_error = single.outcome == Outcome::RpcError || single.detail == NO_CODE;
        return if is_error { single } else { Classified::new(Outcome::BadResponse, NO_ANSWER) };
    };
    let said = answers.slots.iter().any(MemberAnswer::is_said);
    let open = answers.slots.contains(&MemberAnswer::Open);
    match answers.about_all {
        Some(error) if open && !said => return rpc_error(error),
        None if open && !said => return Classified::new(Outcome::BadResponse, NO_ANSWER),
        _ => {}
    }
    let error_of =
        |slot: &MemberAnswer| if let MemberAnswer::Failed(_, error) = slot { Some(error.clone()) } else { None };
    let first_error = answers.slots.iter().find_map(error_of);
    let (outcome, detail) = match (open, &first_error) {
        (true, _) => (Outcome::BadResponse, INCOMPLETE),
        (false, Some(_)) => (Outcome::RpcError, RPC_ERROR),
        (false, None) => (Outcome::Success, ""),
    };
    let members = (outcome != Outcome::Success || !answers.as_is).then_some(answers.slots);
    Classified { rpc_error: first_error, members, ..Classified::new(outcome, detail) }
}

fn rpc_error(error: RpcError) -> Classified {
    Classified { rpc_error: Some(error), ..Classified::new(Outcome::RpcError, RPC_ERROR) }
}

#[cfg(test)]
mod tests;
