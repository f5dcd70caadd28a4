//! Durations, sizes and chain ids as a conf writes them.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The accepted form of a duration, for messages.
pub(super) const DURATION_FORM: &str = "a duration such as \"250ms\", \"10s\" or \"1m 30s\"";
/// The accepted form of a size, for messages.
pub(super) const SIZE_FORM: &str = "a size such as \"64KiB\" or \"10MiB\", or a whole number of bytes";

/// The accepted forms of a chain id, for messages.
pub(super) const CHAIN_ID_FORM: &str = "a whole number, or a genesis hash with chain = \"solana\"";

/// The units of a size. Powers of 1,024 only, because `MB` is ambiguous.
const SIZE_UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A duration that isn't parsed yet. Its type error names the accepted form.
pub(super) struct DurationText(String);

impl DurationText {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(&self) -> Option<Duration> {
        humantime::parse_duration(&self.0).ok()
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = DurationText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(DURATION_FORM)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<DurationText, E> {
                Ok(DurationText::new(text))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A size in bytes that isn't parsed yet: text with a unit, or a whole number.
pub(super) struct SizeText(String);

impl SizeText {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(&self) -> Option<usize> {
        let (digits, unit) = SIZE_UNITS
            .iter()
            .find_map(|&(name, unit)| Some((self.0.strip_suffix(name)?.trim_end(), unit)))
            .unwrap_or((&self.0, 1));
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse::<usize>().ok()?.checked_mul(unit)
    }
}

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = SizeText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE_FORM)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<SizeText, E> {
                Ok(SizeText::new(text))
            }
            fn visit_i64<E: Error>(self, bytes: i64) -> Result<SizeText, E> {
                Ok(SizeText(bytes.to_string()))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A chain's identity that isn't validated yet.
pub(super) enum ChainIdText {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for ChainIdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = ChainIdText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(CHAIN_ID_FORM)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ChainIdText, E> {
                Ok(ChainIdText::Text(text.to_owned()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<ChainIdText, E> {
                Ok(ChainIdText::Number(number))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_binary_unit() {
        for (text, expected) in [
            ("10MiB", Some(10 << 20)),
            ("64 KiB", Some(64 << 10)),
            ("1GiB", Some(1 << 30)),
            ("7B", Some(7)),
            ("1024", Some(1024)),
            ("10MB", None),
            ("10m", None),
            ("1.5MiB", None),
            ("-1", None),
            ("+1", None),
            ("MiB", None),
            ("", None),
            ("99999999999999GiB", None),
        ] {
            assert_eq!(SizeText::new(text).parse(), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, expected) in [
            ("250ms", Some(Duration::from_millis(250))),
            ("1m 30s", Some(Duration::from_secs(90))),
            ("10", None),
            ("-1s", None),
            ("", None),
        ] {
            assert_eq!(DurationText::new(text).parse(), expected, "{text:?}");
        }
    }
}
