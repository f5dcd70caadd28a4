//! Tests of the conf as a whole. A `«` in a conf marks the expected place of a problem; it is
//! removed before parsing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on must fail")]

mod all_at_once;
mod keys;
mod listeners;
mod pools;
mod problems;
mod redaction;
mod routes;
mod samples;

use std::path::Path;

use super::{Config, ConfigError, Problem, parse};

/// The minimal conf, to which each test adds its subject.
const MINIMAL: &str = "[[upstreams.eth.endpoints]]\nurl = 'http://127.0.0.1:8545'\n";

fn env(name: &str) -> Option<String> {
    match name {
        "URL" => Some("https://env.example.com/key-from-env".to_owned()),
        "TOKEN" => Some("token-from-env".to_owned()),
        "EMPTY" => Some(String::new()),
        "BROKEN" => Some("not a url: sk-broken".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("conf/pointsman.toml"), &env)
}

#[track_caller]
fn accepted(text: &str) -> Config {
    read(text).unwrap_or_else(|error| panic!("refused:\n{error}\nthe conf:\n{text}"))
}

/// The problems of a conf that must be refused.
#[track_caller]
fn refused(text: &str) -> Vec<Problem> {
    match read(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.problems().to_vec(),
    }
}

/// Checks the problems of `marked` against its marks and `expected`. Each expected text is
/// `key: message` or a prefix of it.
#[track_caller]
fn assert_problems(marked: &str, expected: &[&str]) {
    let problems = refused(&marked.replace('«', ""));
    let places: Vec<(usize, usize)> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    let said: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
    let as_expected = said.iter().zip(expected).all(|(said, expected)| said.starts_with(expected));
    assert!(as_expected && said.len() == expected.len(), "said {said:#?}\nexpected {expected:#?}\nof\n{marked}");
    assert_eq!(places, marks(marked), "places of {said:#?} in\n{marked}");
}

/// Each conf is appended to the minimal one, which takes two lines.
#[track_caller]
fn assert_added(cases: &[(&str, &[&str])]) {
    for (added, expected) in cases {
        assert_problems(&format!("{MINIMAL}{added}"), expected);
    }
}

/// Line and column of each mark, not counting the marks before it.
fn marks(marked: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, line) in marked.lines().enumerate() {
        let mut column = 1;
        for character in line.chars() {
            match character {
                '«' => found.push((index + 1, column)),
                _ => column += 1,
            }
        }
    }
    found
}
