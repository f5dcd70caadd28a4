//! Inspection of a client's body: validity, methods and size.
//!
//! Only the method is copied: the endpoint gets the client's own bytes, except ids that endpoints
//! may write differently (see [`super::id`]). Invalid requests are refused before any endpoint is
//! involved.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Refusal;
use super::batch::{Expected, MemberRequest, array};
use super::id::{Id, number_batch, of_single};
use super::member::Member;
use super::raw::for_each_element;
use crate::chain::Methods;
use crate::model::{MethodClass, RequestShape};

/// The deepest nesting of arrays and objects. Nodes accept far less; deeper nesting would endanger
/// a recursive parser.
const MAX_DEPTH: usize = 128;

/// A request, as far as its body describes it.
#[derive(Debug)]
pub struct Inspected {
    /// The methods and their class.
    pub shape: RequestShape,
    /// The answer that counts as good.
    pub expected: Expected,
    /// The body for endpoints, if ids were replaced.
    pub renumbered: Option<Bytes>,
}

/// Inspects `body`, which may hold up to `max_batch` requests.
///
/// # Errors
/// The refusal for the client.
pub fn inspect(body: &Bytes, max_batch: usize, methods: &Methods) -> Result<Inspected, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|e| Refusal::NotJson(format!("the body is not UTF-8 after byte {}", e.valid_up_to())))?;
    match text.trim_ascii_start().bytes().next() {
        Some(b'{') => single(text, body, methods),
        Some(b'[') => batch(text, body, max_batch, methods),
        None => Err(Refusal::NotJson("the body is empty".into())),
        Some(_) => Err(neither(text)),
    }
}

fn single(text: &str, body: &Bytes, methods: &Methods) -> Result<Inspected, Refusal> {
    refuse_depth(text, MAX_DEPTH)?;
    let member: Member<'_> = serde_json::from_str(text).map_err(refuse)?;
    let class = methods.classify(&member.method);
    let id = id(&member, body)?.map(|id| of_single(body, id));
    let renumbered = id.as_ref().filter(|(id, _)| id.is_replaced()).map(|(_, body)| body.clone());
    Ok(Inspected {
        shape: RequestShape::single(member.method.as_ref().to_owned(), class),
        expected: id.map_or(Expected::Nothing, |(id, _)| Expected::Single(id)),
        renumbered,
    })
}

fn batch(text: &str, body: &Bytes, max_batch: usize, methods: &Methods) -> Result<Inspected, Refusal> {
    let mut batch = Batch { body, methods, requests: Vec::new(), classes: Vec::new() };
    let read = for_each_element(text, |raw, member| match batch.requests.len() {
        most if most == max_batch => Err(None),
        position => batch.take(raw, member).map_err(|refusal| Some(refusal.about_member(position))),
    });
    match read {
        Some(Ok(())) if batch.requests.is_empty() => Err(Refusal::Invalid("the batch is empty".into())),
        Some(Ok(())) => Ok(batch.finish()),
        stopped => Err(refuse_batch(text, max_batch, stopped.and_then(Result::err).flatten())),
    }
}

/// The refusal of a batch. Invalid JSON and excess length take precedence over errors of members.
fn refuse_batch(text: &str, max_batch: usize, about_member: Option<Refusal>) -> Refusal {
    match serde_json::from_str::<Vec<IgnoredAny>>(text).map(|members| members.len()) {
        Err(error) => refuse(error),
        Ok(found) if found > max_batch => {
            Refusal::BatchTooLong(format!("the batch has {found} requests; at most {max_batch} are allowed"))
        }
        Ok(_) => about_member.unwrap_or_else(|| neither(text)),
    }
}

/// The members of a batch that were read so far.
struct Batch<'a> {
    body: &'a Bytes,
    methods: &'a Methods,
    requests: Vec<MemberRequest>,
    /// The classes of its different methods.
    classes: Vec<(String, MethodClass)>,
}

