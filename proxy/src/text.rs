//! Foreign text, made fit for a terminal and a log.
//!
//! Invariant: text from a file, a module, an argument or an endpoint is printed through one of
//! these functions. The log's writer applies one to every event, and the command line to all of its
//! output, so no call site can forget it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character affects how a terminal displays others: a control character, or one of
/// Unicode's format characters, which reverse text (U+202E) or are invisible (U+200B).
pub fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{feff}'
            | '\u{600}'..='\u{605}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

/// For several lines: keeps line ends, and writes every other unfit character as `\u{202e}`.
pub fn lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| c != '\n' && is_unfit(c), |out, c| out.extend(c.escape_unicode()))
}

/// For one log entry: marks continuation lines, so that none passes for an entry of its own.
pub fn entry(text: &str) -> Cow<'_, str> {
    replaced(text, is_unfit, |out, c| match c {
        '\n' => out.push_str("\n  | "),
        c => out.extend(c.escape_unicode()),
    })
}

/// For JSON: the same value, with unfit characters of its strings in JSON's own escapes. `text`
/// must be JSON.
pub fn json(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| c != '\n' && is_unfit(c),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string can't fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

fn replaced(text: &str, unfit: impl Fn(char) -> bool, put: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&unfit) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if unfit(c) { put(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: [char; 12] = [
        '\u{1b}', '\0', '\r', '\u{7f}', '\u{9b}', '\u{200b}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}',
        '\u{2069}', '\u{feff}',
    ];

    #[test]
    fn nothing_unfit_is_left_and_the_rest_stays() {
        for bad in BAD {
            let text = format!("é a{bad}b\n日");
            for shown in [lines(&text), entry(&text), json(&text)] {
                assert!(!shown.contains(|c| c != '\n' && is_unfit(c)), "{bad:?}: {shown:?}");
                assert!(shown.starts_with("é a\\u") && shown.ends_with('日'), "{shown:?}");
            }
        }
        assert!(matches!(lines("a\nb é 日"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_line_break_makes_no_entry_of_its_own() {
        assert_eq!(entry("a\n2026-01-01 INFO forged"), "a\n  | 2026-01-01 INFO forged");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{202e}": "\u{e0001}\u{7f}\u{1b}\n", "b": "é" });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&pretty);
        assert!(shown.contains("\\u202e") && shown.contains("\\udb40\\udc01"), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
