//! What a client's headers may say: which types of bodies are taken, and which headers are passed
//! on.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::rpc::Refusal;

/// The client's headers that endpoints get. All others stay here: cookies and credentials are meant
/// for the proxy.
const FORWARDED: [HeaderName; 4] = [
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];
/// Names and values of them together. Endpoints refuse a head that is too large (nginx and Apache
/// one of 8 KiB, most nodes one of 16), and would be blamed for what the client sent.
const MAX_FORWARDED: usize = 8 << 10;

/// Another site's page can send a body without asking first (CORS) as long as its type isn't
/// JSON's, and the endpoint would get it as JSON. So only JSON's types are taken; none is what
/// programs send, and a page with an `Origin` is none.
///
/// # Errors
/// When the body isn't said to be JSON.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let fits = match (types.next(), types.next()) {
        (None, _) => !headers.contains_key(header::ORIGIN),
        (Some(one), None) => is_json(one.as_bytes()),
        (Some(_), Some(_)) => false,
    };
    if fits { Ok(()) } else { Err(Refusal::NotJsonType) }
}

/// RFC 9110, section 8.3.1, and the structured suffix of RFC 6839. `json-rpc` and `jsonrequest` are
/// JSON-RPC's own.
pub(super) fn is_json(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &[u8]| essence.eq_ignore_ascii_case(name);
    let is_suffixed = || {
        let begin = essence.get(..12).is_some_and(|begin| begin.eq_ignore_ascii_case(b"application/"));
        let end = essence.len().checked_sub(5).is_some_and(|at| essence[at..].eq_ignore_ascii_case(b"+json"));
        // One type, not two that a reader of the last one takes for another.
        begin && end && essence.len() > 17 && !essence.iter().any(|byte| matches!(byte, b',' | b' ' | b'\t'))
    };
    is(b"application/json") || is(b"application/json-rpc") || is(b"application/jsonrequest") || is_suffixed()
}

/// The headers for the endpoint.
///
/// # Errors
/// When there are too many bytes of them.
pub(super) fn forwarded(headers: &HeaderMap) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let found = FORWARDED.into_iter().filter_map(|name| headers.get(&name).cloned().map(|value| (name, value)));
    let forwarded: Vec<_> = found.filter(|(name, _)| !is_nominated(headers, name)).collect();
    let size: usize = forwarded.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MAX_FORWARDED { Err(Refusal::HeadersTooLarge(MAX_FORWARDED)) } else { Ok(forwarded) }
}

/// What `Connection` names is meant for this hop alone (RFC 9110, section 7.6.1).
fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    let options = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    options.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_types_of_json_are_taken() {
        for fit in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json ;q",
            "application/json-rpc",
            "application/jsonrequest",
            "application/vnd.api+json",
        ] {
            assert!(check_content_type(&map(&[("content-type", fit)])).is_ok(), "{fit}");
        }
        for unfit in [
            "text/plain",
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
            "text/json",
            "",
            "*/*",
            "application/+json",
            "application/jsonp",
            "application/json, text/plain",
            "text/plain, application/x+json",
            "application/x, application/x+json",
            "text/plain; application/json",
        ] {
            assert!(check_content_type(&map(&[("content-type", unfit)])).is_err(), "{unfit}");
        }
        assert!(check_content_type(&map(&[])).is_ok());
        assert!(check_content_type(&map(&[("origin", "null")])).is_err());
        let two = [("content-type", "application/json"), ("content-type", "text/plain")];
        let mut both = map(&two[..1]);
        both.append(header::CONTENT_TYPE, HeaderValue::from_static(two[1].1));
        assert!(check_content_type(&both).is_err());
    }

    #[test]
    fn what_is_passed_on_has_a_limit() {
        let agent = |length| "a".repeat(length);
        let most = MAX_FORWARDED - "user-agent".len();
        assert_eq!(forwarded(&map(&[("user-agent", &agent(most))])).unwrap().len(), 1);
        assert!(forwarded(&map(&[("user-agent", &agent(most + 1))])).is_err());
        let halves = agent(MAX_FORWARDED / 2);
        assert!(forwarded(&map(&[("user-agent", &halves), ("tracestate", &halves)])).is_err());
        let nominated = map(&[("user-agent", &agent(most + 1)), ("connection", "User-Agent")]);
        assert!(forwarded(&nominated).unwrap().is_empty());
        assert!(forwarded(&map(&[("cookie", &agent(most + 1))])).unwrap().is_empty());
    }
}
