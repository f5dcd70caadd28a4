//! Compression of responses by Pingora's module, where the upstream asks for it.
//!
//! Left alone is what compression would break or delay: a part of a representation, a stream of
//! events or calls, and what forbids it (`no-transform`).

use http::{HeaderMap, Method, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::modules::http::compression::ResponseCompression;
use pingora_proxy::Session;

/// The statuses whose bodies are compressed (nginx's).
const STATUSES: [StatusCode; 3] = [StatusCode::OK, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];

/// Lets the module compress the response whose head this is. `level` is 1 to 9. The module chooses
/// among the client's codings, and by the type and size of the body.
pub(super) fn compress(session: &mut Session, head: &ResponseHeader, level: u32) {
    let request = session.req_header();
    if request.method == Method::HEAD || !STATUSES.contains(&head.status) || !may_compress(&head.headers) {
        return;
    }
    let Session { downstream_session, downstream_modules_ctx, .. } = session;
    if let Some(module) = downstream_modules_ctx.get_mut::<ResponseCompression>() {
        module.adjust_level(level);
        // It was off when the request came by.
        module.request_filter(downstream_session.req_header());
    }
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
}
