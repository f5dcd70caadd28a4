//! The bounds of a request, and whether another one may follow on its connection.
//!
//! This module checks a head against RFC 9112 before any reader acts on it. Pingora, as the RFC
//! allows, repairs heads: it drops a `Content-Length` beside a `Transfer-Encoding`, takes the last
//! of several codings, merges equal lengths, escapes bytes of the target, and accepts a line that
//! ends with LF alone. A proxy or firewall in front that reads such a head in another way sees
//! another end of the body, and the bytes in between become a request that was never checked.
//!
//! Invariants: an ambiguous head is answered with 400, its connection is closed, and no endpoint
//! sees a byte of it. What passes here is accepted by Pingora, with the same reading.

use http::uri::Authority;

use super::fields::Fields;
use crate::jsonrpc::{Refusal, decimal};

/// Maximum digits of a `Content-Length`: other readers lose precision on longer ones.
const MAX_LENGTH_DIGITS: usize = 18;
/// Digits of a port.
const MAX_PORT_DIGITS: usize = 5;

/// The first line of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine<'h> {
    pub(super) method: &'h str,
    pub(super) target: &'h str,
    /// HTTP/1.1, not HTTP/1.0.
    pub(super) knows_11: bool,
}

/// The length of a request, and whether another one may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// HTTP/2 without a `Content-Length`: the stream's end.
    Stream,
}

/// Checks a head.
///
/// # Errors
/// When the head is ambiguous. The connection must be closed.
pub(super) fn check(line: &RequestLine<'_>, fields: &Fields<'_>) -> Result<Framing, Refusal> {
    check_host(line.knows_11, fields)?;
    check_target(line, fields.host.value)?;
    let body = body_length(line.knows_11, fields)?;
    let expects = fields.expect.value.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    Ok(Framing {
        // HTTP/1.0 clients take the end of the connection as the end of the response.
        may_follow: line.knows_11 && !fields.closes,
        body,
        expects_continue: line.knows_11 && expects,
    })
}

/// The request target forms of RFC 9112, section 3.2: a path, for OPTIONS an asterisk, or a URL
/// whose authority is the one of `Host`.
fn check_target(line: &RequestLine<'_>, host: Option<&[u8]>) -> Result<(), Refusal> {
    let target = line.target;
    // Fragments are for the client only. Some readers drop them, others take them for a part of
    // the path.
    if target.contains('#') {
        return refuse("the request target has a fragment");
    }
    if line.method == "CONNECT" {
        return check_authority_form(target, host);
    }
    if target.starts_with('/') || (target == "*" && line.method == "OPTIONS") {
        return Ok(());
    }
    let Some(rest) = after_scheme(target) else {
        return refuse("the request target is neither a path nor an http URL");
    };
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    let is_authority = !authority.contains(['@', '\\']) && Authority::try_from(authority).is_ok();
    match is_authority && host.is_none_or(|host| host == authority.as_bytes()) {
        true => Ok(()),
        false => refuse("the request target names another host than Host"),
    }
}

/// `host:port`, which `Host` repeats with or without the port (RFC 9110, section 9.3.6).
fn check_authority_form(target: &str, host: Option<&[u8]>) -> Result<(), Refusal> {
    let fits = |host: &[u8]| {
        is_host(target.as_bytes())
            && target.rsplit_once(':').is_some_and(|(name, _)| [target, name].map(str::as_bytes).contains(&host))
    };
    match host.is_some_and(fits) {
        true => Ok(()),
        false => refuse("the target of CONNECT is not the host of Host with a port"),
    }
}

/// The rest of an http URL after its scheme.
fn after_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let begin = target.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    })
}

/// RFC 9112, section 3.2: exactly one `Host`, with a host and perhaps a port.
fn check_host(knows_11: bool, fields: &Fields<'_>) -> Result<(), Refusal> {
    match fields.host.value {
        Some(_) if fields.host.repeated => refuse("Host stands there twice"),
        Some(host) if is_host(host) => Ok(()),
        Some(_) => refuse("Host is not a host with an optional port"),
        None if !knows_11 => Ok(()),
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
fn body_length(knows_11: bool, fields: &Fields<'_>) -> Result<BodyLength, Refusal> {
    if let Some(coding) = fields.transfer_encoding.value {
        if fields.transfer_encoding.repeated || !coding.eq_ignore_ascii_case(b"chunked") {
            return refuse("the only transfer coding of a request is chunked, once");
        }
        if fields.content_length.value.is_some() {
            return refuse("Content-Length and Transfer-Encoding can't stand together");
        }
        return if knows_11 { Ok(BodyLength::Chunked) } else { refuse("HTTP/1.0 has no transfer codings") };
    }
    match fields.content_length.value {
        None => Ok(BodyLength::None),
        Some(_) if fields.content_length.repeated => refuse("Content-Length stands there twice"),
        Some(length) => announced(length).map(BodyLength::Bytes),
    }
}

/// The value of a `Content-Length`.
///
/// # Errors
/// When it is no number of bytes that a body has.
pub(super) fn announced(length: &[u8]) -> Result<usize, Refusal> {
    match decimal(length).filter(|_| length.len() <= MAX_LENGTH_DIGITS) {
        Some(bytes) => Ok(bytes),
        None => refuse("Content-Length is no number of bytes that a body has"),
    }
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
}
