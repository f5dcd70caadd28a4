//! The headers of Pingora's messages, for those who change them.
//!
//! Its own methods must be used: they keep the names in the case in which they are written. They
//! fail only for a name or a value that is none.

use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::snapshot::Headers;

impl Headers for RequestHeader {
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
    fn both_messages_are_changed() {
        let old = [("X-A", "1"), ("X-A", "2"), ("x-b", "3"), ("Vary", "accept")];
        let mut request = RequestHeader::build("POST", b"/", None).unwrap();
        let mut response = ResponseHeader::build(StatusCode::OK, None).unwrap();
        for (name, value) in old {
            request.append_header(name, value).unwrap();
            response.append_header(name, value).unwrap();
        }
        changed(&mut request);
        changed(&mut response);
        for headers in [&request.headers, &response.headers] {
            assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["new"]);
            assert!(!headers.contains_key("x-b"));
            assert_eq!(headers.get_all("vary").iter().collect::<Vec<_>>(), ["accept", "origin"]);
        }
    }
}
