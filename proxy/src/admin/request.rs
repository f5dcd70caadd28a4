//! Strict parsing of requests to the admin address: ambiguous input is refused, not interpreted.
//!
//! Invariant: a header that a rule reads occurs once in the head. A request with two `Host` or
//! `Authorization` headers, two lengths, or a length beside a transfer coding never reaches a rule.

use http::{Method, StatusCode};

/// Maximum number of headers. Browsers send about twenty.
const HEADERS: usize = 64;

/// The parts of a request head that the admin service uses.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    /// Absent in HTTP/1.0 only.
    pub(super) host: Option<Host>,
    pub(super) authorization: Option<Vec<u8>>,
    pub(super) origin: Option<Vec<u8>>,
    pub(super) fetch_site: Option<Vec<u8>>,
    pub(super) body_bytes: u64,
    /// The client waits for `100 Continue`.
    pub(super) expects: bool,
}

/// A host and port, as in a `Host` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// In lower case, without a trailing dot; an IPv6 address in brackets.
    pub(super) name: String,
    pub(super) port: Option<u16>,
}

/// A refusal: the response's status and message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Refused { status, why: why.into() }
    }

    fn bad(why: impl Into<String>) -> Self {
        Refused::new(StatusCode::BAD_REQUEST, why)
    }
}

/// The end of the head at the beginning of `bytes`, searched from `from` on. Malformed line ends
/// count as the end, too, so that such a head is refused at once instead of waited for.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    (from..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"\r\n\r\n") {
            4
        } else if rest.starts_with(b"\n\r\n") {
            3
        } else if rest.starts_with(b"\n\n") {
            2
        } else {
            return None;
        };
        Some(at + end)
    })
}

impl Head {
    /// Parses a complete head.
    pub(super) fn parse(bytes: &[u8]) -> Result<Head, Refused> {
        let bare = bytes.iter().enumerate().any(|(at, &b)| b == b'\n' && (at == 0 || bytes[at - 1] != b'\r'));
        if bare {
            return Err(Refused::bad("each line must end with CR LF"));
        }
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Err(httparse::Error::TooManyHeaders) => {
                let why = format!("a request may have {HEADERS} headers");
                return Err(Refused::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why));
            }
            Ok(_) | Err(_) => return Err(Refused::bad("this is no HTTP/1.1 request")),
        }
        let fields = Fields(parsed.headers);
        let host = fields.one("host")?.map(Host::parse).transpose()?;
        if host.is_none() && parsed.version != Some(0) {
            return Err(Refused::bad("an HTTP/1.1 request needs a Host header"));
        }
        let method = parsed.method.unwrap_or_default().parse().map_err(|_| Refused::bad("this is no method"))?;
        let (path, query) = target(parsed.path.unwrap_or_default(), host.as_ref())?;
        Ok(Head {
            method,
            path,
            query,
            host,
            authorization: fields.one("authorization")?.map(<[u8]>::to_vec),
            origin: fields.one("origin")?.map(<[u8]>::to_vec),
            fetch_site: fields.one("sec-fetch-site")?.map(<[u8]>::to_vec),
            body_bytes: fields.body_bytes()?,
            expects: parsed.version == Some(1)
                && fields.one("expect")?.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")),
        })
    }
}

struct Fields<'h, 'b>(&'h [httparse::Header<'b>]);

impl<'b> Fields<'_, 'b> {
    fn one(&self, name: &str) -> Result<Option<&'b [u8]>, Refused> {
        let mut found = self.0.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Refused::bad(format!("there are two {name} headers"))),
            (first, None) => Ok(first.map(|header| header.value)),
        }
    }

    /// Bodies are discarded, so chunked encoding isn't supported.
    fn body_bytes(&self) -> Result<u64, Refused> {
        let length = self.one("content-length")?;
        if self.0.iter().any(|header| header.name.eq_ignore_ascii_case("transfer-encoding")) {
            return Err(match length {
                Some(_) => Refused::bad("there is a Content-Length beside a Transfer-Encoding"),
                None => Refused::new(StatusCode::LENGTH_REQUIRED, "send no body, or one with a Content-Length"),
            });
        }
        let Some(length) = length else { return Ok(0) };
        let text = std::str::from_utf8(length).unwrap_or_default();
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX));
        number.ok_or_else(|| Refused::bad("the Content-Length is no number"))
    }
}

/// Path and query. An absolute URL must name the same host as the `Host` header.
fn target(text: &str, host: Option<&Host>) -> Result<(String, String), Refused> {
    let bad = || Refused::bad("the target must be a path such as /status");
    let path = if text.starts_with('/') || text == "*" {
        text
    } else {
        let rest = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &text[7..]);
        let rest = rest.ok_or_else(bad)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if host != Some(&Host::parse(authority.as_bytes())?) {
            return Err(Refused::bad("the target's host isn't that of the Host header"));
        }
        if path.is_empty() { "/" } else { path }
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Ok((path.to_owned(), query.to_owned()))
}

impl Host {
    pub(super) fn parse(value: &[u8]) -> Result<Host, Refused> {
        let bad = || Refused::bad("the Host header must be a name or an address, with or without a port");
        let text = std::str::from_utf8(value).map_err(|_| bad())?.to_ascii_lowercase();
        let end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']').ok_or_else(bad)? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, port) = text.split_at(end);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_good = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name.chars().all(fits),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        if !is_good {
            return Err(bad());
        }
        Ok(Host { name: name.strip_suffix('.').unwrap_or(name).to_owned(), port })
    }
}
