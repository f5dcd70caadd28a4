//! Collects the problems of a conf, so that one run reports all of them.
//!
//! After a problem, checks go on with a stand-in value; the result is discarded if there is any
//! problem.
//!
//! Invariant: each mistake is one problem. Entries of the wrong form are removed before the rest is
//! checked, as if they weren't there; problems that may be mere consequences of the removal aren't
//! reported.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use super::error::{Location, Problem};
use super::spanned::Spanned;
use super::suggest::did_you_mean;
use super::units::{DURATION_FORM, DurationText, SIZE_FORM, SizeText};

/// The longest key that is printed.
const SHOWN_KEY: usize = 64;
/// The placeholder of a hidden name.
const HIDDEN: &str = "\"…\"";
/// A run of letters and digits of this length is taken for a token, not a name.
const TOKEN_WORD: usize = 16;
/// A header name of up to this length is too short to be a secret.
const SHORT_HEADER: usize = 8;
/// Headers that endpoints commonly require, and those that a conf may not set.
const USUAL_HEADERS: [&str; 20] = [
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy-authorization",
    "transfer-encoding",
    "user-agent",
    "x-access-token",
    "x-api-key",
    "x-api-secret",
    "x-auth-token",
    "x-client-id",
    "x-forwarded-for",
    "x-project-id",
    "x-request-id",
];

/// The path of a key as borrowed steps, formatted only when a problem prints it.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    Root,
    Name(&'a Key<'a>, &'a str),
    Item(&'a Key<'a>, usize),
}

impl Key<'_> {
    pub(super) fn name<'b>(&'b self, name: &'b str) -> Key<'b> {
        Key::Name(self, name)
    }

    fn last(&self) -> &str {
        match self {
            Key::Name(_, name) => name,
            Key::Root | Key::Item(..) => "",
        }
    }

    pub(super) fn item(&self, index: usize) -> Key<'_> {
        Key::Item(self, index)
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Root => Ok(()),
            Key::Name(Key::Root, name) => f.write_str(shown(name)),
            Key::Name(parent, name) => write!(f, "{parent}.{}", shown_below(parent.last(), name)),
            Key::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A name from the conf in a form that messages may print. Anything but a short bare word could be
/// a URL, and a long run of letters and digits could be a token.
pub(super) fn shown(name: &str) -> &str {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_bare = !name.is_empty() && name.len() <= SHOWN_KEY && name.chars().all(bare);
    if is_bare && !is_like_a_token(name) { name } else { HIDDEN }
}

/// A name below the key `parent` in a form that messages may print. A token pasted as the *name* of
/// a header is hidden: header names are printed only if they are common ones, or too short to be a
/// secret.
pub(super) fn shown_below<'n>(parent: &str, name: &'n str) -> &'n str {
    let usual = || name.len() <= SHORT_HEADER || USUAL_HEADERS.iter().any(|usual| name.eq_ignore_ascii_case(usual));
    if !matches!(parent, "headers" | "set") || usual() { shown(name) } else { HIDDEN }
}

fn is_like_a_token(name: &str) -> bool {
    name.split(['-', '_', '.']).any(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.len() >= TOKEN_WORD && digits > 0
    })
}

