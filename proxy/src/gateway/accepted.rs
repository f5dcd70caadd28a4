//! The client's headers: accepted body types, and the headers that are forwarded.

use http::{HeaderName, HeaderValue};

use super::fields::Fields;
use crate::jsonrpc::Refusal;

/// Bytes of names and values together. Endpoints refuse a head that is too large (nginx and Apache
/// one of 8 KiB, most nodes one of 16), and would be blamed for the client's headers.
const MAX_FORWARDED: usize = 8 << 10;

/// The parts of a head that decide whether a body is accepted and which headers are forwarded.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The client declares its body to be JSON.
    ///
    /// Another site's page can send a body without a preflight request (CORS) as long as its type
    /// isn't JSON's, and the endpoint would get it as JSON. Programs may omit the type; a request
    /// with an `Origin` comes from a page and may not.
    pub(super) json: bool,
    /// The headers for the endpoint, or the refusal if they exceed [`MAX_FORWARDED`].
    pub(super) forwarded: Result<Vec<(HeaderName, HeaderValue)>, Refusal>,
}

impl Accepted {
    pub(super) fn of(fields: &Fields<'_>) -> Self {
        let json = match fields.content_type.value {
            None => !fields.has_origin,
            Some(one) => !fields.content_type.repeated && is_json(one),
        };
        Accepted { json, forwarded: forwarded(fields) }
    }
}

/// RFC 9110, section 8.3.1, and the structured suffix of RFC 6839. `json-rpc` and `jsonrequest` are
/// JSON-RPC's own.
pub(super) fn is_json(value: &[u8]) -> bool {
    if value == b"application/json" {
        return true;
    }
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &[u8]| essence.eq_ignore_ascii_case(name);
    let is_suffixed = || {
        let begin = essence.get(..12).is_some_and(|begin| begin.eq_ignore_ascii_case(b"application/"));
        let end = essence.len().checked_sub(5).is_some_and(|at| essence[at..].eq_ignore_ascii_case(b"+json"));
        // Exactly one type: a reader that takes the last of two would see another.
        begin && end && essence.len() > 17 && !essence.iter().any(|byte| matches!(byte, b',' | b' ' | b'\t'))
    };
    is(b"application/json") || is(b"application/json-rpc") || is(b"application/jsonrequest") || is_suffixed()
}

fn forwarded(fields: &Fields<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let is_nominated =
        |name: &HeaderName| fields.nominated.iter().any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()));
    let (mut forwarded, mut size) = (Vec::new(), 0);
    for (name, value) in fields.forwarded.iter().filter(|(name, _)| !is_nominated(name)) {
        size += name.as_str().len() + value.len();
        if size > MAX_FORWARDED {
            return Err(Refusal::HeadersTooLarge(MAX_FORWARDED));
        }
        // A parsed head has no other bytes.
        if let Ok(value) = HeaderValue::from_bytes(value) {
            forwarded.push((name.clone(), value));
        }
    }
    Ok(forwarded)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};

    use super::*;

    fn is_taken(headers: &HeaderMap) -> bool {
        Accepted::of(&Fields::of_map(headers)).json
    }

    fn passed_on(headers: &HeaderMap) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        Accepted::of(&Fields::of_map(headers)).forwarded
    }

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
            assert!(is_taken(&map(&[("content-type", fit)])), "{fit}");
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
            assert!(!is_taken(&map(&[("content-type", unfit)])), "{unfit}");
        }
        assert!(is_taken(&map(&[])));
        assert!(!is_taken(&map(&[("origin", "null")])));
        let two = [("content-type", "application/json"), ("content-type", "text/plain")];
        let mut both = map(&two[..1]);
        both.append(header::CONTENT_TYPE, HeaderValue::from_static(two[1].1));
        assert!(!is_taken(&both));
    }

    #[test]
    fn what_is_passed_on_has_a_limit() {
        let agent = |length| "a".repeat(length);
        let most = MAX_FORWARDED - "user-agent".len();
        assert_eq!(passed_on(&map(&[("user-agent", &agent(most))])).unwrap().len(), 1);
        assert!(passed_on(&map(&[("user-agent", &agent(most + 1))])).is_err());
        let halves = agent(MAX_FORWARDED / 2);
        assert!(passed_on(&map(&[("user-agent", &halves), ("tracestate", &halves)])).is_err());
        let nominated = map(&[("user-agent", &agent(most + 1)), ("connection", "User-Agent")]);
        assert!(passed_on(&nominated).unwrap().is_empty());
        assert!(passed_on(&map(&[("cookie", &agent(most + 1))])).unwrap().is_empty());
    }
}
