//! Reads a client's body: is it JSON-RPC, what does it ask for, how large is it.
//!
//! The body is not changed and nothing of it is kept but the method: the endpoint gets the client's own bytes. What
//! is wrong is told before any endpoint is bothered.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Refusal;
use crate::model::{MethodClass, classify_method};

/// Arrays and objects within each other. Nodes refuse far less; a parser that recurses would be in danger.
const MAX_DEPTH: usize = 128;

/// What a body asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The method; of a batch, the members' common method or the empty string.
    pub method: String,
    /// Members of the batch; 1 for a single request.
    pub batch_size: u32,
    /// The body is an array.
    pub batch: bool,
    /// Any member may change something.
    pub write: bool,
    /// It is a write, and all of its writes may be sent twice.
    pub idempotent: bool,
    /// No member has an id: there may be no answer.
    pub notification: bool,
}

/// One request object. `jsonrpc` and `params` are the endpoint's to judge, but may not stand there twice.
#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(default)]
    id: Id,
    #[serde(default, borrow)]
    #[expect(dead_code, reason = "read so that a second one is refused")]
    params: Option<&'a RawValue>,
    #[serde(default, borrow)]
    #[expect(dead_code, reason = "read so that a second one is refused")]
    jsonrpc: Option<&'a RawValue>,
}

/// Inspects `body`, which may hold up to `max_batch` requests.
///
/// # Errors
/// The refusal to answer with.
pub fn inspect(body: &[u8], max_batch: usize) -> Result<Inspected, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|e| Refusal::NotJson(format!("the body is not UTF-8 after byte {}", e.valid_up_to())))?;
    if is_too_deep(body) {
        return Err(Refusal::NotJson(format!("the body is nested deeper than {MAX_DEPTH} levels")));
    }
    match text.trim_ascii_start().bytes().next() {
        Some(b'{') => Ok(single(&serde_json::from_str(text).map_err(refuse)?)),
        Some(b'[') => batch(&serde_json::from_str::<Vec<Member<'_>>>(text).map_err(refuse)?, max_batch),
        None => Err(Refusal::NotJson("the body is empty".into())),
        Some(_) => Err(neither(text)),
    }
}

fn single(member: &Member<'_>) -> Inspected {
    let class = classify_method(&member.method);
    Inspected {
        method: member.method.as_ref().to_owned(),
        batch_size: 1,
        batch: false,
        write: class != MethodClass::Read,
        idempotent: class == MethodClass::IdempotentWrite,
        notification: !member.id.given,
    }
}

