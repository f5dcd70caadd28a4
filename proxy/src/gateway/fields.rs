//! The relevant fields of a request's head, found in one pass.
//!
//! A look-up in a header map costs a hash, whether the field is there or not.
//! [`framing`](super::framing), [`accepted`](super::accepted) and the express lane use these
//! fields.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::client_identity::X_FORWARDED_FOR;
use crate::model::host_hash;

/// A field that may occur once in a head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Single<'h> {
    pub(super) value: Option<&'h [u8]>,
    /// It occurs more than once.
    pub(super) repeated: bool,
}

/// The fields of one head.
#[derive(Debug, Default)]
pub(super) struct Fields<'h> {
    pub(super) host: Single<'h>,
    pub(super) content_length: Single<'h>,
    pub(super) transfer_encoding: Single<'h>,
    pub(super) content_type: Single<'h>,
    pub(super) expect: Single<'h>,
    /// The first value of each header that is forwarded to endpoints.
    pub(super) forwarded: Vec<(HeaderName, &'h [u8])>,
    /// The headers in which a trusted proxy names the client.
    pub(super) forwarding: Vec<(HeaderName, &'h [u8])>,
    /// `Origin` is present: the request comes from a browser's page.
    pub(super) has_origin: bool,
    /// `Upgrade` is present: the client offers another protocol (RFC 9110, section 7.8).
    pub(super) upgrades: bool,
    /// `Connection` has the option `close` (RFC 9112, section 9.6), in any of its values. Pingora
    /// reads only the first one.
    pub(super) closes: bool,
    /// Options of `Connection` that nominate headers for this hop only (RFC 9110, section 7.6.1).
    pub(super) nominated: Vec<&'h [u8]>,
}

impl<'h> Fields<'h> {
    /// The fields of a head, given as names in any case and values.
    pub(super) fn of(headers: impl Iterator<Item = (&'h [u8], &'h [u8])>) -> Self {
        let mut fields = Fields::default();
        for (name, value) in headers {
            fields.add(name, value);
        }
        fields
    }

    /// The fields of a parsed head.
    pub(super) fn of_map(headers: &'h HeaderMap) -> Self {
        Fields::of(headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
    }

    /// The headers in which a trusted proxy names the client.
    pub(super) fn forwarding_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.forwarding {
            // A parsed head has no other bytes.
            if let Ok(value) = HeaderValue::from_bytes(value) {
                map.append(name.clone(), value);
            }
        }
        map
    }

    /// The hash of the host for policies.
    pub(super) fn host_hash(&self) -> u64 {
        self.host.value.and_then(|host| std::str::from_utf8(host).ok()).map_or(0, host_hash)
    }

    fn add(&mut self, name: &[u8], value: &'h [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // By length, since that rules out nearly all names.
        match name.len() {
            4 if is("host") => self.host.add(value),
            6 if is("expect") => self.expect.add(value),
            6 if is("origin") => self.has_origin = true,
            7 if is("upgrade") => self.upgrades = true,
            9 if is("forwarded") => self.forwarding.push((header::FORWARDED, value)),
            10 if is("connection") => self.add_connection(value),
            // No others are forwarded: cookies and credentials are meant for the proxy.
            10 if is("user-agent") => self.add_forwarded(header::USER_AGENT, value),
            10 if is("tracestate") => self.add_forwarded(HeaderName::from_static("tracestate"), value),
            11 if is("traceparent") => self.add_forwarded(HeaderName::from_static("traceparent"), value),
            12 if is("x-request-id") => self.add_forwarded(HeaderName::from_static("x-request-id"), value),
            12 if is("content-type") => self.content_type.add(value),
            14 if is("content-length") => self.content_length.add(value),
            15 if is("x-forwarded-for") => self.forwarding.push((X_FORWARDED_FOR, value)),
            17 if is("transfer-encoding") => self.transfer_encoding.add(value),
            _ => {}
        }
    }

    fn add_connection(&mut self, value: &'h [u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if !option.eq_ignore_ascii_case(b"keep-alive") {
                self.nominated.push(option);
            }
        }
    }

    fn add_forwarded(&mut self, name: HeaderName, value: &'h [u8]) {
        if !self.forwarded.iter().any(|(there, _)| *there == name) {
            self.forwarded.push((name, value));
        }
    }
}

impl<'h> Single<'h> {
    fn add(&mut self, value: &'h [u8]) {
        self.repeated = self.value.is_some();
        self.value = self.value.or(Some(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'h>(pairs: &[(&'h str, &'h str)]) -> Fields<'h> {
        Fields::of(pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    #[test]
    fn a_field_that_stands_there_twice_is_known_as_such() {
        let fields = fields(&[("Content-Length", "1"), ("host", "a"), ("content-length", "1")]);
        assert_eq!(fields.content_length.value.unwrap(), b"1");
        assert!(fields.content_length.repeated && !fields.host.repeated);
        assert!(fields.transfer_encoding.value.is_none() && !fields.has_origin);
    }

    #[test]
    fn every_connection_header_counts() {
        let of = |pairs: &[_]| {
            let fields = fields(pairs);
            (fields.closes, !fields.nominated.is_empty())
        };
        assert_eq!(of(&[]), (false, false));
        assert_eq!(of(&[("connection", "Keep-Alive")]), (false, false));
        assert_eq!(of(&[("connection", "keep-alive"), ("CONNECTION", "x , CLOSE")]), (true, true));
        assert_eq!(of(&[("connection", "closed")]), (false, true));
    }

    #[test]
    fn the_first_value_of_a_forwarded_header_is_taken() {
        let fields = fields(&[("User-Agent", "a"), ("cookie", "b"), ("user-agent", "c"), ("tracestate", "d")]);
        let mut values: Vec<_> = fields.forwarded.iter().map(|(_, value)| *value).collect();
        values.sort_unstable();
        assert_eq!(values, [b"a", b"d"]);
    }

    #[test]
    fn a_map_and_a_raw_head_give_the_same_fields() {
        let pairs = [("host", "a"), ("upgrade", "x"), ("origin", "null"), ("expect", "y"), ("x-request-id", "z")];
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value.parse().unwrap());
        }
        let (of_map, raw) = (Fields::of_map(&map), fields(&pairs));
        assert_eq!(format!("{of_map:?}"), format!("{raw:?}"));
        assert!(raw.upgrades && raw.has_origin);
    }
}
