//! Raw pieces of JSON text.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// White space in JSON.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A field of an object: absent, or its text, which may be `null`. (A plain `Option` would read
/// `null` as absent.)
#[derive(Default)]
pub(super) struct Field<'a>(pub(super) Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Field(Some(raw)))
    }
}

impl<'a> Field<'a> {
    /// The value, unless it is absent or `null`.
    pub(super) fn value(&self) -> Option<&'a RawValue> {
        self.0.filter(|raw| raw.get() != "null")
    }
}

/// Parses a text that is an array. `take` gets the text and the parsed value of each element, until
/// it returns an error. `None` if the text isn't an array, which may turn out after some elements.
pub(super) fn for_each_element<'a, T: Deserialize<'a>, E>(
    array: &'a str,
    mut take: impl FnMut(&'a str, serde_json::Result<T>) -> Result<(), E>,
) -> Option<Result<(), E>> {
    let mut rest = array.trim_matches(SPACE).strip_prefix('[')?.strip_suffix(']')?.trim_matches(SPACE);
    while !rest.is_empty() {
        let (text, value) = leading_value(rest)?;
        if let Err(unwanted) = take(text, value) {
            return Some(Err(unwanted));
        }
        rest = rest[text.len()..].trim_start_matches(SPACE);
        if !rest.is_empty() {
            // An element must follow the comma.
            rest = Some(rest.strip_prefix(',')?.trim_start_matches(SPACE)).filter(|rest| !rest.is_empty())?;
        }
    }
    Some(Ok(()))
}

/// The JSON value at the beginning of a text; `None` if there is none.
fn leading_value<'a, T: Deserialize<'a>>(text: &'a str) -> Option<(&'a str, serde_json::Result<T>)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    match values.next()? {
        Ok(value) => Some((&text[..values.byte_offset()], Ok(value))),
        Err(error) => {
            let any: &RawValue = serde_json::Deserializer::from_str(text).into_iter().next()?.ok()?;
            Some((any.get(), Err(error)))
        }
    }
}

/// Whether two ids are equal in meaning: `1.0` is `1`, and `"\u0061"` is `"a"`.
pub(crate) fn is_same_id(a: &[u8], b: &[u8]) -> bool {
    a == b || normal_id(a).is_some_and(|id| Some(id) == normal_id(b))
}

/// The normal form of an id; `None` if it isn't an id.
pub(crate) fn normal_id(raw: &[u8]) -> Option<String> {
    use serde_json::Value;
    match serde_json::from_slice::<Value>(raw).ok()? {
        Value::String(text) => Some(format!("\"{text}")),
        Value::Number(number) => match number.as_f64() {
            // Integers that a double represents exactly have many forms; larger ones are compared
            // as written.
            Some(float) if float.fract() == 0.0 && float.abs() < EXACT => Some(format!("{float:.0}")),
            _ => Some(number.to_string()),
        },
        Value::Null => Some("null".to_owned()),
        _ => None,
    }
}

/// 2^53: a double represents every integer up to here.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// The elements with each one parsed as a number, if the text is an array.
    fn elements(array: &str) -> Option<Vec<(&str, Option<u8>)>> {
        let mut elements = Vec::new();
        let Ok(()) = for_each_element(array, |text, number| {
            elements.push((text, number.ok()));
            Ok::<(), Infallible>(())
        })?;
        Some(elements)
    }

    #[test]
    fn an_array_is_read_element_by_element() {
        assert_eq!(elements("[]"), Some(vec![]));
        assert_eq!(elements(" [ \r\n\t] \n"), Some(vec![]));
        assert_eq!(elements("[1]"), Some(vec![("1", Some(1))]));
        assert_eq!(elements("\n[ 1 ,2,\t3\r]"), Some(vec![("1", Some(1)), ("2", Some(2)), ("3", Some(3))]));
        let others = ["[1, 2]", r#"{"a":"]"}"#, "256", "null", r#""\"],""#, "\"\u{e9}\""];
        let array = format!("[{} , 7]", others.join(" ,"));
        let read = elements(&array).unwrap();
        assert_eq!(read.iter().map(|(text, _)| *text).collect::<Vec<_>>(), [&others[..], &["7"]].concat());
        assert_eq!(read.iter().filter_map(|(_, number)| *number).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn nothing_is_read_after_an_element_that_is_not_wanted() {
        let read = for_each_element("[1, 2, 3, nonsense]", |_, number: serde_json::Result<u8>| match number.unwrap() {
            2 => Err("enough"),
            _ => Ok(()),
        });
        assert_eq!(read, Some(Err("enough")));
    }

    #[test]
    fn an_array_is_read_as_strictly_as_any_json() {
        let pieces = ["[", "]", ",", "1", " ", "\"", "{", "}", "\u{c}", "[2]"];
        let mut texts = vec![String::new()];
        for _ in 0..5 {
            let longer = texts.iter().flat_map(|text| pieces.map(|piece| format!("{text}{piece}")));
            texts = longer.collect();
            for text in &texts {
                let whole: Option<Vec<&RawValue>> = serde_json::from_str(text).ok();
                let whole = whole.map(|all| all.into_iter().map(RawValue::get).collect::<Vec<_>>());
                let one_by_one = elements(text).map(|all| all.into_iter().map(|(text, _)| text).collect());
                assert_eq!(one_by_one, whole, "{text:?}");
            }
        }
    }

    #[test]
    fn ids_are_compared_by_what_they_mean() {
        for (a, b, same) in [
            ("1", "1", true),
            ("1", "1.0", true),
            ("100", "1e2", true),
            ("2.50", "2.5", true),
            ("\"a\"", r#""\u0061""#, true),
            ("1", "\"1\"", false),
            ("1", "2", false),
            ("null", "null", true),
            ("null", "0", false),
            ("9007199254740993", "9007199254740992", false),
            ("[1]", "[1.0]", false),
        ] {
            assert_eq!(is_same_id(a.as_bytes(), b.as_bytes()), same, "{a} {b}");
        }
    }
}
