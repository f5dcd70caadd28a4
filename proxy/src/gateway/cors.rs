//! Requests of other sites' pages (the CORS protocol of the Fetch standard, and the origin of
//! WebSockets).
//!
//! A browser asks before it sends anything that a page couldn't have sent without scripts, such as
//! a body declared as JSON. The proxy answers that question itself; without the permission in it,
//! the browser sends nothing. An actual request is served whatever its origin is: the permission in
//! the answer lets the page read it. What a page can send without asking is refused elsewhere
//! ([`accepted`](super::accepted)), with a permission or without.
//!
//! A question from an origin that isn't allowed gets 204 without a permission, as from Geth; the
//! browser's console names what is missing.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::config::{Cors, CorsHeaders, OriginPattern, Origins};
use crate::snapshot::Headers;

/// The longest list of headers that a page may ask for.
const MAX_ASKED: usize = 1 << 10;
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");
const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");
/// The request headers that decide the answer to a question.
const VARY_QUESTION: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// Whether a request is a browser's question, which the proxy answers with 204 and the headers of
/// [`answer_preflight`].
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Writes the answer to a browser's question. `headers` are the request's.
pub(super) fn answer_preflight(cors: &Cors, headers: &HeaderMap, answer: &mut impl Headers) {
    answer.append(&header::VARY, &VARY_QUESTION);
    let Some(allowed) = allowed_origin(cors, headers) else { return };
    allow(cors, allowed, answer);
    answer.set(&header::ACCESS_CONTROL_ALLOW_METHODS, &cors.methods);
    if let Some(names) = allowed_headers(cors, headers) {
        answer.set(&header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    answer.set(&header::ACCESS_CONTROL_MAX_AGE, &HeaderValue::from(cors.max_age.as_secs()));
}

/// Writes the permission into the answer to an actual request, in place of the endpoint's own.
/// `headers` are the request's. Refusals get it, too, so that a page can read the reason.
pub(super) fn permit(cors: &Cors, headers: &HeaderMap, answer: &mut impl Headers) {
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_MAX_AGE,
    ] {
        answer.remove(&name);
    }
    // An answer that is the same for every origin may be cached for all.
    if cors.origins == Origins::Any {
        return answer.set(&header::ACCESS_CONTROL_ALLOW_ORIGIN, &ANY);
    }
    answer.append(&header::VARY, &VARY_ORIGIN);
    if let Some(allowed) = allowed_origin(cors, headers) {
        allow(cors, allowed, answer);
    }
}

/// Whether a WebSocket may be opened: browsers let every page open one, and send its origin. A
/// program sends none.
pub(super) fn may_upgrade(cors: &Cors, headers: &HeaderMap) -> bool {
    !headers.contains_key(header::ORIGIN) || allowed_origin(cors, headers).is_some()
}

fn allow(cors: &Cors, origin: &HeaderValue, answer: &mut impl Headers) {
    let origin = if cors.origins == Origins::Any { &ANY } else { origin };
    answer.set(&header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if cors.credentials {
        answer.set(&header::ACCESS_CONTROL_ALLOW_CREDENTIALS, &TRUE);
    }
}

/// The request's origin, if it is one and allowed.
fn allowed_origin<'h>(cors: &Cors, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(header::ORIGIN).iter();
    let origin = values.next().filter(|_| values.next().is_none())?;
    let is_allowed = match &cors.origins {
        Origins::Any => true,
        Origins::Only(patterns) => patterns.iter().any(|pattern| fits(pattern, origin.as_bytes())),
    };
    is_allowed.then_some(origin)
}

fn fits(pattern: &OriginPattern, origin: &[u8]) -> bool {
    match pattern {
        OriginPattern::Exact(exact) => origin.eq_ignore_ascii_case(exact.as_bytes()),
        OriginPattern::Below { begin, end } => {
            let rest = strip(origin, begin.as_bytes());
            let host = rest.and_then(|rest| rest.split_at_checked(rest.len().checked_sub(end.len())?));
            host.is_some_and(|(host, rest)| rest.eq_ignore_ascii_case(end.as_bytes()) && is_labels(host))
        }
    }
}

fn strip<'o>(origin: &'o [u8], begin: &[u8]) -> Option<&'o [u8]> {
    let (first, rest) = origin.split_at_checked(begin.len())?;
    first.eq_ignore_ascii_case(begin).then_some(rest)
}

/// Labels of a host with dots in between: nothing that could end it.
fn is_labels(text: &[u8]) -> bool {
    let fit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(fit))
}

fn allowed_headers<'a>(cors: &'a Cors, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    match &cors.headers {
        CorsHeaders::Only(names) => Some(names).filter(|names| !names.is_empty()),
        // The names that the page asks for: the standard's `*` leaves out `Authorization`.
        CorsHeaders::Any => headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|asked| is_names(asked)),
    }
}

fn is_names(asked: &HeaderValue) -> bool {
    let is_name = |name: &[u8]| HeaderName::from_bytes(name.trim_ascii()).is_ok();
    asked.len() <= MAX_ASKED && asked.as_bytes().split(|byte| *byte == b',').all(is_name)
}

#[cfg(test)]
mod tests;