/// The problems found so far, and the text that they are in.
pub(super) struct Report<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    /// Paths of removed entries, and of the entries that they were probably meant to be.
    taken_out: Vec<String>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            problems: Vec::new(),
            taken_out: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }

    pub(super) fn add(&mut self, key: Key<'_>, span: Range<usize>, message: impl Into<String>) {
        let (key, message) = (key.to_string(), message.into());
        if !self.taken_out.iter().any(|path| may_follow(path, &key, &message)) {
            self.add_at(key, span, message);
        }
    }

    /// Excludes the entry at `path` from further checks.
    pub(super) fn take_out(&mut self, path: String) {
        self.taken_out.push(path);
    }

    pub(super) fn add_at(&mut self, key: String, span: Range<usize>, message: impl Into<String>) {
        let Location { line, column } = self.place(span.start);
        let message = message.into();
        self.problems.push(Problem { line, column, key, message });
    }

    /// Line and column of a byte offset. Offsets beyond the end count as the end.
    pub(super) fn place(&self, offset: usize) -> Location {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        Location { line, column: before.chars().count() + 1 }
    }

    /// A whole number within `allowed`. An invalid one is reported and replaced by the lower end.
    pub(super) fn whole<T>(&mut self, key: Key<'_>, value: &Spanned<i64>, allowed: RangeInclusive<T>) -> T
    where
        T: Copy + fmt::Display + PartialOrd + TryFrom<i64>,
    {
        let (least, most) = (*allowed.start(), *allowed.end());
        match T::try_from(*value.get_ref()) {
            Ok(number) if allowed.contains(&number) => return number,
            // A number that doesn't fit T is below its range if negative, else above it.
            Ok(number) if number < least => self.add(key, value.span(), format!("must be at least {least}")),
            Err(_) if *value.get_ref() < 0 => self.add(key, value.span(), format!("must be at least {least}")),
            _ => self.add(key, value.span(), format!("must be at most {most}")),
        }
        least
    }

    /// A duration within `allowed`. An invalid one is reported and replaced by the lower end.
    pub(super) fn duration(
        &mut self,
        key: Key<'_>,
        value: &Spanned<DurationText>,
        allowed: RangeInclusive<Duration>,
    ) -> Duration {
        let (least, most) = (*allowed.start(), *allowed.end());
        let message = match value.get_ref().parse() {
            Some(duration) if allowed.contains(&duration) => return duration,
            Some(duration) if duration < least => format!("must be at least {}", humantime::format_duration(least)),
            Some(_) => format!("must be at most {}", humantime::format_duration(most)),
            None => format!("must be {DURATION_FORM}"),
        };
        self.add(key, value.span(), message);
        least
    }

    /// A size in bytes within `allowed`. An invalid one is reported and replaced by the lower end.
    pub(super) fn size(&mut self, key: Key<'_>, value: &Spanned<SizeText>, allowed: RangeInclusive<usize>) -> usize {
        let (least, most) = (*allowed.start(), *allowed.end());
        let message = match value.get_ref().parse() {
            Some(size) if allowed.contains(&size) => return size,
            Some(size) if size < least => format!("must be at least {least} B"),
            Some(_) => format!("must be at most {most} B"),
            None => format!("must be {SIZE_FORM}"),
        };
        self.add(key, value.span(), message);
        least
    }

    /// Whether `name` is in `known`. If not, reports it with the nearest known name.
    pub(super) fn reference<'k>(
        &mut self,
        key: Key<'_>,
        name: &Spanned<String>,
        kind: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) -> bool {
        if known.clone().any(|k| k == name.get_ref()) {
            return true;
        }
        let declared = Key::Root.name(kind).name(name.get_ref()).to_string();
        if self.taken_out.iter().any(|path| path == kind || *path == declared) {
            return false;
        }
        let advice = match did_you_mean(name.get_ref(), known) {
            Some(near) => format!("did you mean \"{}\"?", shown(near)),
            None => format!("declare it as [{kind}.NAME], or name one that is declared"),
        };
        self.add(key, name.span(), format!("isn't in [{kind}]; {advice}"));
        false
    }
}

/// Whether a problem with `key` may be a mere consequence of the removal of `path`: it concerns the
/// same entry or the one that holds it, or names it; a neighbour may use its last name alone.
fn may_follow(path: &str, key: &str, message: &str) -> bool {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let name = name.split_once('[').map_or(name, |(array, _)| array);
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_neighbour = key.rsplit_once('.').map_or("", |(table, _)| table) == parent;
    path == key
        || path.strip_prefix(key).is_some_and(|rest| rest.starts_with('[') && !rest.contains('.'))
        || (key == "upstreams" && parent == key)
        || (is_neighbour && words.any(|word| word == name))
        || message.contains(path)
}
