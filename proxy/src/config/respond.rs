//! Answers of routes without an upstream.

use std::fmt;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::file;
use super::report::{Key, Report};
use super::spanned::Spanned;
use super::{FixedAnswer, RouteTarget};

/// The accepted forms of `respond`, for messages.
pub(super) const RESPOND_FORM: &str = "a table such as { status = 404, body = \"no such page\" }, or \"health\"";
/// Final statuses.
const STATUS: RangeInclusive<u16> = 200..=599;
/// The longest body: a page or a file of a few lines. This is no file server.
const MAX_BODY: usize = 64 << 10;
/// Statuses whose meaning is their `Location`.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];
/// The status of a redirect by default. It keeps the method, and no browser remembers it for good.
const TEMPORARY: u16 = 307;
/// The status of another answer by default.
const OK: u16 = 200;

/// `"health"`, or a table.
pub(super) enum RespondText {
    Health,
    Table(Box<file::Respond>),
}

impl<'de> Deserialize<'de> for RespondText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = RespondText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(RESPOND_FORM)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RespondText, E> {
                match text {
                    "health" => Ok(RespondText::Health),
                    _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RespondText, A::Error> {
                let table = file::Respond::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RespondText::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

pub(super) fn respond(key: Key<'_>, text: &Spanned<RespondText>, report: &mut Report<'_>) -> RouteTarget {
    match text.get_ref() {
        RespondText::Health => RouteTarget::Health,
        RespondText::Table(file) => RouteTarget::Fixed(fixed(key, file, report)),
    }
}

fn fixed(key: Key<'_>, file: &file::Respond, report: &mut Report<'_>) -> FixedAnswer {
    let location = file.location.as_ref().and_then(|text| location(key.name("location"), text, report));
    let default = if file.location.is_some() { TEMPORARY } else { OK };
    let status = file.status.as_ref().map_or(default, |status| report.whole(key.name("status"), status, STATUS));
    // A number out of range is replaced, which must not cause another problem.
    if file.status.as_ref().is_none_or(|written| *written.get_ref() == i64::from(status)) {
        check_redirect(key, status, file, report);
    }
    let body = file.body.as_ref().map_or("", |text| body(key.name("body"), status, text, report));
    let unwritten = (!body.is_empty()).then_some(HeaderValue::from_static("text/plain; charset=utf-8"));
    let content_type = file.content_type.as_ref();
    FixedAnswer {
        // The range has no other numbers.
        status: StatusCode::from_u16(status).unwrap_or_default(),
        content_type: content_type
            .map_or(unwritten, |text| Some(content_type_value(key.name("content_type"), text, report))),
        location,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn check_redirect(key: Key<'_>, status: u16, file: &file::Respond, report: &mut Report<'_>) {
    let is_redirect = REDIRECTS.contains(&status);
    match (&file.location, &file.status) {
        (None, Some(written)) if is_redirect => {
            report.add(key.name("status"), written.span(), "is a redirect and needs location");
        }
        (Some(location), _) if !is_redirect && status != StatusCode::CREATED => {
            report.add(key.name("location"), location.span(), "needs a status of 201, 301, 302, 303, 307 or 308");
        }
        _ => {}
    }
}

/// A location that every client reads alike: `//host` and `/\host` lead to another site.
fn location(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> Option<HeaderValue> {
    let target = text.get_ref();
    let is_path = target.starts_with('/') && !target.starts_with("//");
    let is_url = url::Url::parse(target).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>".contains(&byte));
    if is_plain && (is_path || is_url) {
        return HeaderValue::from_str(target).ok();
    }
    report.add(key, text.span(), "must be an http or https URL or a path, in ASCII without spaces, quotes or \\");
    None
}

fn body<'f>(key: Key<'_>, status: u16, text: &'f Spanned<String>, report: &mut Report<'_>) -> &'f str {
    let body = text.get_ref();
    if body.len() > MAX_BODY {
        report.add(key, text.span(), "must be at most 64 KiB long");
    } else if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        report.add(key, text.span(), format!("must be left out, since an answer of status {status} has none"));
    }
    body
}

fn content_type_value(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> HeaderValue {
    let is_type = |text: &str| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.split_once('/').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty())
    };
    match HeaderValue::from_str(text.get_ref()) {
        Ok(value) if is_type(text.get_ref()) => value,
        _ => {
            report.add(key, text.span(), "must be a media type such as \"text/html; charset=utf-8\"");
            HeaderValue::from_static("")
        }
    }
}
