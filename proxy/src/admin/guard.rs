//! Access control: the token, and the rules that keep pages of other sites away from an admin
//! address without one.
//!
//! A browser on the operator's machine reaches the admin address, and sends whatever a page asks it
//! to. A page can't choose `Host`, `Origin` and `Sec-Fetch-Site`:
//! - A page whose own name resolves to this address (DNS rebinding) sends that name as `Host`.
//!   Without a token only loopback names and those of `admin.hosts` are accepted, so it reads
//!   nothing. With a token it lacks the token.
//! - Any other page can send but not read (no response allows it), so only changes of state matter:
//!   such a request must come from no page, or from a page of this address.
//!
//! `/health` reveals nothing worth guarding, and its clients know neither name nor token.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::StatusCode;

use super::request::{Head, Host, Refused};
use crate::config::Admin;

/// Refuses an unauthorized request.
pub(super) fn check(head: &Head, admin: &Admin) -> Result<(), Refused> {
    let Some(token) = &admin.token else { return check_host(head, admin) };
    let given = head.authorization.as_deref().and_then(bearer).unwrap_or_default();
    if is_equal(given, token.expose().as_bytes()) {
        return Ok(());
    }
    Err(Refused::new(StatusCode::UNAUTHORIZED, "this needs `Authorization: Bearer` with the admin token"))
}

/// Refuses a change that a page of another site requests.
pub(super) fn check_change(head: &Head) -> Result<(), Refused> {
    let own_page = head.fetch_site.as_deref().is_none_or(|site| [&b"same-origin"[..], b"none"].contains(&site));
    if own_page && head.origin.as_deref().is_none_or(|origin| is_own(origin, head.host.as_ref())) {
        return Ok(());
    }
    let why = "a page of another site (Origin, Sec-Fetch-Site) may not change anything here: use `pointsman reload` or \
               `pointsman rollback`, or send the request without these headers";
    Err(Refused::new(StatusCode::FORBIDDEN, why))
}

fn check_host(head: &Head, admin: &Admin) -> Result<(), Refused> {
    let is_known = |host: &Host| {
        is_loopback(&host.name)
            || address(&host.name).is_some_and(|ip| ip == admin.listen.ip().to_canonical())
            || admin.hosts.iter().any(|known| known.trim_end_matches('.') == host.name)
    };
    if head.host.as_ref().is_some_and(is_known) {
        return Ok(());
    }
    let why = "without a token only requests to a loopback name are answered: use 127.0.0.1 or localhost, add the name of \
               the Host header to admin.hosts, or set admin.token";
    Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, why))
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || address(name).is_some_and(|ip| ip.is_loopback())
}

fn address(name: &str) -> Option<IpAddr> {
    let v6 = || name.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let ip = name.parse::<Ipv4Addr>().map(IpAddr::from).ok().or_else(|| v6().map(IpAddr::from))?;
    Some(ip.to_canonical())
}

/// Whether `origin` is the site that the request was sent to. A proxy in front may have ended TLS,
/// so both schemes count.
fn is_own(origin: &[u8], host: Option<&Host>) -> bool {
    let Some(host) = host else { return false };
    let of = |scheme: &str, default: u16| {
        let authority = origin.strip_prefix(scheme.as_bytes())?;
        let page = Host::parse(authority).ok().filter(|page| !page.name.is_empty())?;
        Some(page.name == host.name && page.port.unwrap_or(default) == host.port.unwrap_or(default))
    };
    of("http://", 80).or_else(|| of("https://", 443)).unwrap_or(false)
}

/// The token of a `Bearer` header: the scheme in any case, then one or more spaces (RFC 9110,
/// section 11.4).
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = credentials.split_at_checked("bearer".len())?;
    let token = rest.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(b"bearer") && token.len() < rest.len()).then_some(token)
}

/// Compares in constant time: the time depends on the length only.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}
