//! Who the client of a request is.
//!
//! The peer of a connection may be a proxy. If its address is in `trusted_proxies`, the addresses
//! that it reports are read from the right, the one nearest to us, to the left: the first one that
//! isn't trusted is the client's. Whatever stands to the left of it was written by the client, who
//! can write anything.
//!
//! `X-Forwarded-For` is read if it is there, or else `Forwarded`. A trusted proxy that writes only
//! one of them must remove the other from the requests of its clients.
//!
//! Invariants: a peer that isn't trusted is the client, and its headers are not read. The time is
//! linear in the length of the headers, and at most [`MAX_HOPS`] addresses are compared with the
//! trusted networks.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use siphasher::sip::SipHasher13;

use crate::config::{ClientKey, ClientKeySource};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies in a row. Real chains have a few.
const MAX_HOPS: usize = 32;

/// The address of a client, and how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientAddress {
    /// The client's address; IPv4 in its own form.
    pub(super) address: IpAddr,
    /// The address of the connection's other end.
    pub(super) peer: IpAddr,
    /// Whether the peer is a trusted proxy, whose headers count.
    pub(super) by_trusted_proxy: bool,
}

impl ClientAddress {
    /// Finds the client of a request from `peer`.
    pub(super) fn find(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
        if !is_trusted(&peer) {
            return ClientAddress { address: peer, peer, by_trusted_proxy: false };
        }
        let address = if headers.contains_key(X_FORWARDED_FOR) {
            let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
            let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
            first_untrusted(peer, entries.map(address_of), is_trusted)
        } else if headers.contains_key(FORWARDED) {
            let lines = headers.get_all(FORWARDED).iter().rev();
            first_untrusted(peer, lines.flat_map(|line| forwarded_for(line.as_bytes())), is_trusted)
        } else {
            peer
        };
        ClientAddress { address, peer, by_trusted_proxy: true }
    }
}

/// Follows a chain from the address nearest to us. It ends at the first untrusted address, or
/// before something that is no address: the last proxy that was reached counts as the client then.
fn first_untrusted(
    peer: IpAddr,
    chain: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(&IpAddr) -> bool,
) -> IpAddr {
    let mut reached = peer;
    for address in chain.take(MAX_HOPS).map_while(|address| address) {
        reached = address;
        if !is_trusted(&address) {
            break;
        }
    }
    reached
}

/// An address with or without a port, which some proxies add; IPv6 with or without brackets.
fn address_of(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_ascii();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// The addresses of a `Forwarded` line (RFC 7239), from the right; `None` for an element without a
/// readable one. Nothing is read from a line whose quotes don't match.
fn forwarded_for(line: &[u8]) -> Vec<Option<IpAddr>> {
    let Some(elements) = split_unquoted(line, b',') else { return vec![None] };
    elements.into_iter().rev().take(MAX_HOPS).map(forwarded_address).collect()
}

fn forwarded_address(element: &[u8]) -> Option<IpAddr> {
    let pairs = split_unquoted(element, b';')?;
    let mut values = pairs.iter().filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        pair[..at].trim_ascii().eq_ignore_ascii_case(b"for").then(|| pair[at + 1..].trim_ascii())
    });
    let value = values.next()?;
    // Two of them are two readings.
    if values.next().is_some() {
        return None;
    }
    let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    address_of(unquoted.unwrap_or(value))
}

/// The parts between separators outside of quotes; `None` if a quote isn't closed.
fn split_unquoted(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!quoted).then_some(parts)
}

/// The value that tells a client apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ClientKeyMaterial<'a> {
    /// Its address.
    Address(IpAddr),
    /// The first value of the header that the conf names. The client chooses it, and may choose
    /// another one for each request.
    Header(&'a [u8]),
    /// Its certificate.
    Certificate(&'a [u8]),
}

impl<'a> ClientKeyMaterial<'a> {
    /// Takes the value from where the conf says, or else the address.
    pub(super) fn find(
        source: &ClientKeySource,
        address: IpAddr,
        headers: &'a HeaderMap,
        certificate: Option<&'a [u8]>,
    ) -> Self {
        let found = match source {
            ClientKeySource::Address => None,
            ClientKeySource::Header(name) => {
                let value = headers.get(name).map(|value| value.as_bytes().trim_ascii());
                value.filter(|value| !value.is_empty()).map(ClientKeyMaterial::Header)
            }
            ClientKeySource::Certificate => certificate.map(ClientKeyMaterial::Certificate),
        };
        found.unwrap_or(ClientKeyMaterial::Address(address))
    }

    /// The client key of policies. Without `key` nobody can compute it, or choose values that
    /// collide.
    pub(super) fn hash(&self, key: ClientKey) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&key.0);
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests;
