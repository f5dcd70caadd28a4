//! The request's own words in an endpoint's error message.
//!
//! Nodes quote requests: a tracer's source, an unknown name, a value that they can't parse. A
//! policy that detects endpoint failures by words would attribute the quotation to the endpoint.
//! [`unquoted`] masks it, and `upstream::retry` follows a decision that blames the endpoint only
//! as far as the policy decides so without those words, too.
//!
//! Invariant: masking can remove blame from an endpoint, never add any, so any doubtful word is
//! masked. Masked are
//! - a word of four letters or more that occurs anywhere in the request, also inside another word:
//!   the node may have truncated it;
//! - two neighbouring words, however short, that are neighbours in the request, too;
//! - the whole message, if the request is too long to search, or holds code for the endpoint to
//!   run: the code's output need not occur in the request.
//!
//! Case, punctuation, white space and escapes are ignored. Two kinds of words count only beside
//! another word of the request: short field names, since endpoints use `limit` and `method`
//! themselves, and headers, since `python-requests` would match "too many requests". Single words
//! of up to three letters are not masked.

use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::model::RequestFacts;

/// The largest request that is searched, which takes a fraction of a millisecond.
const MAX_REQUEST: usize = 64 << 10;
/// Shorter words count only in pairs: `is`, `not` and `key` are in almost any text.
const MIN_WORD: usize = 4;
/// The longest field name that counts only beside another word.
const MAX_SHORT_NAME: usize = 7;
/// The number of nested string escapes that endpoints decode.
const MAX_ESCAPED: usize = 3;
/// Methods that accept code: custom tracers in JavaScript.
const RUN_CODE: [&str; 2] = ["debug_trace", "debug_standardTrace"];
const MASK: char = '*';

/// A request as an endpoint got it.
#[derive(Clone, Copy)]
pub struct RequestText<'a> {
    /// The body.
    pub body: &'a Bytes,
    /// The client's headers.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The words of both.
    pub words: &'a RequestWords,
}

/// The words of a request, found on first use: a batch may have hundreds of errors.
#[derive(Debug, Default)]
pub struct RequestWords(OnceLock<Said>);

impl Clone for RequestWords {
    /// Starts empty, since a copy of a request may be sent with another body.
    fn clone(&self) -> Self {
        RequestWords::default()
    }
}

/// `message` with the request's own words masked; `None` when it holds none of them.
pub fn unquoted(message: &str, request: &RequestFacts, sent: RequestText<'_>) -> Option<String> {
    let words = words_of(message);
    if words.is_empty() {
        return None;
    }
    let size = sent.body.len() + sent.headers.iter().map(|(_, value)| value.len()).sum::<usize>();
    // Endpoints get only UTF-8; other bodies can't be searched.
    let body = std::str::from_utf8(sent.body).ok().filter(|_| size <= MAX_REQUEST);
    let Some(body) = body.filter(|body| !brings_code(request, body)) else {
        return Some(String::new());
    };
    let said = sent.words.0.get_or_init(|| Said::of(body, sent));
    mask(message, &words, &said.in_message(&words))
}

/// The words of a request in lower case, with one space before and after each.
#[derive(Debug, Default)]
struct Said {
    /// Words that count by themselves.
    words: String,
    /// Words that count beside another: short field names, and headers.
    names: String,
}

impl Said {
    fn of(body: &str, sent: RequestText<'_>) -> Said {
        let mut said = Said::default();
        let mut text = said.take_names(body);
        put_words(&mut said.words, &text);
        for _ in 0..MAX_ESCAPED {
            if !text.contains('\\') {
                break;
            }
            text = unescaped(&text);
            put_words(&mut said.words, &text);
        }
        for (_, value) in sent.headers {
            let mut words = String::new();
            put_words(&mut words, &String::from_utf8_lossy(value.as_bytes()));
            let is_one_word = !words.trim().contains(' ');
            (if is_one_word { &mut said.words } else { &mut said.names }).push_str(&words);
        }
        said
    }

    /// Returns the text without short field names, and stores those.
    fn take_names(&mut self, json: &str) -> String {
        let mut rest = String::with_capacity(json.len());
        let mut end = 0;
        for string in strings(json) {
            let (name, after) = (&json[string.clone()], &json[string.end..]);
            let is_name = || after[1..].trim_start().starts_with(':');
            if name.len() <= MAX_SHORT_NAME && name.bytes().all(|b| b.is_ascii_alphabetic()) && is_name() {
                put_words(&mut self.names, name);
                rest.push_str(&json[end..string.start]);
                end = string.end;
            }
        }
        rest.push_str(&json[end..]);
        rest
    }

