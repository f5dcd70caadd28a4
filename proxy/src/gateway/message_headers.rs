//! The headers of Pingora's messages, for those who change them.
//!
//! Of a response its own methods must be used: they keep the names in the case in which they are
//! written. They fail only for a name or a value that is none.

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::snapshot::Headers;

/// Takes the head of a request, to change it. Names lose their client's case: keeping it would cost as
/// much as all other changes together, and names have none (RFC 9110, section 5.1).
pub(super) fn take(request: &mut RequestHeader) -> Parts {
    let (empty, ()) = Request::new(()).into_parts();
    std::mem::replace(request, empty.into()).into()
}

/// Joins the cookies, which clients of HTTP/2 may send in several headers and those of HTTP/1.1 in
/// one (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        // Parts of values make a value.
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

impl Headers for ResponseHeader {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        let _ = self.insert_header(name.clone(), value.clone());
    }

    fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        let _ = self.append_header(name.clone(), value.clone());
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

    use http::StatusCode;

    use super::*;
    use crate::snapshot::HeaderEdits;

    fn changed(headers: &mut impl Headers) {
        let pair = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let edits = HeaderEdits { set: vec![pair("x-a", "new")], remove: vec![HeaderName::from_static("x-b")] };
        edits.apply(headers);
        let (vary, value) = pair("vary", "origin");
        headers.append(&vary, &value);
    }

    #[test]
    fn a_response_is_changed() {
        let mut response = ResponseHeader::build(StatusCode::OK, None).unwrap();
        for (name, value) in [("X-A", "1"), ("X-A", "2"), ("x-b", "3"), ("Vary", "accept")] {
            response.append_header(name, value).unwrap();
        }
        changed(&mut response);
        assert_eq!(response.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["new"]);
        assert!(!response.headers.contains_key("x-b"));
        assert_eq!(response.headers.get_all("vary").iter().collect::<Vec<_>>(), ["accept", "origin"]);
    }

    #[test]
    fn the_head_of_a_request_is_taken_with_all_that_it_has() {
        let mut request = RequestHeader::build("PUT", b"/a?b", None).unwrap();
        request.append_header("X-A", "1").unwrap();
        let mut head = take(&mut request);
        head.headers.append("x-a", HeaderValue::from_static("2"));
        request = head.into();
        assert_eq!((request.method.as_str(), request.raw_path()), ("PUT", &b"/a?b"[..]));
        assert_eq!(request.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