impl Batch<'_> {
    fn take(&mut self, raw: &str, member: serde_json::Result<Member<'_>>) -> Result<(), Refusal> {
        // Serde also accepts an array of the fields as an object.
        if !raw.starts_with('{') {
            return Err(Refusal::Invalid("a request is an object".into()));
        }
        refuse_depth(raw, MAX_DEPTH - 1)?;
        let member = member.map_err(refuse)?;
        let class = self.classify(&member.method);
        self.requests.push(MemberRequest {
            id: id(&member, self.body)?.map(Id::as_is),
            raw: self.body.slice_ref(raw.as_bytes()),
            class,
        });
        Ok(())
    }

    fn finish(mut self) -> Inspected {
        let renumbered = number_batch(&mut self.requests);
        let renumbered = renumbered.then(|| array(self.requests.iter().map(|member| member.raw.clone())));
        let names = self.classes.into_iter().map(|(name, _)| name).collect();
        Inspected { renumbered, ..of_members(self.requests, names) }
    }

    fn classify(&mut self, method: &str) -> MethodClass {
        if let Some((_, class)) = self.classes.iter().find(|(name, _)| name == method) {
            return *class;
        }
        let class = self.methods.classify(method);
        self.classes.push((method.to_owned(), class));
        class
    }
}

/// A batch of these members, whose different methods are `names`.
pub(crate) fn of_members(members: Vec<MemberRequest>, mut names: Vec<String>) -> Inspected {
    let method = if names.len() == 1 { names.remove(0) } else { String::new() };
    let size = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let class = members.iter().map(|member| member.class).max().unwrap_or(MethodClass::Read);
    Inspected {
        shape: RequestShape { method, methods: names, batch: Some(size), class },
        expected: match members.iter().any(|member| member.id.is_some()) {
            true => Expected::Batch(Arc::from(members)),
            false => Expected::Nothing,
        },
        renumbered: None,
    }
}

/// The method of a member that passed inspection.
pub(crate) fn method_of(raw: &[u8]) -> String {
    serde_json::from_slice::<Member<'_>>(raw).map(|member| member.method.into_owned()).unwrap_or_default()
}

fn id(member: &Member<'_>, body: &Bytes) -> Result<Option<Bytes>, Refusal> {
    let Some(id) = member.id.0.map(RawValue::get) else { return Ok(None) };
    match id.as_bytes() {
        [b'"' | b'-' | b'n' | b'0'..=b'9', ..] => Ok(Some(body.slice_ref(id.as_bytes()))),
        _ => Err(Refusal::Invalid("an id is a string, a number or null".into())),
    }
}

