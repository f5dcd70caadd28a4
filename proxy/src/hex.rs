//! Hexadecimal encoding.

use std::fmt::{self, Display};

/// Displays bytes as lower-case digits.
pub struct Hex<'a>(pub &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Parses digits, two per byte.
pub fn read(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect::<Option<_>>()?;
    rest.is_empty().then_some(bytes)
}

/// The value of a digit.
pub fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_as_it_is_written() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let text = Hex(&all).to_string();
        assert_eq!(read(text.as_bytes()), Some(all.clone()));
        assert_eq!(read(text.to_uppercase().as_bytes()), Some(all));
        for other in ["0", "0g", "g0", "0x", " 0", "+1", "é"] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }
}
