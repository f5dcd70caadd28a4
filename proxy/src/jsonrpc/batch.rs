//! Matching the answers of a batch to its requests.
//!
//! An endpoint may answer a batch in any order, leave members out, or answer one twice. A member
//! counts as answered only when exactly one answer bears its id: of two different ones neither is
//! known to be right. Members that an endpoint left open, or answered with an error that another
//! endpoint may not give, are sent elsewhere, alone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::answer::{Member, Says};
use super::id::Id;
use super::raw::{for_each_element, normal_id};
use crate::model::{MethodClass, RpcError};

/// The longest error that is repeated for each member of a batch.
const MAX_REPEATED: usize = 4 << 10;

/// The answer that counts as good for a request.
#[derive(Clone, Debug)]
pub enum Expected {
    /// An object with this id, and a result or an error.
    Single(Id),
    /// An array with an answer for each member that has an id.
    Batch(Arc<[MemberRequest]>),
    /// An empty body, or one of the others: no member of the request has an id.
    Nothing,
}

/// A member of a client's batch.
#[derive(Clone, Debug)]
pub struct MemberRequest {
    /// Its id as it is written; `None` for a notification.
    pub id: Option<Id>,
    /// The whole member as endpoints get it.
    pub raw: Bytes,
    /// The class of its method, which limits retries.
    pub class: MethodClass,
}

/// An endpoint's answer to a member of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberAnswer {
    /// A result, with the client's id, as it is written.
    Answered(Bytes),
    /// An error, as written and as parsed.
    Failed(Bytes, RpcError),
    /// No answer, or none that can be trusted.
    Open,
    /// A notification, which has no answer.
    Notified,
}

impl MemberAnswer {
    /// Whether there is an answer that can be passed on.
    pub(crate) fn is_said(&self) -> bool {
        matches!(self, MemberAnswer::Answered(_) | MemberAnswer::Failed(..))
    }
}

/// The answers to a batch.
#[derive(Debug)]
pub(crate) struct Answers {
    /// One entry for each member of the request.
    pub(crate) slots: Vec<MemberAnswer>,
    /// The body can be passed on as it is: all answers are there, once, in the order of the
    /// requests.
    pub(super) as_is: bool,
    /// An error without an id, which is about the whole batch.
    pub(super) about_all: Option<RpcError>,
}

/// Finds the answers in `body`; `None` when it isn't an array.
pub(crate) fn find_answers(requests: &[MemberRequest], body: &Bytes) -> Option<Answers> {
    let text = std::str::from_utf8(body).ok()?;
    let open = |request: &MemberRequest| if request.id.is_some() { MemberAnswer::Open } else { MemberAnswer::Notified };
    let mut answers = Answers { slots: requests.iter().map(open).collect(), as_is: true, about_all: None };
    let mut matching = Matching { requests, next: 0, by_id: None, spoilt: Vec::new() };
    let Ok(()) = for_each_element(text, |raw, member| {
        answers.take(body.slice_ref(raw.as_bytes()), member.ok(), &mut matching);
        Ok::<(), Infallible>(())
    })?;
    let renumbered = requests.iter().any(|request| request.id.as_ref().is_some_and(Id::is_replaced));
    answers.as_is &= !renumbered && !answers.slots.contains(&MemberAnswer::Open);
    Some(answers)
}

/// The error of `body` about a batch as a whole, as the answer to each member that has an id. `None`
/// when there is none, or when it is too long to be repeated.
pub(crate) fn error_for_each(requests: &[MemberRequest], body: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let mut error = None;
    let taken = for_each_element(text, |answer, member| {
        error = error.or_else(|| about_all(answer, member.ok()?));
        Ok::<(), Infallible>(())
    });
    if taken.is_none() {
        error = about_all(text.trim_ascii_start(), Member::parse(body)?);
    }
    let error = error.filter(|error| error.len() <= MAX_REPEATED)?;
    Some(array(requests.iter().filter_map(|request| request.id.as_deref()).map(|id| error_to(id, error))))
}

/// The error of an answer without an id.
fn about_all<'a>(answer: &str, member: Member<'a>) -> Option<&'a str> {
    // Serde takes an array of the fields for an object.
    if answer.starts_with('{') && member.id().is_none() { member.error() } else { None }
}

