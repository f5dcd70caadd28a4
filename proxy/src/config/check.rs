//! Checks that several parts of the conf share.

use std::ops::Range;
use std::time::Duration;

use super::report::{Key, Report};
use super::spanned::Spanned;

/// The shortest duration. Timers are no finer.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);
/// The longest duration: a longer one is a mistaken unit, and could overflow an instant.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest name of a policy or upstream: it becomes a label of metrics.
const MAX_NAME: usize = 64;

/// Names of policies and upstreams become labels, keys of JSON and parts of paths.
pub(super) fn check_name(parent: Key<'_>, name: &Spanned<String>, report: &mut Report<'_>) {
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let text = name.get_ref();
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(fit) {
        let message = "isn't a name: use 1 to 64 characters of a-z, 0-9, - and _";
        report.add(parent.name(text), name.span(), message);
    }
}

/// The value of a key without a default. Reports a missing one with an example.
pub(super) fn required<'f>(
    parent: Key<'_>,
    name: &str,
    example: &str,
    value: Option<&'f Spanned<String>>,
    table: Range<usize>,
    report: &mut Report<'_>,
) -> Option<&'f Spanned<String>> {
    if value.is_none() {
        report.add(parent.name(name), table, format!("is missing; add {name} = \"{example}\""));
    }
    value
}

/// The list of a key without a default. Reports a missing or empty one with an example.
pub(super) fn required_list<'f>(
    parent: Key<'_>,
    name: &str,
    example: &str,
    value: Option<&'f Spanned<Vec<Spanned<String>>>>,
    table: Range<usize>,
    report: &mut Report<'_>,
) -> Option<&'f Spanned<Vec<Spanned<String>>>> {
    match value {
        None => report.add(parent.name(name), table, format!("is missing; add {name} = [\"{example}\"]")),
        Some(list) if list.get_ref().is_empty() => {
            report.add(parent.name(name), list.span(), format!("is empty; write {name} = [\"{example}\"]"));
        }
        Some(_) => return value,
    }
    None
}
