//! Request ids: the client's own, and the numbers that replace some of them for endpoints.
//!
//! An endpoint's JSON library may write an id differently from how it was sent: `-0` becomes `0`,
//! `1e400` becomes `null`, 9007199254740993 loses its last digit, `"<"` becomes `"\u003c"`. Its
//! answer would match no request, and the endpoint would be blamed for the client's choice. So only
//! *plain* ids are sent as they are: unsigned integers up to 2^53 - 1, and strings of 1 to
//! [`MOST_PLAIN`] letters, digits, spaces and [`PLAIN_MARKS`]. No known library writes those
//! differently. Any other id, `null` included, is replaced by a number of the proxy's; so are all
//! ids of a batch that has one of those, or two equal ones.
//!
//! Invariant: the client's id is restored byte by byte, and its form never decides whether an
//! answer is recognised.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use super::answer::Member;
use super::batch::MemberRequest;
use super::batch::error_to;
use super::decimal::decimal;
use super::raw::{is_same_id, normal_id};

/// Longer strings are replaced by a number: some nodes limit ids.
const MOST_PLAIN: usize = 64;
/// Marks allowed beside letters, digits and spaces. Not `<>&='/`, which Go, Gson or PHP escape.
const PLAIN_MARKS: &[u8] = b"-_.:,;+*@#$%!?()[]{}|~^";
/// The largest integer that shares its double with no other integer.
const MAX_SAFE_INTEGER: usize = (1 << 53) - 1;

/// The id of a request. It dereferences to the client's text.
#[derive(Clone, Debug)]
pub struct Id {
    client: Bytes,
    /// The number that endpoints get instead.
    ours: Option<NonZeroU32>,
}

impl Id {
    /// An id that endpoints get as the client wrote it.
    pub fn as_is(client: Bytes) -> Self {
        Id { client, ours: None }
    }

    fn replaced(client: &[u8], position: usize) -> Self {
        let number = u32::try_from(position + 1).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        // A copy, since a slice would keep the whole body in memory.
        Id { client: Bytes::copy_from_slice(client), ours: Some(number) }
    }

    /// Whether endpoints get a number instead.
    pub(crate) fn is_replaced(&self) -> bool {
        self.ours.is_some()
    }

    /// Whether an endpoint's answer with the id `given` belongs to this request.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        match self.ours {
            None => is_same_id(&self.client, given),
            Some(number) => is_same_id(itoa::Buffer::new().format(number.get()).as_bytes(), given),
        }
    }

    /// The id that endpoints get, in its normal form.
    pub(super) fn key(&self) -> Option<String> {
        match self.ours {
            None => normal_id(&self.client),
            Some(number) => Some(number.to_string()),
        }
    }

    /// An endpoint's answer with the client's id restored, if `given`, a slice of it, is the
    /// proxy's number.
    pub(crate) fn put_back(&self, answer: &Bytes, given: &[u8]) -> Bytes {
        match self.is_replaced() && self.is(given) {
            true => spliced(answer, given, &self.client),
            false => answer.clone(),
        }
    }

    /// [`Id::put_back`] for a whole answer to a single request.
    pub(crate) fn restore(&self, answer: Bytes) -> Bytes {
        if !self.is_replaced() {
            return answer;
        }
        match Member::parse(&answer).and_then(|member| member.id()) {
            Some(given) => self.put_back(&answer, given),
            None => answer,
        }
    }

    /// [`Id::restore`] for an error, which endpoints may send without an id.
    pub(crate) fn restore_error(&self, answer: Bytes) -> Bytes {
        let Some(member) = Member::parse(&answer) else { return answer };
        match (member.id(), member.error()) {
            (None, Some(error)) => error_to(&self.client, error),
            _ => self.restore(answer),
        }
    }
}

impl Deref for Id {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.client
    }
}

/// The id of a single request and the body to send. If `id`, a slice of `body`, isn't plain, the
/// body has a number instead.
pub(super) fn of_single(body: &Bytes, id: Bytes) -> (Id, Bytes) {
    if is_plain(&id) {
        return (Id::as_is(id), body.clone());
    }
    let ours = Id::replaced(&id, 0);
    let sent = spliced(body, &id, b"1");
    (ours, sent)
}

/// Replaces all ids by numbers, if any isn't plain or two are equal. Returns whether it did.
pub(super) fn number_batch(members: &mut [MemberRequest]) -> bool {
    let ids = || members.iter().filter_map(|member| member.id.as_deref());
    if ids().all(is_plain) && are_distinct(ids()) {
        return false;
    }
    for (position, member) in members.iter_mut().enumerate() {
        if let Some(id) = &mut member.id {
            let ours = Id::replaced(&id.client, position);
            let number = ours.key().unwrap_or_default();
            member.raw = spliced(&member.raw, &id.client, number.as_bytes());
            *id = ours;
        }
    }
    true
}

/// Whether every JSON library writes the id as it is written here.
fn is_plain(id: &[u8]) -> bool {
    let is_plain_byte = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b' ' || PLAIN_MARKS.contains(byte);
    match id {
        [b'"', text @ .., b'"'] => (1..=MOST_PLAIN).contains(&text.len()) && text.iter().all(is_plain_byte),
        digits => number(digits).is_some(),
    }
}

/// An integer that a double represents exactly. JSON allows no leading zeros, so it has one form.
fn number(digits: &[u8]) -> Option<usize> {
    decimal(digits).filter(|number| *number <= MAX_SAFE_INTEGER)
}

/// Whether plain ids are distinct. Most clients count up; only other ids need a set.
fn are_distinct<'a>(ids: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
    let mut last = None;
    let counts = ids.clone().all(|id| {
        let number = number(id);
        let grows = number.is_some() && number > last;
        last = number;
        grows
    });
    let mut seen = HashSet::new();
    counts || ids.into_iter().all(|id| seen.insert(id))
}

/// `text` with `new` in place of its part `old`.
fn spliced(text: &Bytes, old: &[u8], new: &[u8]) -> Bytes {
    let begin = (old.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    let (Some(before), Some(after)) = (text.get(..begin), text.get(begin.wrapping_add(old.len())..)) else {
        return text.clone();
    };
    let mut whole = BytesMut::with_capacity(before.len() + new.len() + after.len());
    [before, new, after].into_iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

#[cfg(test)]
mod tests;
