//! The bounds of a request, and whether another one may follow on its connection.
//!
//! Pingora parses the head and reads the body. This module checks the head against RFC 9112 before
//! routing, because Pingora, as the RFC allows, repairs heads: it drops a `Content-Length` beside a
//! `Transfer-Encoding`, takes the last of several codings, merges equal lengths, and accepts a line
//! that ends with LF alone. A proxy or firewall in front that reads such a head in another way sees
//! another end of the body, and the bytes in between become a request that was never checked.
//!
//! Invariants: an ambiguous head is answered with 400, its connection is closed, and no endpoint
//! sees a byte of it. Keep-alive may only be narrowed: once Pingora, the client or this module has
//! ended it, it stays ended.

use http::{HeaderValue, Method, Version};
use memchr::memchr2;
use pingora::http::RequestHeader;

use super::fields::Fields;
use crate::jsonrpc::{Refusal, decimal};

/// Maximum digits of a `Content-Length`: other readers lose precision on longer ones.
const MAX_LENGTH_DIGITS: usize = 18;
/// Digits of a port.
const MAX_PORT_DIGITS: usize = 5;

/// The length of a request, and whether another one may follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framing {
    /// Another request may follow on the connection.
    pub(super) may_follow: bool,
    pub(super) body: BodyLength,
    /// `Expect: 100-continue`, which HTTP/1.0 doesn't define (RFC 9110, section 10.1.1).
    pub(super) expects_continue: bool,
}

/// The length of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// The head announces no body.
    None,
    Bytes(usize),
    Chunked,
}

/// Checks a head. `raw` is the head as sent; the parsed one lacks what Pingora repaired.
///
/// # Errors
/// When the head is ambiguous. The connection must be closed.
pub(super) fn check(head: &RequestHeader, fields: &Fields<'_>, raw: &[u8]) -> Result<Framing, Refusal> {
    check_target(head, raw)?;
    check_host(head.version, fields)?;
    let body = body_length(fields, raw)?;
    let knows_11 = head.version >= Version::HTTP_11;
    let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    Ok(Framing {
        // HTTP/1.0 clients take the end of the connection as the end of the response. After CONNECT
        // the bytes are no requests.
        may_follow: knows_11 && head.method != Method::CONNECT && !fields.closes,
        body,
        expects_continue: knows_11 && fields.expect.value.is_some_and(expects),
    })
}

/// The request target forms of RFC 9112, section 3.2: a path, for OPTIONS an asterisk, for CONNECT
/// an authority, or a URL. Pingora has compared the authority of a URL with `Host`.
fn check_target(head: &RequestHeader, raw: &[u8]) -> Result<(), Refusal> {
    // Fragments are for the client only. Pingora drops them; others may read them as part of the
    // path.
    if memchr2(b'#', b'\n', raw).is_some_and(|at| raw[at] == b'#') {
        return refuse("the request target has a fragment");
    }
    let target = head.raw_path();
    let fits = match target.first() {
        Some(b'/') => true,
        Some(b'*') => target.len() == 1 && head.method == Method::OPTIONS,
        _ => head.method == Method::CONNECT || is_url(target),
    };
    match fits {
        true => Ok(()),
        false => refuse("the request target is neither a path nor an http URL"),
    }
}

fn is_url(target: &[u8]) -> bool {
    let begins = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    begins(b"http://") || begins(b"https://")
}

/// RFC 9112, section 3.2: exactly one `Host` (Pingora refuses a second one), with a host and
/// perhaps a port.
fn check_host(version: Version, fields: &Fields<'_>) -> Result<(), Refusal> {
    match fields.host.value {
        Some(host) if is_host(host.as_bytes()) => Ok(()),
        Some(_) => refuse("Host is not a host with an optional port"),
        None if version < Version::HTTP_11 => Ok(()),
        None => refuse("Host is missing"),
    }
}

/// Clients send an empty host for a URL without an authority.
pub(super) fn is_host(host: &[u8]) -> bool {
    let (name, rest) = match host.first() {
        Some(b'[') => match host.iter().position(|byte| *byte == b']') {
            Some(end) => (&host[1..end], &host[end + 1..]),
            None => return false,
        },
        _ => host.split_at(host.iter().position(|byte| *byte == b':').unwrap_or(host.len())),
    };
    let port = match rest.split_first() {
        Some((b':', port)) => port,
        Some(_) => return false,
        None => b"",
    };
    // RFC 3986, section 3.2.2, without the comma, which separates two joined headers.
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(byte);
    let in_address = |byte: &u8| in_name(byte) || *byte == b':';
    let is_name = if host.starts_with(b"[") { name.iter().all(in_address) } else { name.iter().all(in_name) };
    let is_port = port.is_empty()
        || port.len() <= MAX_PORT_DIGITS && decimal(port).is_some_and(|number| number <= usize::from(u16::MAX));
    is_name && is_port
}

/// RFC 9112, sections 6.1 to 6.3: one length, or `chunked` once and nothing else.
fn body_length(fields: &Fields<'_>, raw: &[u8]) -> Result<BodyLength, Refusal> {
    if let Some(coding) = fields.transfer_encoding.value {
        if fields.transfer_encoding.repeated || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return refuse("the only transfer coding of a request is chunked, once");
        }
        // Pingora has removed it from the parsed head.
        if has_field(raw, b"content-length") {
            return refuse("Content-Length and Transfer-Encoding can't stand together");
        }
        return Ok(BodyLength::Chunked);
    }
    match fields.content_length.value {
        None => Ok(BodyLength::None),
        Some(_) if fields.content_length.repeated => refuse("Content-Length stands there twice"),
        Some(length) => match decimal(length.as_bytes()).filter(|_| length.len() <= MAX_LENGTH_DIGITS) {
            Some(bytes) => Ok(BodyLength::Bytes(bytes)),
            None => refuse("Content-Length is no number of bytes that a body has"),
        },
    }
}

/// Whether a line of the head begins with this field name.
fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').any(|line| {
        line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
            && line.get(name.len()) == Some(&b':')
    })
}

fn refuse<T>(why: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Malformed(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for host in ["", "h", "h:1", "h:", "a.b-c_d:65535", "127.0.0.1:80", "[::1]", "[::1]:80", "h%41", "a~b"] {
            assert!(is_host(host.as_bytes()), "{host:?}");
        }
        let bad = [
            "h h",
            "h,h",
            "h/",
            "h?",
            "h#",
            "h@h",
            "h\\",
            "h:a",
            "h:1:2",
            "h:65536",
            "h:123456",
            "h:99999999999999999999999",
            "[::1",
            "[::1]x",
            "::1",
            "é",
        ];
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
    }

    #[test]
    fn a_field_is_found_by_the_beginning_of_its_line() {
        let has = |raw: &str| has_field(raw.as_bytes(), b"content-length");
        assert!(has("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n"));
        assert!(!has("POST /content-length: HTTP/1.1\r\nx: content-length: 1\r\ncontent-length-2: 1\r\n\r\n"));
    }
}