/// The refusal of a body that is neither an object nor an array: JSON is invalid, the rest isn't
/// JSON.
fn neither(text: &str) -> Refusal {
    match serde_json::from_str::<IgnoredAny>(text) {
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

fn refuse_depth(text: &str, most: usize) -> Result<(), Refusal> {
    match is_deeper(text.as_bytes(), most) {
        true => Err(Refusal::NotJson(format!("the body is nested deeper than {MAX_DEPTH} levels"))),
        false => Ok(()),
    }
}

/// Whether brackets outside of strings nest deeper than `most`. Their matching is left to the
/// parser.
fn is_deeper(text: &[u8], most: usize) -> bool {
    // A text can't have more levels than bytes.
    if text.len() <= most {
        return false;
    }
    // Most texts have fewer brackets than that, however nested. The counter is a byte, since
    // processors add many bytes at once: for a long text this takes a sixth of the full scan's
    // time.
    let opening = |part: &[u8]| part.iter().map(|byte| u8::from(matches!(byte, b'[' | b'{'))).sum::<u8>();
    let opening: usize = text.chunks(u8::MAX.into()).map(|part| usize::from(opening(part))).sum();
    opening > most && nests_deeper(text, most)
}

fn nests_deeper(text: &[u8], most: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Inspected, Refusal> {
        inspect(&Bytes::copy_from_slice(body.as_bytes()), 3, &Methods::default())
    }

    fn code(body: &[u8]) -> i32 {
        inspect(&Bytes::copy_from_slice(body), 3, &Methods::default()).unwrap_err().rpc_code()
    }

    #[test]
    fn a_single_request_has_a_method_and_its_class() {
        let shape = |body| read(body).unwrap().shape;
        let single = |method: &str, class| RequestShape::single(method.to_owned(), class);
        let read_only = shape(r#" {"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{}]}"#);
        assert_eq!(read_only, single("eth_call", MethodClass::Read));
        let raw = shape(r#"{"id":"a","method":"eth_sendRawTransaction"}"#);
        assert_eq!(raw, single("eth_sendRawTransaction", MethodClass::IdempotentWrite));
        let unknown = shape(r#"{"id":null,"method":"eth_\u0063all2"}"#);
        assert_eq!(unknown, single("eth_call2", MethodClass::Write));
    }

    #[test]
    fn a_batch_is_as_dangerous_as_its_worst_member() {
        let shape = |body| read(body).unwrap().shape;
        let reads = shape(r#"[{"method":"eth_call"},{"method":"eth_call"}]"#);
        assert_eq!((reads.method.as_str(), reads.batch, reads.class), ("eth_call", Some(2), MethodClass::Read));
        let mixed = shape(r#"[{"method":"eth_call"},{"method":"eth_sendRawTransaction"}]"#);
        assert_eq!((mixed.method.as_str(), mixed.class), ("", MethodClass::IdempotentWrite));
        assert!(mixed.is_write() && mixed.is_resendable());
        let unsafe_one = shape(r#"[{"method":"eth_sendRawTransaction"},{"method":"eth_sendTransaction"}]"#);
        assert!(unsafe_one.is_write() && !unsafe_one.is_resendable());
    }

    #[test]
    fn a_mixed_batch_has_the_methods_of_all_members() {
        let shape = |body| read(body).unwrap().shape;
        let mixed = shape(r#"[{"method":"eth_call"},{"method":"eth_gasPrice"},{"method":"eth_call"}]"#);
        assert_eq!(
            (mixed.method.as_str(), mixed.methods),
            ("", vec!["eth_call".to_owned(), "eth_gasPrice".to_owned()])
        );
        let one = shape(r#"[{"method":"eth_call"},{"method":"eth_call"}]"#);
        assert_eq!((one.method.as_str(), one.methods), ("eth_call", vec![]));
    }

    #[test]
    fn a_request_without_an_id_is_a_notification() {
        let is_one = |body| matches!(read(body).unwrap().expected, Expected::Nothing);
        assert!(is_one(r#"{"method":"eth_call"}"#));
        assert!(!is_one(r#"{"id":null,"method":"eth_call"}"#));
        assert!(is_one(r#"[{"method":"a"},{"method":"b"}]"#));
        assert!(!is_one(r#"[{"method":"a"},{"method":"b","id":0}]"#));
    }

    #[test]
    fn ids_are_kept_as_they_are_written() {
        let Expected::Single(id) = read(r#"{"method":"a","id": 1.50 }"#).unwrap().expected else { panic!("single") };
        assert_eq!(*id, *b"1.50");
        let Expected::Batch(members) = read(r#"[{"id":"x","method":"a"}, {"method":"b"}]"#).unwrap().expected else {
            panic!("a batch")
        };
        assert_eq!((members[0].id.as_deref(), members[1].id.as_deref()), (Some(&b"\"x\""[..]), None));
        assert_eq!(members[1].raw, r#"{"method":"b"}"#);
        assert_eq!(method_of(&members[1].raw), "b");
    }

    #[test]
    fn a_bad_member_is_named() {
        let refusal = read(r#"[{"method":"a"},{"id":1},{"id":2}]"#).unwrap_err();
        assert!(refusal.to_string().contains("request 2 of the batch"), "{refusal}");
    }

    #[test]
    fn a_batch_that_is_no_json_or_too_long_is_told_to_be_that_whatever_its_members_are() {
        assert_eq!(code(br#"[{"id":1},{"#), -32_700);
        assert_eq!(code(br#"[{"id":1}]]"#), -32_700);
        let too_long = read(r#"[{"id":1},{"method":"a"},{"method":"a"},{"method":"a"}]"#).unwrap_err();
        assert!(matches!(too_long, Refusal::BatchTooLong(_)), "{too_long}");
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
            r#"[["eth_call",1]]"#,
            r#"{"method":"a","Method":"b"}"#,
            r#"[{"method":"a"},{"method":"a","param\u017f":[]}]"#,
        ] {
            assert_eq!(code(body.as_bytes()), -32_600, "{body}");
        }
    }

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        let nested = |depth: usize| format!(r#"{{"method":"a","params":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(code(nested(MAX_DEPTH).as_bytes()), -32_700);
        let in_batch = |depth| format!(r#"[{{"method":"b","params":[]}},{}]"#, nested(depth));
        assert!(read(&in_batch(MAX_DEPTH - 2)).is_ok());
        assert_eq!(code(in_batch(MAX_DEPTH - 1).as_bytes()), -32_700);
        assert_eq!(code("[".repeat(1_000_000).as_bytes()), -32_700);
        let in_string = format!(r#"{{"method":"a","params":["\"{}"]}}"#, "[".repeat(1_000));
        assert!(read(&in_string).is_ok());
    }
}