fn batch(members: &[Member<'_>], max_batch: usize) -> Result<Inspected, Refusal> {
    let [first, rest @ ..] = members else {
        return Err(Refusal::Invalid("the batch is empty".into()));
    };
    if members.len() > max_batch {
        let text = format!("the batch has {} requests; at most {max_batch} are allowed", members.len());
        return Err(Refusal::BatchTooLong(text));
    }
    let common = rest.iter().all(|member| member.method == first.method);
    let classes = || members.iter().map(|member| classify_method(&member.method));
    let write = classes().any(|class| class != MethodClass::Read);
    Ok(Inspected {
        method: if common { first.method.as_ref().to_owned() } else { String::new() },
        batch_size: u32::try_from(members.len()).unwrap_or(u32::MAX),
        batch: true,
        write,
        idempotent: write && classes().all(|class| class != MethodClass::Write),
        notification: members.iter().all(|member| !member.id.given),
    })
}

/// A JSON value that is no request is invalid; anything else is no JSON.
fn neither(text: &str) -> Refusal {
    match serde_json::from_str::<de::IgnoredAny>(text) {
        Ok(_) => Refusal::Invalid("a request is an object, a batch an array".into()),
        Err(error) => refuse(error),
    }
}

fn refuse(error: serde_json::Error) -> Refusal {
    match error.classify() {
        Category::Data => Refusal::Invalid(error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => Refusal::NotJson(error.to_string()),
    }
}

/// Brackets outside of strings. Whether they match is the parser's business.
fn is_too_deep(body: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// An id: a string, a number or null.
#[derive(Default)]
struct Id {
    given: bool,
}

impl Id {
    const GIVEN: Id = Id { given: true };
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id that is a string, a number or null")
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Id, E> {
                Ok(Id::GIVEN)
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Id, E> {
                Ok(Id::GIVEN)
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Id, E> {
                Ok(Id::GIVEN)
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Id, E> {
                Ok(Id::GIVEN)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Id, E> {
                Ok(Id::GIVEN)
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Inspected, Refusal> {
        inspect(body.as_bytes(), 3)
    }

    fn code(body: &[u8]) -> i32 {
        inspect(body, 3).unwrap_err().rpc_code()
    }

    #[test]
    fn a_single_request_tells_its_method_and_class() {
        let read_only = read(r#" {"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{}]}"#).unwrap();
        assert_eq!((read_only.method.as_str(), read_only.write, read_only.batch), ("eth_call", false, false));
        let raw = read(r#"{"id":"a","method":"eth_sendRawTransaction"}"#).unwrap();
        assert!(raw.write && raw.idempotent);
        let unknown = read(r#"{"id":null,"method":"eth_\u0063all2"}"#).unwrap();
        assert_eq!((unknown.method.as_str(), unknown.write, unknown.idempotent), ("eth_call2", true, false));
    }

    #[test]
    fn a_batch_is_a_write_if_any_member_is() {
        let reads = read(r#"[{"method":"eth_call"},{"method":"eth_call"}]"#).unwrap();
        assert_eq!((reads.method.as_str(), reads.batch_size, reads.write), ("eth_call", 2, false));
        let mixed = read(r#"[{"method":"eth_call"},{"method":"eth_sendRawTransaction"}]"#).unwrap();
        assert_eq!((mixed.method.as_str(), mixed.write, mixed.idempotent), ("", true, true));
        let unsafe_one = read(r#"[{"method":"eth_sendRawTransaction"},{"method":"eth_sendTransaction"}]"#).unwrap();
        assert!(unsafe_one.write && !unsafe_one.idempotent);
    }

    #[test]
    fn a_request_without_an_id_is_a_notification() {
        assert!(read(r#"{"method":"eth_call"}"#).unwrap().notification);
        assert!(!read(r#"{"id":null,"method":"eth_call"}"#).unwrap().notification);
        assert!(read(r#"[{"method":"a"},{"method":"b"}]"#).unwrap().notification);
        assert!(!read(r#"[{"method":"a"},{"method":"b","id":0}]"#).unwrap().notification);
    }

    #[test]
    fn what_is_no_json_is_a_parse_error() {
        for body in
            [&b"nonsense"[..], b"", b"  ", b"{\"method\":", b"[{\"method\":\"a\"}", b"{\"method\":\"\xff\"}", b"{,}"]
        {
            assert_eq!(code(body), -32_700, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn json_that_is_no_request_is_invalid() {
        for body in [
            "1",
            "\"eth_call\"",
            "null",
            "[]",
            "[1]",
            "{}",
            r#"{"id":1}"#,
            r#"{"method":7}"#,
            r#"{"method":"a","id":[1]}"#,
            r#"{"method":"a","id":true}"#,
            r#"{"method":"a","method":"b"}"#,
            r#"{"method":"a","id":1,"id":2}"#,
            r#"{"method":"a","params":[],"params":[]}"#,
            r#"[{"method":"a"},{"method":"a"},{"method":"a"},{"method":"a"}]"#,
        ] {
            assert_eq!(code(body.as_bytes()), -32_600, "{body}");
        }
    }

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        let nested = |depth: usize| format!(r#"{{"method":"a","params":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(code(nested(MAX_DEPTH).as_bytes()), -32_700);
        assert_eq!(code("[".repeat(1_000_000).as_bytes()), -32_700);
        let in_string = format!(r#"{{"method":"a","params":["\"{}"]}}"#, "[".repeat(1_000));
        assert!(read(&in_string).is_ok());
    }
}
