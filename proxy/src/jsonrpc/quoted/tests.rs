use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderName, HeaderValue};
use json_rpc_retry::{Config, JsonRpcRetry, table::TABLE};
use pointsman_sdk::{Attempt, Policy, Request, Retry};
use serde_json::{Value, json};

use super::*;
use crate::model::{MethodClass, RequestFacts};

const TRACER: &str =
    r#"{"id":1,"method":"debug_traceCall","params":[{},"latest",{"tracer":"a \"monthly capacity\""}]}"#;

fn facts(method: &str) -> RequestFacts {
    RequestFacts::of_single(method, MethodClass::Read)
}

fn unquoted_of(message: &str, request: &RequestFacts, body: impl Into<Bytes>, headers: &[&str]) -> Option<String> {
    let header = |value: &&str| (HeaderName::from_static("user-agent"), HeaderValue::from_str(value).unwrap());
    let headers: Vec<_> = headers.iter().map(header).collect();
    unquoted(message, request, RequestText { body: &body.into(), headers: &headers, words: &RequestWords::default() })
}

/// The message without the words of a request with these parameters.
fn without(params: &str, message: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{params}]}}"#);
    unquoted_of(message, &facts("eth_getLogs"), body, &[]).unwrap_or_else(|| message.to_owned())
}

