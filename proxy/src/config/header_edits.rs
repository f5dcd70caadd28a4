//! The headers that a route sets and removes.

use http::{HeaderName, HeaderValue, header};

use super::HeaderEdits;
use super::file::{self, Table};
use super::report::{Key, Report};
use super::secret::{Secret, Sources};
use super::spanned::Spanned;

/// Headers of one connection (RFC 9110, section 7.6.1), by which each hop talks to the next.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Headers that say how a body is to be read, or in which form it is wanted.
const FORM_OF_BODY: [HeaderName; 3] = [header::ACCEPT_ENCODING, header::CONTENT_ENCODING, header::CONTENT_TYPE];

/// The headers of a route that are changed, and the facts that forbid some of them.
#[derive(Clone, Copy)]
pub(super) struct Edited {
    /// Bodies are JSON-RPC, which the proxy reads and writes.
    pub(super) json_rpc: bool,
    /// The route has `cors`, and these are the headers of its answers.
    pub(super) cors: bool,
}

impl Edited {
    /// Why the proxy's own value of a header must stay.
    fn reason_to_keep(self, name: &HeaderName) -> Option<&'static str> {
        if HOP_BY_HOP.contains(name) {
            Some("belongs to a single connection, so the proxy writes it itself; leave it out")
        } else if *name == header::CONTENT_LENGTH {
            Some("follows from the body, so the proxy writes it itself; leave it out")
        } else if *name == header::HOST {
            Some("follows from the endpoint's URL; leave it out")
        } else if *name == header::EXPECT {
            Some("is answered by the proxy itself; leave it out")
        } else if name.as_str().starts_with("sec-websocket-") {
            Some("belongs to the handshake of a WebSocket; leave it out")
        } else if self.json_rpc && FORM_OF_BODY.contains(name) {
            Some("must stay with protocol = \"json-rpc\", whose bodies are plain JSON; leave it out")
        } else if self.cors && name.as_str().starts_with("access-control-") {
            Some("contradicts the route's cors, which writes it; remove one of them")
        } else {
            None
        }
    }
}

pub(super) fn header_edits(
    key: Key<'_>,
    file: Option<&Table<file::HeaderEdits>>,
    edited: Edited,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> HeaderEdits {
    let Some(file) = file else { return HeaderEdits::default() };
    let set_key = key.name("set");
    let mut set: Vec<(HeaderName, Secret)> = Vec::with_capacity(file.set.len());
    for (name, text) in &file.set {
        let key = set_key.name(name.get_ref());
        let Some(known) = checked_name(key, name, edited, report) else { continue };
        if set.iter().any(|(other, _)| *other == known) {
            report.add(key, name.span(), "is there twice, in different case; remove one");
        } else if let Some(value) = header_value(key, text, report, sources) {
            set.push((known, value));
        }
    }
    let remove_key = key.name("remove");
    let mut remove: Vec<HeaderName> = Vec::with_capacity(file.remove.len());
    for (index, name) in file.remove.iter().enumerate() {
        let key = remove_key.item(index);
        let Some(known) = checked_name(key, name, edited, report) else { continue };
        if remove.contains(&known) {
            report.add(key, name.span(), "is there twice; remove one");
        } else if set.iter().any(|(other, _)| *other == known) {
            report.add(key, name.span(), "is in set, too, which replaces the header anyway; remove one of them");
        } else {
            remove.push(known);
        }
    }
    HeaderEdits { set, remove }
}

fn checked_name(key: Key<'_>, name: &Spanned<String>, edited: Edited, report: &mut Report<'_>) -> Option<HeaderName> {
    let known = HeaderName::from_bytes(name.get_ref().as_bytes()).ok();
    let problem = match &known {
        None => Some("isn't the name of a header"),
        Some(known) => edited.reason_to_keep(known),
    };
    match problem {
        None => known,
        Some(message) => {
            report.add(key, name.span(), message);
            None
        }
    }
}

/// The value of a header that the conf sets.
pub(super) fn header_value(
    key: Key<'_>,
    text: &Spanned<String>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> Option<Secret> {
    match sources.resolve(text.get_ref()) {
        Ok(value) if HeaderValue::from_str(&value).is_ok() => return Some(Secret::new(value)),
        Ok(_) => report.add(key, text.span(), "must be printable ASCII"),
        Err(error) => report.add(key, text.span(), error.to_string()),
    }
    None
}
