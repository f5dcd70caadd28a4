//! Pieces of JSON that are kept as they are written.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A field of an object: absent, or its text, which may be `null`. (An `Option` alone takes `null` for absent.)
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

/// Whether two ids mean the same: `1.0` is `1`, and `"\u0061"` is `"a"`.
pub(super) fn is_same_id(a: &[u8], b: &[u8]) -> bool {
    a == b || normal_id(a).is_some_and(|id| Some(id) == normal_id(b))
}

/// An id in one form of all that mean the same; `None` for what is no id.
pub(super) fn normal_id(raw: &[u8]) -> Option<String> {
    use serde_json::Value;
    match serde_json::from_slice::<Value>(raw).ok()? {
        Value::String(text) => Some(format!("\"{text}")),
        Value::Number(number) => match number.as_f64() {
            // Whole numbers that a double holds exactly have many forms; larger ones are compared as written.
            Some(float) if float.fract() == 0.0 && float.abs() < EXACT => Some(format!("{float:.0}")),
            _ => Some(number.to_string()),
        },
        Value::Null => Some("null".to_owned()),
        _ => None,
    }
}

/// Up to here a double holds every whole number: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use super::*;

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
