//! The headers by which endpoints of protocol `http` learn of the client and its request.
//!
//! | header | from a trusted proxy | from anyone else |
//! |---|---|---|
//! | `X-Forwarded-For` | kept, and the peer's address appended | the peer's address |
//! | `X-Forwarded-Proto` | kept if it is `http` or `https` | the scheme of the connection |
//! | `X-Forwarded-Host` | kept if it is a host | `Host` |
//! | `Forwarded` | kept, and the peer appended | removed |
//! | other `X-Forwarded-*`, `X-Real-IP` | kept | removed |
//! | `X-Request-Id` | kept | kept if it is a usual id, else made anew |

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::client_identity::{ClientAddress, X_FORWARDED_FOR};
use super::framing::is_host;
use crate::snapshot::HeaderEdits;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest chain that is passed on: dozens of addresses. Of a longer one the client's address
/// is left, so that no client makes the head too large for endpoints.
const MAX_CHAIN: usize = 2 << 10;
/// The most headers that are set.
const MOST_SET: usize = 5;
/// `255.255.255.255`.
const LONGEST_V4: usize = 15;
/// The longest request id.
const MAX_REQUEST_ID: usize = 128;

/// The connection that a request came by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop<'a> {
    /// The client.
    pub(super) client: ClientAddress,
    /// Whether the connection has TLS.
    pub(super) tls: bool,
    /// The request's host: `Host`, or the authority of HTTP/2.
    pub(super) host: Option<&'a [u8]>,
}

/// The headers to set and to remove on the way to an endpoint. `headers` are the client's, `random`
/// makes a new request id.
pub(super) fn forwarding_headers(hop: Hop<'_>, headers: &HeaderMap, random: impl FnOnce() -> u128) -> HeaderEdits {
    let trusted = hop.client.by_trusted_proxy;
    let scheme = if hop.tls { "https" } else { "http" };
    let mut edits = HeaderEdits { set: Vec::with_capacity(MOST_SET), remove: Vec::new() };
    if !trusted {
        edits.remove.extend(headers.keys().filter(|name| names_a_client(name)).cloned());
    }
    edits.set.push((X_FORWARDED_FOR, chain(&hop.client, headers)));
    let is_scheme = |value: &&HeaderValue| matches!(value.as_bytes(), b"http" | b"https");
    let proto = single(headers, &X_FORWARDED_PROTO).filter(|value| trusted && is_scheme(value));
    edits.set.push((X_FORWARDED_PROTO, proto.cloned().unwrap_or(HeaderValue::from_static(scheme))));
    let kept = single(headers, &X_FORWARDED_HOST).filter(|value| trusted && is_some_host(value.as_bytes()));
    let own = || hop.host.filter(|host| !host.is_empty()).and_then(|host| HeaderValue::from_bytes(host).ok());
    match kept.cloned().or_else(own) {
        Some(host) => edits.set.push((X_FORWARDED_HOST, host)),
        None => edits.remove.push(X_FORWARDED_HOST),
    }
    if trusted && let Some(forwarded) = forwarded(&hop.client, scheme, headers) {
        edits.set.push((FORWARDED, forwarded));
    }
    let is_kept = |value: &&HeaderValue| if trusted { !value.is_empty() } else { is_usual_id(value.as_bytes()) };
    if single(headers, &X_REQUEST_ID).filter(is_kept).is_none() {
        edits.set.push((X_REQUEST_ID, new_id(random())));
    }
    edits
}

/// Headers in which endpoints look for the client. Some read `_` as `-`.
fn names_a_client(name: &HeaderName) -> bool {
    let is = |name: &str| name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-");
    let name = name.as_str();
    if name.contains('_') { is(&name.replace('_', "-")) } else { is(name) }
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_some_host(host: &[u8]) -> bool {
    !host.is_empty() && is_host(host)
}

fn chain(client: &ClientAddress, headers: &HeaderMap) -> HeaderValue {
    let peer = text_of(client.peer);
    if !client.by_trusted_proxy {
        return value(peer);
    }
    if let Some(chain) = joined(headers, &X_FORWARDED_FOR, peer.as_bytes()) {
        return chain;
    }
    value(if client.address == client.peer { peer } else { format!("{}, {peer}", client.address) })
}

/// Appends this hop to the chain of a trusted proxy, if it sent one. One that is too long is cut to
/// this hop.
fn forwarded(client: &ClientAddress, scheme: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(FORWARDED)?;
    let hop = match client.peer {
        IpAddr::V4(peer) => format!("for={peer};proto={scheme}"),
        IpAddr::V6(peer) => format!("for=\"[{peer}]\";proto={scheme}"),
    };
    Some(joined(headers, &FORWARDED, hop.as_bytes()).unwrap_or_else(|| value(hop)))
}

/// All values of a header and one more; `None` without a value, or if they are too long.
fn joined(headers: &HeaderMap, name: &HeaderName, last: &[u8]) -> Option<HeaderValue> {
    let mut all: Vec<u8> = Vec::new();
    for value in headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()) {
        if all.len() + value.len() > MAX_CHAIN {
            return None;
        }
        if !value.is_empty() {
            all.extend_from_slice(value);
            all.extend_from_slice(b", ");
        }
    }
    if all.is_empty() {
        return None;
    }
    all.extend_from_slice(last);
    // Parts of values make a value.
    HeaderValue::from_bytes(&all).ok()
}

/// The ids that libraries make: UUIDs, hexadecimal numbers, base64, names with numbers.
fn is_usual_id(id: &[u8]) -> bool {
    let fit = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(fit)
}

fn new_id(random: u128) -> HeaderValue {
    value(format!("{random:032x}"))
}

/// As `to_string` has it, which costs as much as several headers.
fn text_of(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity(LONGEST_V4);
    let mut digits = itoa::Buffer::new();
    for (position, part) in address.octets().into_iter().enumerate() {
        if position > 0 {
            text.push('.');
        }
        text.push_str(digits.format(part));
    }
    text
}

/// Addresses and numbers are plain ASCII, of which every text is a value.
fn value(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
