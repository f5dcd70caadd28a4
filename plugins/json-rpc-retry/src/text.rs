//! Search for the table's texts in a message, in one pass.
//!
//! A text is compared only at the start of a word, and only if its first two bytes match, so a call
//! stays far below its budget of fuel for any message. This also distinguishes "known transaction"
//! from "unknown transaction".

use crate::table::TABLE;

/// Maximum message length, in bytes: the ABI passes no more.
const MAX_BYTES: usize = 192;
/// Texts begin with ASCII.
const FIRST_BYTES: usize = 128;

const COUNT: usize = count();
/// All texts, in the table's order.
static TEXTS: [&str; COUNT] = texts();
/// All texts, by first byte.
static BY_FIRST_BYTE: Index = index();

/// The texts with first byte *b* are `entries[starts[b]..starts[b + 1]]`.
struct Index {
    starts: [usize; FIRST_BYTES + 1],
    entries: [Entry; COUNT],
}

/// A text by its number. The second byte is stored here because it excludes almost all texts
/// without another read.
#[derive(Clone, Copy)]
struct Entry {
    second: u8,
    number: usize,
}

/// Returns whether the message contains each text, in the table's order.
pub(crate) fn find_in(message: &[u8]) -> [bool; COUNT] {
    let mut found = [false; COUNT];
    let mut lower = [0; MAX_BYTES];
    let len = message.len().min(MAX_BYTES);
    lower[..len].copy_from_slice(&message[..len]);
    lower[..len].make_ascii_lowercase();
    let mut in_word = false;
    for (at, byte) in lower[..len].iter().enumerate() {
        let word = is_word(*byte);
        if !(in_word && word) {
            let second = lower[..len].get(at + 1).copied().unwrap_or_default();
            for entry in starting_with(*byte).iter().filter(|entry| entry.second == second) {
                found[entry.number] |= begins_with(&lower[at..len], TEXTS[entry.number].as_bytes());
            }
        }
        in_word = word;
    }
    found
}

/// Compares byte by byte: most texts differ early, where the library's comparison costs twice as
/// much.
fn begins_with(message: &[u8], text: &[u8]) -> bool {
    message.len() >= text.len() && message.iter().zip(text).all(|(left, right)| left == right)
}

/// Includes the underscore, so the words inside a method's name don't match.
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn starting_with(byte: u8) -> &'static [Entry] {
    let byte = usize::from(byte);
    if byte >= FIRST_BYTES {
        return &[];
    }
    let Index { starts, entries } = &BY_FIRST_BYTE;
    &entries[starts[byte]..starts[byte + 1]]
}

const fn count() -> usize {
    let (mut count, mut row) = (0, 0);
    while row < TABLE.len() {
        let mut signal = 0;
        while signal < TABLE[row].any.len() {
            count += TABLE[row].any[signal].texts();
            signal += 1;
        }
        row += 1;
    }
    count
}

const fn texts() -> [&'static str; COUNT] {
    let mut texts = [""; COUNT];
    let (mut count, mut row) = (0, 0);
    while row < TABLE.len() {
        let mut signal = 0;
        while signal < TABLE[row].any.len() {
            let mut text = 0;
            while text < TABLE[row].any[signal].texts() {
                texts[count] = TABLE[row].any[signal].text(text);
                count += 1;
                text += 1;
            }
            signal += 1;
        }
        row += 1;
    }
    texts
}

const fn index() -> Index {
    let texts = texts();
    let mut index = Index { starts: [0; FIRST_BYTES + 1], entries: [Entry { second: 0, number: 0 }; COUNT] };
    let (mut count, mut byte) = (0, 0);
    while byte < FIRST_BYTES {
        let mut number = 0;
        while number < COUNT {
            let text = texts[number].as_bytes();
            if text[0] as usize == byte {
                index.entries[count] = Entry { second: text[1], number };
                count += 1;
            }
            number += 1;
        }
        byte += 1;
        index.starts[byte] = count;
    }
    assert!(count == COUNT, "a text that doesn't begin with ASCII");
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow reference implementation.
    fn holds(message: &str, text: &str) -> bool {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let message = message.to_lowercase();
        message.match_indices(text).any(|(at, _)| !message[..at].ends_with(word) || !text.starts_with(word))
    }

    fn found(message: &str) -> Vec<&'static str> {
        TEXTS.iter().zip(find_in(message.as_bytes())).filter(|(_, found)| *found).map(|(text, _)| *text).collect()
    }

    #[test]
    fn texts_are_lower_case_and_none_is_empty() {
        for text in TEXTS {
            assert!(!text.is_empty() && text.is_ascii() && text.to_ascii_lowercase() == text, "{text}");
        }
    }

    #[test]
    fn every_text_is_found_at_the_start_inside_and_at_the_end_in_any_case() {
        for text in TEXTS {
            for message in [text.to_owned(), format!("Error: {text}, so there"), format!("é {}", text.to_uppercase())]
            {
                let expected: Vec<&str> = TEXTS.iter().copied().filter(|text| holds(&message, text)).collect();
                assert!(expected.contains(&text), "{message}");
                assert_eq!(found(&message), expected, "{message}");
            }
        }
    }

    #[test]
    fn a_text_is_not_found_inside_a_word_nor_when_it_is_cut() {
        assert_eq!(found("unknown transaction"), [""; 0]);
        assert_eq!(found("eth_pendingTransactions"), [""; 0]);
        assert_eq!(found("https://example.com/settings/billing"), ["/billing"]);
        assert_eq!(found(&format!("{} header not found", "x".repeat(176))), [""; 0]);
        assert_eq!(found(&format!("{} header not found", "x".repeat(175))), ["header not found"]);
        assert_eq!(found(""), [""; 0]);
        assert_eq!(find_in(&[0xff; 500]), [false; COUNT]);
    }
}
