//! Decimal numbers in heads and ids.

/// The number, if there are only digits and it fits.
pub fn decimal(digits: &[u8]) -> Option<usize> {
    let (first, rest) = digits.split_first()?;
    rest.iter().try_fold(digit(*first)?, |number, byte| number.checked_mul(10)?.checked_add(digit(*byte)?))
}

fn digit(byte: u8) -> Option<usize> {
    byte.is_ascii_digit().then(|| usize::from(byte - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_digits_is_a_number() {
        assert_eq!([&b"0"[..], b"007", b"9007199254740993"].map(decimal), [Some(0), Some(7), Some(9007199254740993)]);
        assert_eq!(decimal(usize::MAX.to_string().as_bytes()), Some(usize::MAX));
        for other in ["", "+1", "-1", " 1", "1 ", "1.0", "0x1", "1_0", "é", "18446744073709551616"] {
            assert_eq!(decimal(other.as_bytes()), None, "{other:?}");
        }
    }
}