/// An answer to this id with an error as an endpoint wrote it.
pub(super) fn error_to(id: &[u8], error: &str) -> Bytes {
    [br#"{"jsonrpc":"2.0","id":"#, id, br#","error":"#, error.as_bytes(), b"}"].concat().into()
}

impl Answers {
    fn take(&mut self, raw: Bytes, member: Option<Member<'_>>, matching: &mut Matching<'_>) {
        // Serde also accepts an array of the fields as an object.
        let Some(member) = member.filter(|_| raw.starts_with(b"{")) else {
            self.as_is = false;
            return;
        };
        let given = member.id().unwrap_or(b"null");
        let found = matching.find(given, &self.slots);
        let asked = found.position().and_then(|position| matching.requests[position].id.as_ref());
        let raw = match asked {
            Some(id) if id.is_replaced() => id.put_back(&raw, given),
            _ => raw,
        };
        let said = match member.says() {
            Says::Result => MemberAnswer::Answered(raw),
            Says::Error(error) => MemberAnswer::Failed(raw, error),
            Says::Uncoded(_) | Says::Nothing => MemberAnswer::Open,
        };
        match found {
            Found::InOrder(position) => self.slots[position] = said,
            Found::OutOfOrder(position) => {
                self.slots[position] = said;
                self.as_is = false;
            }
            Found::Again(position) => {
                self.as_is = false;
                if self.slots[position] != said {
                    self.slots[position] = MemberAnswer::Open;
                    matching.spoilt.push(position);
                }
            }
            Found::Stranger => {
                self.as_is = false;
                if let (MemberAnswer::Failed(_, error), None) = (said, member.id()) {
                    self.about_all.get_or_insert(error);
                }
            }
        }
    }
}

/// Finds the request that an answer belongs to. An index is built only once an answer is out of
/// order.
struct Matching<'a> {
    requests: &'a [MemberRequest],
    /// The next request that has an id.
    next: usize,
    by_id: Option<HashMap<String, Vec<usize>>>,
    /// Members with contradictory answers.
    spoilt: Vec<usize>,
}

enum Found {
    InOrder(usize),
    OutOfOrder(usize),
    /// All members with this id are answered already.
    Again(usize),
    /// No member has this id.
    Stranger,
}

impl Found {
    fn position(&self) -> Option<usize> {
        match self {
            Found::InOrder(position) | Found::OutOfOrder(position) | Found::Again(position) => Some(*position),
            Found::Stranger => None,
        }
    }
}

impl Matching<'_> {
    fn find(&mut self, id: &[u8], slots: &[MemberAnswer]) -> Found {
        while self.requests.get(self.next).is_some_and(|request| request.id.is_none()) {
            self.next += 1;
        }
        let expected = self.requests.get(self.next).and_then(|request| request.id.as_ref());
        if self.by_id.is_none() && expected.is_some_and(|expected| expected.is(id)) {
            self.next += 1;
            return Found::InOrder(self.next - 1);
        }
        let by_id = self.by_id.get_or_insert_with(|| index(self.requests));
        let positions = normal_id(id).and_then(|id| by_id.get(&id)).map_or(&[][..], Vec::as_slice);
        // Members may share an id; then only the order tells their answers apart.
        let open = positions.iter().copied().find(|&position| slots[position] == MemberAnswer::Open);
        match (open, positions.last()) {
            (Some(position), _) if !self.spoilt.contains(&position) => Found::OutOfOrder(position),
            (_, Some(&position)) => Found::Again(position),
            (_, None) => Found::Stranger,
        }
    }
}

/// The positions of the members by id.
fn index(requests: &[MemberRequest]) -> HashMap<String, Vec<usize>> {
    let mut by_id: HashMap<String, Vec<usize>> = HashMap::new();
    for (position, request) in requests.iter().enumerate() {
        if let Some(id) = request.id.as_ref().and_then(Id::key) {
            by_id.entry(id).or_default().push(position);
        }
    }
    by_id
}

/// A batch body of these members.
pub(crate) fn array(members: impl Iterator<Item = Bytes>) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(b'[');
    for member in members {
        if body.len() > 1 {
            body.put_u8(b',');
        }
        body.extend_from_slice(&member);
    }
    body.put_u8(b']');
    body.freeze()
}
