//! Which pages of other sites may use a route.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::check::{LONGEST, required_list};
use super::file::{self, Table};
use super::host_pattern::host_pattern;
use super::report::{Key, Report};
use super::spanned::Spanned;
use super::{Cors, CorsHeaders, HostPattern, OriginPattern, Origins};

/// Origins, and headers: each request of a page is compared with all origins.
const MOST: usize = 1_000;
/// Schemes with a default port, which browsers leave out.
const DEFAULT_PORTS: [(&str, &str); 2] = [("http", "80"), ("https", "443")];

/// `methods` are those that the route answers.
pub(super) fn cors(
    key: Key<'_>,
    file: &Table<file::Cors>,
    methods: &'static str,
    report: &mut Report<'_>,
) -> Option<Cors> {
    let headers = headers(key.name("headers"), &file.headers, report);
    let max_age = report.duration(key.name("max_age"), &file.max_age, Duration::ZERO..=LONGEST);
    let credentials = *file.credentials.get_ref();
    let written = required_list(key, "origins", "https://app.example.com", file.origins.as_ref(), file.span(), report)?;
    let origins = origins(key.name("origins"), written, report);
    if credentials && origins == Origins::Any {
        let message = "can't go with the origin \"*\", since every page could then act for the user; list the origins";
        report.add(key.name("credentials"), file.credentials.span(), message);
    }
    Some(Cors { origins, headers, methods: HeaderValue::from_static(methods), max_age, credentials })
}

fn origins(key: Key<'_>, written: &Spanned<Vec<Spanned<String>>>, report: &mut Report<'_>) -> Origins {
    if written.get_ref().len() > MOST {
        report.add(key, written.span(), format!("must hold at most {MOST} origins; use * for names below a host"));
    }
    let mut patterns: Vec<OriginPattern> = Vec::with_capacity(written.get_ref().len());
    let mut any = false;
    for (index, text) in written.get_ref().iter().enumerate() {
        match origin(text.get_ref()) {
            _ if text.get_ref() == "*" => any = true,
            Ok(pattern) if patterns.contains(&pattern) => {
                report.add(key.item(index), text.span(), "is there twice; remove one");
            }
            Ok(pattern) => patterns.push(pattern),
            Err(message) => report.add(key.item(index), text.span(), message),
        }
    }
    if any { Origins::Any } else { Origins::Only(patterns) }
}

/// Parses an origin as browsers write it: scheme, host, and a port that isn't the scheme's default.
fn origin(text: &str) -> Result<OriginPattern, String> {
    if text.eq_ignore_ascii_case("null") {
        return Err("names no site: any page can send it; list sites, or write \"*\"".to_owned());
    }
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://").ok_or("must be an origin such as \"https://app.example.com\"")?;
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(in_scheme) {
        return Err("must begin with a scheme such as https://, without a *".to_owned());
    }
    if rest.contains(['/', '?', '#', '@']) {
        return Err("must end after host and port: an origin has no path, query or user".to_owned());
    }
    let (host, port) = split_port(rest);
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0) && !port.starts_with(['0', '+']);
    if port.is_some_and(|port| !is_port(port)) {
        return Err("must have a port from 1 to 65535, or none".to_owned());
    }
    let port = port.filter(|port| !DEFAULT_PORTS.contains(&(scheme, *port)));
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    match host_pattern(host).map_err(|problem| format!("{problem} (its host)"))? {
        HostPattern::Exact(host) => Ok(OriginPattern::Exact(format!("{scheme}://{host}{port}"))),
        HostPattern::Below(base) => {
            Ok(OriginPattern::Below { begin: format!("{scheme}://"), end: format!(".{base}{port}") })
        }
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        // A colon within brackets is part of the address.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn headers(key: Key<'_>, file: &Spanned<Vec<Spanned<String>>>, report: &mut Report<'_>) -> CorsHeaders {
    if file.get_ref().len() > MOST {
        report.add(key, file.span(), format!("must hold at most {MOST} names; use \"*\" for all"));
    }
    if file.get_ref().iter().any(|name| name.get_ref() == "*") {
        return CorsHeaders::Any;
    }
    let mut names = Vec::with_capacity(file.get_ref().len());
    for (index, text) in file.get_ref().iter().enumerate() {
        match HeaderName::from_bytes(text.get_ref().as_bytes()) {
            Ok(name) if names.contains(&name) => {
                report.add(key.item(index), text.span(), "is there twice; remove one");
            }
            Ok(name) => names.push(name),
            Err(_) => report.add(key.item(index), text.span(), "isn't the name of a header, nor \"*\""),
        }
    }
    let joined = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
    // Names of headers and commas always make a value.
    CorsHeaders::Only(HeaderValue::from_str(&joined).unwrap_or(HeaderValue::from_static("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_stored_as_browsers_write_it() {
        let exact = |text: &str| OriginPattern::Exact(text.to_owned());
        let below = |begin: &str, end: &str| OriginPattern::Below { begin: begin.to_owned(), end: end.to_owned() };
        for (text, expected) in [
            ("https://app.example.com", exact("https://app.example.com")),
            ("HTTPS://App.Example.com:443", exact("https://app.example.com")),
            ("http://localhost:80", exact("http://localhost")),
            ("http://localhost:443", exact("http://localhost:443")),
            ("http://[::1]:3000", exact("http://[::1]:3000")),
            ("http://[0:0::1]", exact("http://[::1]")),
            ("chrome-extension://abcdef", exact("chrome-extension://abcdef")),
            ("https://*.example.com", below("https://", ".example.com")),
            ("https://*.example.com:8443", below("https://", ".example.com:8443")),
        ] {
            assert_eq!(origin(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_origin() {
        for text in [
            "",
            "null",
            "app.example.com",
            "*.example.com",
            "https://",
            "https://*",
            "https://a.*.com",
            "https://a*.example.com",
            "*://example.com",
            "https*://example.com",
            "https://example.com/",
            "https://example.com/x",
            "https://example.com?x",
            "https://u@example.com",
            "https://example.com:",
            "https://example.com:0",
            "https://example.com:080",
            "https://example.com:65536",
            "https://example.com:*",
            "https://bücher.example",
            "https://a b",
            "https://a,https://b",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
