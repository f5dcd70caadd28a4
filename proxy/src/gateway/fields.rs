//! The relevant fields of a request's head, found in one pass.
//!
//! A look-up in a header map costs a hash, whether the field is there or not.
//! [`framing`](super::framing) and [`accepted`](super::accepted) use these fields.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A field that may occur once in a head.
#[derive(Clone, Copy, Default)]
pub(super) struct Single<'h> {
    pub(super) value: Option<&'h HeaderValue>,
    /// It occurs more than once.
    pub(super) repeated: bool,
}

/// The fields of one head.
#[derive(Default)]
pub(super) struct Fields<'h> {
    pub(super) host: Single<'h>,
    pub(super) content_length: Single<'h>,
    pub(super) transfer_encoding: Single<'h>,
    pub(super) content_type: Single<'h>,
    pub(super) expect: Single<'h>,
    /// The first value of each header that is forwarded to endpoints.
    pub(super) forwarded: Vec<(&'h HeaderName, &'h HeaderValue)>,
    /// `Origin` is present: the request comes from a browser's page.
    pub(super) has_origin: bool,
    /// `Connection` has the option `close` (RFC 9112, section 9.6), in any of its values. Pingora
    /// reads only the first one.
    pub(super) closes: bool,
    /// `Connection` nominates headers that are meant for this hop only (RFC 9110, section 7.6.1).
    pub(super) nominates: bool,
}

impl<'h> Fields<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let mut fields = Fields::default();
        for (name, value) in headers {
            match name.as_str() {
                "host" => fields.host.add(value),
                "content-length" => fields.content_length.add(value),
                "transfer-encoding" => fields.transfer_encoding.add(value),
                "content-type" => fields.content_type.add(value),
                "expect" => fields.expect.add(value),
                "connection" => fields.add_connection(value),
                "origin" => fields.has_origin = true,
                // No others: cookies and credentials are meant for the proxy.
                "user-agent" | "traceparent" | "tracestate" | "x-request-id" => fields.add_forwarded(name, value),
                _ => {}
            }
        }
        fields
    }

    fn add_connection(&mut self, value: &HeaderValue) {
        for option in options(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if !option.eq_ignore_ascii_case(b"keep-alive") {
                self.nominates = true;
            }
        }
    }

    fn add_forwarded(&mut self, name: &'h HeaderName, value: &'h HeaderValue) {
        if !self.forwarded.iter().any(|(there, _)| *there == name) {
            self.forwarded.push((name, value));
        }
    }
}

impl<'h> Single<'h> {
    fn add(&mut self, value: &'h HeaderValue) {
        self.repeated = self.value.is_some();
        self.value = self.value.or(Some(value));
    }
}

/// The options of a `Connection` header.
pub(super) fn options(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn a_field_that_stands_there_twice_is_known_as_such() {
        let headers = map(&[("content-length", "1"), ("host", "a"), ("content-length", "1")]);
        let fields = Fields::of(&headers);
        assert_eq!(fields.content_length.value.unwrap(), "1");
        assert!(fields.content_length.repeated && !fields.host.repeated);
        assert!(fields.transfer_encoding.value.is_none() && !fields.has_origin);
    }

    #[test]
    fn every_connection_header_counts() {
        let of = |pairs: &[_]| {
            let headers = map(pairs);
            let fields = Fields::of(&headers);
            (fields.closes, fields.nominates)
        };
        assert_eq!(of(&[]), (false, false));
        assert_eq!(of(&[("connection", "Keep-Alive")]), (false, false));
        assert_eq!(of(&[("connection", "keep-alive"), ("connection", "x , CLOSE")]), (true, true));
        assert_eq!(of(&[("connection", "closed")]), (false, true));
    }

    #[test]
    fn the_first_value_of_a_forwarded_header_is_taken() {
        let headers = map(&[("user-agent", "a"), ("cookie", "b"), ("user-agent", "c"), ("tracestate", "d")]);
        let mut values: Vec<_> =
            Fields::of(&headers).forwarded.iter().map(|(_, value)| value.to_str().unwrap()).collect();
        values.sort_unstable();
        assert_eq!(values, ["a", "d"]);
    }
}