    /// Whether each word of a message is quoted from the request.
    fn in_message(&self, words: &[(Range<usize>, String)]) -> Vec<bool> {
        let pair = |at: usize| Some(format!("{} {}", words[at].1, words.get(at + 1)?.1));
        let pairs = (0..words.len()).filter_map(pair);
        let long = words.iter().map(|(_, word)| word).filter(|word| word.chars().count() >= MIN_WORD).cloned();
        let mut patterns: Vec<String> = long.chain(pairs).collect();
        patterns.sort_unstable();
        patterns.dedup();
        let (said, named) = (find(&patterns, &self.words), find(&patterns, &self.names));
        let is_in = |found: &[bool], text: &String| patterns.binary_search(text).is_ok_and(|at| found[at]);
        let mut quoted: Vec<bool> = words.iter().map(|(_, word)| is_in(&said, word)).collect();
        for at in 0..words.len() {
            if pair(at).is_some_and(|pair| is_in(&said, &pair) || is_in(&named, &pair)) {
                quoted[at..=at + 1].fill(true);
            }
        }
        let beside =
            |at: usize| quoted.get(at).is_some_and(|q| *q) || words.get(at).is_some_and(|w| is_in(&named, &w.1));
        let is_quoted =
            |at: usize| quoted[at] || (beside(at) && (beside(at + 1) || at.checked_sub(1).is_some_and(beside)));
        (0..words.len()).map(is_quoted).collect()
    }
}

/// The positions of a message's words, and the words in lower case.
fn words_of(message: &str) -> Vec<(Range<usize>, String)> {
    let mut words = Vec::new();
    let mut left = message;
    while let Some(begin) = left.find(char::is_alphanumeric) {
        let word = &left[begin..];
        let word = &word[..word.find(|c: char| !c.is_alphanumeric()).unwrap_or(word.len())];
        let start = message.len() - left.len() + begin;
        words.push((start..start + word.len(), word.to_lowercase()));
        left = &left[begin + word.len()..];
    }
    words
}

/// Adds the words of `text`.
fn put_words(words: &mut String, text: &str) {
    words.reserve(text.len() + 2);
    words.push(' ');
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            words.push(c.to_ascii_lowercase());
        } else if !c.is_ascii() && c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    words.push(' ');
}

/// Whether `text` contains each of `patterns`. One pass for any number of them: both come from
/// outside.
fn find(patterns: &[String], text: &str) -> Vec<bool> {
    let mut found = vec![false; patterns.len()];
    // Built for one message, so of the kind that builds fastest. It holds any number of short
    // texts.
    let Ok(automaton) = AhoCorasick::builder().kind(Some(AhoCorasickKind::NoncontiguousNFA)).build(patterns) else {
        return vec![true; patterns.len()];
    };
    let mut left = patterns.len();
    for found_at in automaton.find_overlapping_iter(text) {
        let found = &mut found[found_at.pattern().as_usize()];
        left -= usize::from(!std::mem::replace(found, true));
        if left == 0 {
            break;
        }
    }
    found
}

fn mask(message: &str, words: &[(Range<usize>, String)], quoted: &[bool]) -> Option<String> {
    let mut masked = String::with_capacity(message.len());
    let mut end = 0;
    for ((word, _), _) in words.iter().zip(quoted).filter(|(_, quoted)| **quoted) {
        masked.push_str(&message[end..word.start]);
        masked.extend(message[word.clone()].chars().map(|_| MASK));
        end = word.end;
    }
    masked.push_str(&message[end..]);
    (end > 0).then_some(masked)
}

/// Whether a request brings code to run: a string that is more than a name, a number or a block
/// tag.
fn brings_code(request: &RequestFacts, body: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b' ');
    request.shape.has_method(|method| RUN_CODE.iter().any(|begin| method.starts_with(begin)))
        && strings(body).any(|string| !body[string].bytes().all(is_plain))
}

/// The positions of the strings in a JSON text, without their quotation marks.
fn strings(json: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + json[at..].find('"')? + 1;
        let bytes = json.as_bytes();
        let mut end = start;
        while *bytes.get(end)? != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        at = end + 1;
        Some(start..end)
    })
}

/// The text with JSON escapes resolved wherever they occur.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('\\');
    plain.push_str(parts.next().unwrap_or_default());
    while let Some(part) = parts.next() {
        let code = |hex: &str| u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
        let mut rest = part.chars();
        match (rest.next(), part.get(1..5).and_then(code)) {
            // An empty part before the next one: two backslashes stand for one.
            (None, _) => {
                plain.push('\\');
                plain.push_str(parts.next().unwrap_or_default());
                continue;
            }
            (Some('u'), Some(c)) => {
                plain.push(c);
                plain.push_str(&part[5..]);
                continue;
            }
            (Some('n' | 'r' | 't' | 'b' | 'f' | 'u'), _) => plain.push(' '),
            (Some(other), _) => plain.push(other),
        }
        plain.push_str(rest.as_str());
    }
    plain
}

#[cfg(test)]
mod tests;
