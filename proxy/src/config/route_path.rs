//! The path of a route, and the path that replaces it.

use super::file::{self, Table};
use super::report::{Key, Report};
use super::spanned::Spanned;

/// The longest prefix. Longer paths exist, but not for routing.
const MAX_PREFIX: usize = 256;

/// A prefix matches whole segments, so a trailing slash has no meaning and is dropped.
pub(super) fn path_prefix(key: Key<'_>, table: &Table<file::Route>, report: &mut Report<'_>) -> Option<String> {
    let Some(text) = &table.path_prefix else {
        if table.hosts.is_none() {
            report.add(key.name("path_prefix"), table.span(), "is missing; add path_prefix = \"/\", or hosts");
            return None;
        }
        return Some("/".to_owned());
    };
    let trimmed = plain_path(key.name("path_prefix"), text, report)?;
    Some(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

/// What endpoints get in place of the prefix, without a trailing slash; empty with `strip_prefix`.
pub(super) fn prefix_replacement(
    key: Key<'_>,
    table: &file::Route,
    json_rpc: bool,
    report: &mut Report<'_>,
) -> Option<String> {
    let strip = table.strip_prefix.as_ref().filter(|strip| *strip.get_ref());
    if json_rpc {
        let message = "has no effect with protocol = \"json-rpc\": requests go to the path of the endpoint's url; \
                       leave it out";
        let written = [
            ("strip_prefix", strip.map(Spanned::span)),
            ("replace_prefix", table.replace_prefix.as_ref().map(Spanned::span)),
        ];
        for (name, span) in written {
            if let Some(span) = span {
                report.add(key.name(name), span, message);
            }
        }
        return None;
    }
    let Some(text) = &table.replace_prefix else { return strip.map(|_| String::new()) };
    if let Some(strip) = strip {
        let message = "contradicts replace_prefix, which replaces the prefix; remove one of them";
        report.add(key.name("strip_prefix"), strip.span(), message);
    }
    plain_path(key.name("replace_prefix"), text, report).map(str::to_owned)
}

/// A path in its normal form, without a trailing slash.
fn plain_path<'f>(key: Key<'_>, text: &'f Spanned<String>, report: &mut Report<'_>) -> Option<&'f str> {
    let path = text.get_ref();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte);
    let message = if !path.starts_with('/') {
        "must begin with /"
    } else if path.len() > MAX_PREFIX {
        "must be at most 256 characters long"
    } else if !path.bytes().all(plain) {
        "must be a plain path: ASCII without spaces, quotes, ?, #, % or \\"
    } else if path.contains("//") || path.split('/').any(|segment| segment == "." || segment == "..") {
        "must not hold //, /./ or /../"
    } else {
        return Some(path.trim_end_matches('/'));
    };
    report.add(key, text.span(), message);
    None
}