#[test]
fn the_requests_words_are_masked_however_they_are_written_and_nothing_else_is() {
    for (params, message, expected) in [
        (r#""monthly capacity""#, "bad: monthly capacity", "bad: ******* ********"),
        // Other case, escapes, white space, quotation marks, surrounding text.
        (r#""Monthly CAPACITY""#, "monthly capacity", "******* ********"),
        (r#""\u006donthly\u0020capacit\u0079""#, "monthly capacity", "******* ********"),
        (r#""{\"a\":\"\\u006donthly\\tcapacity\"}""#, "monthly capacity", "******* ********"),
        (r#""monthly\n\n capacity""#, "'monthly capacity'", "'******* ********'"),
        (r#""xmonthly capacityx""#, "...monthly capacity...", "...******* ********..."),
        (r#""see /billing""#, "see https://h/billing", "see https://h/*******"),
        (r#""im \u00c9TAT""#, "état im", "**** im"),
        (r#""invalid \u212aey""#, "an invalid key", "an ******* ***"),
        // A name, long or with other characters than letters; a number; a single value.
        (r#"{"disabled":1}"#, "unknown field `disabled`", "unknown field `********`"),
        (r#"{"api key":1}"#, "invalid api key", "invalid *** ***"),
        (r#"{"\u006cimit":1}"#, "the limit", "the *****"),
        ("12345", "no 12345", "no *****"),
        (r#""rate""#, "rate limit", "**** limit"),
        // Short names count when adjacent.
        (r#"{"limit":9, "method" : 1}"#, "rate limit exceeded for this method", "rate limit exceeded for this method"),
        (r#"{"rate":1,"limit":2}"#, "unknown [rate limit]", "unknown [**** *****]"),
        (r#"{"limit":2,"rate":1}"#, "unknown [rate limit]", "unknown [**** *****]"),
        (r#""api""#, "invalid api key", "invalid api key"),
        (r#""not to be""#, "api not found, to be sure", "api not found, ** ** sure"),
        (r#""0xceedadeede""#, "limit exceeded", "limit exceeded"),
        (r#""*""#, "*** ???", "*** ???"),
        ("1", "", ""),
    ] {
        assert_eq!(without(params, message), expected, "{params}: {message}");
    }
}

#[test]
fn headers_count_where_they_are_one_word_or_two_of_theirs_stand_side_by_side() {
    let message = "too many requests, disabled";
    let masked = |header| unquoted_of(message, &facts("eth_call"), "{}", &[header]);
    assert_eq!(masked("python-requests/2.31"), None);
    assert_eq!(masked("disabled").as_deref(), Some("too many requests, ********"));
    assert_eq!(masked("(many; requests)").as_deref(), Some("too **** ********, disabled"));
}

#[test]
fn nothing_is_evidence_where_the_request_is_too_long_or_runs_code() {
    let call = |method: &str, body: String| unquoted_of("rate limit", &facts(method), body, &[]);
    let of = |length: usize| format!("[{}]", " ".repeat(length - 2));
    assert_eq!(call("eth_call", of(MAX_REQUEST)), None);
    assert_eq!(call("eth_call", of(MAX_REQUEST + 1)).as_deref(), Some(""));
    assert_eq!(unquoted_of("rate limit", &facts("eth_call"), &b"\xff"[..], &[]).as_deref(), Some(""));

    let trace = |tracer: &str| json!(["0x01", "latest", { "tracer": tracer, "timeout": "1.5s" }]).to_string();
    let code = r#"{fault(){},result(){throw "ra"+"te limit"}}"#;
    assert_eq!(call("debug_traceCall", trace("callTracer")), None);
    assert_eq!(call("debug_traceCall", trace(code)).as_deref(), Some(""));
    assert_eq!(call("eth_call", trace(code)).as_deref(), Some("rate *****"));
    let mut batch = facts("");
    batch.shape.methods = vec!["eth_call".into(), "debug_traceBlockByHash".into()];
    assert_eq!(unquoted_of("rate limit", &batch, trace(code), &[]).as_deref(), Some(""));
}

/// The blame of the shipped policy for this error.
fn blame(code: i64, method: &str, message: &str) -> String {
    let policy = JsonRpcRetry::configure(Config::default()).unwrap();
    let decision = policy.retry(&Request::for_method(method), &Attempt::rpc_error(code, message));
    // The fields have no getters, so the test reads the debug output.
    let fields = format!("{decision:?}");
    let is_blame = |field: &&str| ["cooldown", "penalty", "method_ban"].iter().any(|name| field.starts_with(name));
    let blame: Vec<&str> = fields.split(", ").filter(is_blame).collect();
    assert_eq!(blame.len(), 4, "{fields}");
    blame.join(", ")
}

#[test]
fn the_real_cases_blame_nobody_by_their_words() {
    for words in ["monthly capacity", "invalid api key", "rate limit", "method not found", "disabled", "/billing", "("]
    {
        let body = TRACER.replace("monthly capacity", words);
        let message = format!("js error: SyntaxError: unexpected token in `a \"{words}\"` at line 1, col 3");
        let masked = unquoted_of(&message, &facts("debug_traceCall"), body, &[]).unwrap();
        assert_eq!(blame(-32_603, "debug_traceCall", &masked), blame(-32_603, "debug_traceCall", ""), "{words}");
    }
}

/// A request that contains `words` somewhere.
fn random_body(rng: &mut Rng, words: &str) -> String {
    let around = |rng: &mut Rng| ["", " ", "x", "\"", "\n", "{", "'", "é", "\\"][rng.usize(..9)];
    let words = format!("{}{words}{}", around(rng), around(rng));
    let mut value = match rng.u8(..4) {
        0 => json!({ words: 1 }),
        1 => Value::String(json!({ "a": words }).to_string()),
        _ => Value::String(words),
    };
    for _ in 0..rng.u8(..3) {
        value = if rng.bool() { json!([1, value]) } else { json!({ "limit": value, "rate": "latest" }) };
    }
    let body = json!({ "jsonrpc": "2.0", "id": rng.u8(..), "method": "eth_call", "params": [value] }).to_string();
    if rng.bool() { body } else { body.replace('a', "\\u0061").replace(' ', "\\u0020") }
}

/// A node's error message around `words`.
fn random_message(rng: &mut Rng, words: &str) -> String {
    let words = match rng.u8(..4) {
        0 => words.to_uppercase(),
        1 => format!("{words:?}"),
        2 => words.replace(' ', "  "),
        _ => words.to_owned(),
    };
    let templates =
        ["%", "unknown field `%`, expected one of `to`, `from`", "bad value: %, at line 1", "oops \"%", "?%?"];
    templates[rng.usize(..templates.len())].replace('%', &words)
}

#[test]
fn no_text_of_the_shipped_table_blames_an_endpoint_that_only_quotes_it() {
    let texts: Vec<&str> = TABLE
        .iter()
        .flat_map(|row| row.any)
        .flat_map(|signal| (0..signal.texts()).map(|at| signal.text(at)))
        // Short words by themselves aren't masked; none of them blames an endpoint.
        .filter(|text| text.len() >= MIN_WORD)
        .collect();
    assert!(texts.len() > 50);
    let mut rng = Rng::with_seed(14);
    let mut masked = 0;
    for run in 0..20_000 {
        let words = match rng.u8(..3) {
            0 => texts[rng.usize(..texts.len())].to_owned(),
            1 => format!("{} {}", texts[rng.usize(..texts.len())], texts[rng.usize(..texts.len())]),
            _ => format!("method {} ", texts[rng.usize(..texts.len())]),
        };
        let (body, message) = (random_body(&mut rng, &words), random_message(&mut rng, &words));
        let unquoted = unquoted_of(&message, &facts("eth_call"), body.clone(), &[]);
        masked += usize::from(unquoted.is_some());
        let unquoted = unquoted.unwrap_or_else(|| message.clone());
        for code in [-32_099, -32_603] {
            let (got, neutral) = (blame(code, "eth_call", &unquoted), blame(code, "eth_call", ""));
            assert_eq!(got, neutral, "run {run}: {code} {message}, as {unquoted}, after {body}");
        }
    }
    assert!(masked > 19_000, "{masked}");
}
