//! A request object, parsed so that the endpoint can't read a different one.
//!
//! The endpoint gets the client's bytes, so both must find the same method in them. Parsers differ:
//! Go's `encoding/json`, which Geth, Erigon and Bor use, matches keys without case, by Unicode's
//! simple folding, and takes the last match; others take the last or the first of equal keys. An
//! unambiguous object has each of the four keys of a request at most once, and no key that equals
//! one of them except for case. Escapes are decoded first, as all parsers do: `"m\u0065thod"` is
//! `method`. Nodes ignore other keys, so any are allowed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::raw::Field;

/// The keys of a request object.
const KEYS: [&str; 4] = ["jsonrpc", "id", "method", "params"];

/// A request object. The endpoint validates `jsonrpc` and `params`.
pub(super) struct Member<'a> {
    pub(super) method: Cow<'a, str>,
    pub(super) id: Field<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MemberVisitor)
    }
}

struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member<'de>, A::Error> {
        let (mut method, mut id, mut seen) = (None, Field::default(), [false; KEYS.len()]);
        while let Some(key) = map.next_key::<Key>()? {
            let Key::One(number) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[number], true) {
                return Err(de::Error::duplicate_field(KEYS[number]));
            }
            match KEYS[number] {
                "method" => method = Some(map.next_value::<Text<'de>>()?.0),
                "id" => id = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Member { method: method.ok_or_else(|| de::Error::missing_field("method"))?, id })
    }
}

/// A string, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

enum Key {
    /// The position in [`KEYS`].
    One(usize),
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
        if let Some(number) = KEYS.iter().position(|known| *known == key) {
            return Ok(Key::One(number));
        }
        match KEYS.iter().find(|known| folds_to(key, known)) {
            Some(known) => Err(E::custom(format_args!("the key {key:?} can be read as \"{known}\"; write it as that"))),
            None => Ok(Key::Other),
        }
    }
}

/// Whether a parser that ignores case may read `key` as `name`, which is in lower case. Besides
/// capitals, some case mapping turns these characters into an ASCII letter: ſ and the Kelvin sign
/// (Unicode's simple folding), and the dotted and the dotless i (Turkish, and full mappings).
fn folds_to(key: &str, name: &str) -> bool {
    // Three of these characters take one byte more than a letter, and the Kelvin sign two.
    if key.len() < name.len() || key.len() > 3 * name.len() {
        return false;
    }
    let mut letters = name.chars();
    let as_letter = |character: char| match character {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        other => other.to_ascii_lowercase(),
    };
    key.chars().all(|character| letters.next() == Some(as_letter(character))) && letters.next().is_none()
}

#[cfg(test)]
mod tests;
