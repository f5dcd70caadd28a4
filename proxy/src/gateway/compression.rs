//! Compression of responses by Pingora's module, where the upstream asks for it.
//!
//! Left alone is what compression would break or delay: a part of a representation, a stream of
//! events or calls, and what forbids it (`no-transform`).

use http::{HeaderMap, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::compression::ResponseCompression;
use pingora_proxy::Session;

/// The statuses whose bodies are compressed (nginx's).
const STATUSES: [StatusCode; 3] = [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];

/// Headers about the very bytes of a body.
const ABOUT_BYTES: [&str; 5] = ["content-range", "content-md5", "content-digest", "repr-digest", "digest"];

/// Lets the module compress the response whose head this is. `level` is 1 to 9. The module chooses
/// among the client's codings, and by the type and size of the body.
pub(super) fn compress(session: &mut Session, head: &ResponseHeader, level: u32) {
    let request = session.req_header();
    if request.method == Method::HEAD || !STATUSES.contains(&head.status) || !may_compress(&head.headers) {
        return;
    }
    let Some(accepted) = accepted_codings(&request.headers) else { return };
    if let Some(module) = session.downstream_modules_ctx.get_mut::<ResponseCompression>() {
        module.adjust_level(level);
        // It was off when the request came by.
        module.request_filter(&accepted);
    }
}

/// A head with the codings that the client accepts. The module takes no notice of `q=0`, which
/// forbids one (RFC 9110, section 12.4.2).
fn accepted_codings(headers: &HeaderMap) -> Option<RequestHeader> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings = values.flat_map(|value| value.split(',')).filter_map(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameters.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.trim_start().strip_prefix('='));
        let is_forbidden = quality.is_some_and(|quality| quality.trim().parse::<f32>().is_ok_and(|q| q <= 0.0));
        (!is_forbidden).then_some(name.trim())
    });
    let codings: Vec<&str> = codings.filter(|name| !name.is_empty()).collect();
    let mut head = RequestHeader::build_no_case(Method::GET, b"/", Some(1)).ok()?;
    head.insert_header(header::ACCEPT_ENCODING, codings.join(", ")).ok()?;
    (!codings.is_empty()).then_some(head)
}

fn may_compress(headers: &HeaderMap) -> bool {
    let has = |name, part: &[u8]| {
        headers
            .get_all(name)
            .iter()
            .any(|value| memchr::memmem::find(&value.as_bytes().to_ascii_lowercase(), part).is_some())
    };
    !has(header::CONTENT_TYPE, b"event-stream")
        && !has(header::CONTENT_TYPE, b"application/grpc")
        && !has(header::CACHE_CONTROL, b"no-transform")
        && !ABOUT_BYTES.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_what_forbids_it_are_left_alone() {
        for (name, value, expected) in [
            (header::CONTENT_TYPE, "text/html", true),
            (header::CONTENT_TYPE, "Text/Event-Stream; charset=utf-8", false),
            (header::CONTENT_TYPE, "application/grpc+proto", false),
            (header::CACHE_CONTROL, "public, No-Transform", false),
            (header::CACHE_CONTROL, "public", true),
        ] {
            let headers = HeaderMap::from_iter([(name, value.parse().unwrap())]);
            assert_eq!(may_compress(&headers), expected, "{value}");
        }
        assert!(may_compress(&HeaderMap::new()));
    }

    #[test]
    fn a_coding_of_quality_0_is_not_accepted() {
        for (text, expected) in [
            ("gzip, br", Some("gzip, br")),
            ("gzip;q=0", None),
            ("gzip; Q = 0.000, br;q=0.5", Some("br")),
            ("gzip;q=0.001", Some("gzip")),
            ("gzip;x=0", Some("gzip")),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, text.parse().unwrap())]);
            let accepted = accepted_codings(&headers);
            let accepted = accepted.as_ref().map(|head| head.headers[header::ACCEPT_ENCODING].to_str().unwrap());
            assert_eq!(accepted, expected, "{text}");
        }
        assert!(accepted_codings(&HeaderMap::new()).is_none());
    }
}
