//! Answers that a route gives without an endpoint, and what a route adds to every answer.
//!
//! The writer adds the framing, and leaves out the body for `HEAD`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::cors;
use crate::config::FixedAnswer;
use crate::snapshot::{Headers, Health, Route, Target};

/// Keeps browsers from guessing another type.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A load balancer asks for the state of now.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An answer of the proxy's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnAnswer {
    /// The status.
    pub(super) status: StatusCode,
    /// All headers but those of the framing.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; empty with a status that has none.
    pub(super) body: Bytes,
}

/// The answer to a request that needs no endpoint: a browser's question on a route with `cors`, or
/// any request on a route with `respond`. `headers` are the request's.
pub(super) fn own_answer(
    route: &Route,
    method: &Method,
    headers: &HeaderMap,
    health: impl FnOnce() -> Health,
) -> Option<OwnAnswer> {
    if let Some(cors) = route.cors.as_ref().filter(|_| cors::is_preflight(method, headers)) {
        let mut answer = OwnAnswer::new(StatusCode::NO_CONTENT, Bytes::new());
        route.response_headers.apply(&mut answer.headers);
        cors::answer_preflight(cors, headers, &mut answer.headers);
        return Some(answer);
    }
    let mut answer = match &route.target {
        Target::Upstream(_) => return None,
        Target::Fixed(fixed) => OwnAnswer::fixed(fixed),
        Target::Health => OwnAnswer::health(&health()),
    };
    complete(route, headers, &mut answer.headers);
    Some(answer)
}

/// Writes what a route adds to every answer but that to a browser's question: an endpoint's, the
/// proxy's own, and a refusal. `headers` are the request's.
pub(super) fn complete(route: &Route, headers: &HeaderMap, answer: &mut impl Headers) {
    route.response_headers.apply(answer);
    if let Some(cors) = &route.cors {
        cors::permit(cors, headers, answer);
    }
}

impl OwnAnswer {
    fn new(status: StatusCode, body: Bytes) -> Self {
        OwnAnswer { status, headers: vec![(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)], body }
    }

    fn fixed(fixed: &FixedAnswer) -> Self {
        let mut answer = OwnAnswer::new(fixed.status, fixed.body.clone());
        answer.headers.extend(fixed.content_type.clone().map(|kind| (header::CONTENT_TYPE, kind)));
        answer.headers.extend(fixed.location.clone().map(|location| (header::LOCATION, location)));
        answer
    }

    /// The status alone: names of upstreams and policies are for the operator.
    fn health(health: &Health) -> Self {
        let body = format!("{{\"status\":\"{}\"}}\n", health.status);
        let mut answer = OwnAnswer::new(health.code(), body.into());
        answer.headers.extend([(header::CONTENT_TYPE, JSON), (header::CACHE_CONTROL, NO_STORE)]);
        answer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

    use super::*;
    use crate::snapshot::fixture::only_route;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(pair).collect()
    }

    fn answer(keys: &str, method: Method, headers: &HeaderMap) -> Option<(u16, Vec<String>, String)> {
        let health = || Health { status: "down", unavailable: vec!["u".into()], ..Health::default() };
        let answer = own_answer(&only_route(keys), &method, headers, health)?;
        let mut lines: Vec<String> =
            answer.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        Some((answer.status.as_u16(), lines, String::from_utf8(answer.body.to_vec()).unwrap()))
    }

    const QUESTION: [(&str, &str); 2] = [("origin", "https://a"), ("access-control-request-method", "POST")];

    #[test]
    fn respond_answers_every_method() {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let (status, lines, body) =
                answer("respond = { status = 404, body = 'no' }", method, &map(&QUESTION)).unwrap();
            assert_eq!((status, body.as_str()), (404, "no"));
            assert_eq!(lines, ["content-type: text/plain; charset=utf-8", "x-content-type-options: nosniff"]);
        }
        let (status, lines, _) = answer("respond = { location = '/x' }", Method::GET, &HeaderMap::new()).unwrap();
        assert_eq!((status, lines), (307, vec!["location: /x".to_owned(), "x-content-type-options: nosniff".into()]));
        assert_eq!(answer("upstream = 'u'", Method::OPTIONS, &map(&QUESTION)), None);
    }

    #[test]
    fn health_is_a_status_without_names() {
        let (status, lines, body) = answer("respond = 'health'", Method::GET, &HeaderMap::new()).unwrap();
        assert_eq!((status, body.as_str()), (503, "{\"status\":\"down\"}\n"));
        assert!(lines.contains(&"cache-control: no-store".to_owned()), "{lines:?}");
    }

    #[test]
    fn a_browsers_question_comes_before_the_target() {
        for target in ["upstream = 'u'", "respond = { body = 'no' }"] {
            let keys = format!(
                "{target}\ncors = {{ origins = ['https://a'] }}\n\
                 response_headers = {{ set = {{ x-a = '1', vary = 'x' }} }}"
            );
            let (status, lines, body) = answer(&keys, Method::OPTIONS, &map(&QUESTION)).unwrap();
            assert_eq!((status, body.as_str()), (204, ""));
            for expected in ["access-control-allow-origin: https://a", "x-a: 1", "vary: x"] {
                assert!(lines.contains(&expected.to_owned()), "{expected} isn't in {lines:?}");
            }
        }
    }

    #[test]
    fn every_answer_is_completed() {
        let route = only_route(
            "upstream = 'u'\ncors = { origins = ['https://a'] }\n\
             response_headers = { set = { x-a = '1' }, remove = ['server'] }",
        );
        let mut answer = map(&[("server", "s"), ("content-type", "application/json")]);
        complete(&route, &map(&QUESTION), &mut answer);
        let expected = [
            ("content-type", "application/json"),
            ("x-a", "1"),
            ("vary", "origin"),
            ("access-control-allow-origin", "https://a"),
        ];
        assert_eq!(answer, map(&expected));
    }
}
