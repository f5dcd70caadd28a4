//! Tests the structs against the golden bytes in `sdk/vectors`, which the proxy's tests use too.
//!
//! A vector has two forms: `key = value` lines, and bytes that can be checked by hand against
//! ABI.md. The bytes are viewed as the struct, and every field is compared with its line.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use pointsman_sdk::export::{Block, view, words};
use pointsman_sdk::{Attempt, Chain, Cooldown, Decision, Endpoint, HttpMethod, Outcome, Plan, Protocol, Request, hash};

/// A parsed vector. Tests remove fields one by one, so a field without a test is found.
struct Vector {
    fields: BTreeMap<String, String>,
    words: Vec<u64>,
}

impl Vector {
    fn parse(text: &str) -> Self {
        let lines = || text.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty());
        let fields = lines()
            .take_while(|line| *line != "hex:")
            .map(|line| line.split_once(" = ").unwrap())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let bytes: Vec<u8> = lines()
            .skip_while(|line| *line != "hex:")
            .skip(1)
            .flat_map(str::split_whitespace)
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect();
        let (chunks, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty(), "{} bytes are no whole number of words", bytes.len());
        Vector { fields, words: chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect() }
    }

    fn text(&mut self, key: &str) -> String {
        self.fields.remove(key).unwrap_or_else(|| panic!("no field {key}"))
    }

    fn is<T: FromStr<Err: Debug> + PartialEq + Debug>(&mut self, key: &str, actual: T) {
        assert_eq!(self.text(key).parse::<T>().unwrap(), actual, "{key}");
    }

    fn is_hex(&mut self, key: &str, actual: u64) {
        assert_eq!(self.text(key), format!("{actual:#018x}"), "{key}");
    }

    /// Compares bits, so that NaN equals NaN.
    fn is_float(&mut self, key: &str, actual: f32) {
        let expected: f32 = self.text(key).parse().unwrap();
        assert_eq!(expected.to_bits(), actual.to_bits(), "{key}: {expected} is not {actual}");
    }

    /// For a builder's test, which compares the bytes; the proxy's test uses the lines.
    fn has_keys(&self, keys: [&str; 8]) {
        assert!(self.fields.keys().eq(keys), "{:?}", self.fields.keys());
    }

    /// The block; of an older version's the other fields are those of `unknown`.
    fn block<T: Block>(&self, unknown: T) -> T {
        let mut words = words(&[unknown]).to_vec();
        words[..self.words.len()].copy_from_slice(&self.words);
        *view(&words).unwrap()
    }

    fn finish(self, size: usize) {
        assert_eq!(self.fields, BTreeMap::new(), "fields that were not looked at");
        assert_eq!(self.words.len() * 8, size);
    }
}

/// Version 1.0 calls the last number reserved; 1.1 gave it a meaning.
fn read_request(text: &str, chain: &str) -> Request {
    let mut vector = Vector::parse(text);
    let request: Request = vector.block(Request::default());
    vector.is("size", request.size);
    vector.is("row_stride", request.row_stride);
    vector.is("unix_ms", request.unix_ms);
    vector.is_hex("seed", request.seed);
    vector.is_hex("client_key", request.client_key);
    vector.is("flags", request.flags);
    vector.is("batch_size", request.batch_size);
    vector.is("attempt", request.attempt);
    vector.is("max_attempts", request.max_attempts);
    vector.is("body_bytes", request.body_bytes);
    vector.is("deadline_left_ms", request.deadline_left_ms);
    vector.is("method_len", request.method_len);
    vector.is(chain, request.chain);
    vector.is("method", request.method().to_owned());
    if request.size > 128 {
        vector.is("protocol", request.protocol);
        vector.is("http_method", request.http_method);
        vector.is_hex("path_hash", request.path_hash);
        vector.is_hex("host_hash", request.host_hash);
        vector.is("path_len", request.path_len);
        vector.is("path_bytes", request.path_bytes);
        vector.is("reserved", request.reserved.into_iter().sum::<u64>());
        vector.is("path", request.path().to_owned());
    }
    vector.finish(request.size as usize);
    request
}

#[test]
fn request() {
    let request = read_request(include_str!("../vectors/request.txt"), "reserved");
    assert!(request.is_write() && !request.is_batch() && request.is_idempotent() && !request.prior_sent());
    assert_eq!((request.deadline_left(), request.chain()), (Duration::from_millis(9_750), Chain::Ethereum));
}

#[test]
fn request_of_version_1_1() {
    let request = read_request(include_str!("../vectors/request-1.1.txt"), "chain");
    assert!(request.is_write() && !request.is_batch() && !request.is_idempotent() && request.prior_sent());
    assert_eq!(request.chain(), Chain::Solana);
}

#[test]
fn request_of_version_1_2() {
    let request = read_request(include_str!("../vectors/request-1.2.txt"), "chain");
    assert!(request.is_write() && request.is_idempotent() && request.is_resendable() && !request.prior_sent());
    assert_eq!((request.protocol(), request.http_method()), (Protocol::Http, HttpMethod::Put));
    assert_eq!((request.path_hash, request.host_hash), (hash("/v1/orders/4711"), hash("api.example.com")));
    assert!(request.is_path_whole());
}

/// The block of a policy that refuses.
#[test]
fn refused_request_of_version_1_2() {
    let request = read_request(include_str!("../vectors/request-refused-1.2.txt"), "chain");
    let found = read_request(include_str!("../vectors/request-1.2.txt"), "chain");
    assert_eq!(request.flags, found.flags | 1 << 31);
    assert!(request.is_write() && request.is_resendable() && !request.is_batch());
}

#[test]
fn hashes_of_version_1_2() {
    let vector = Vector::parse(include_str!("../vectors/hash-1.2.txt"));
    assert_eq!(vector.fields.len(), 5);
    for (text, expected) in vector.fields {
        assert_eq!(format!("{:#018x}", hash(&text)), expected, "{text}");
    }
}

fn read_row(text: &str) -> Endpoint {
    let mut vector = Vector::parse(text);
    let row: Endpoint = *view(&vector.words).unwrap();
    vector.is("index", row.index);
    vector.is("flags", row.flags);
    vector.is("weight", row.weight);
    vector.is("in_flight", row.in_flight);
    vector.is("consecutive_failures", row.consecutive_failures);
    vector.is("cooldown_attempts", row.cooldown_attempts);
    vector.is_float("latency_ms", row.latency_ms);
    vector.is_hex("tags", row.tags);
    vector.is_float("latency_peak_ms", row.latency_peak_ms);
    vector.is_float("latency_p99_ms", row.latency_p99_ms);
    vector.is_float("penalty_ms", row.penalty_ms);
    vector.is_float("success_rate", row.success_rate);
    vector.is_float("limiter_headroom", row.limiter_headroom);
    vector.is_float("head_lag_blocks", row.head_lag_blocks);
    vector.is_float("price", row.price);
    vector.is_float("idle_ms", row.idle_ms);
    vector.finish(64);
    row
}

#[test]
fn row() {
    let row = read_row(include_str!("../vectors/row.txt"));
    assert!(row.is_cooling() && row.has_tag(0) && row.has_tag(5) && row.has_tag(63) && !row.has_tag(1));
    assert_eq!((row.head_lag(), row.price(), row.idle()), (None, Some(0.25), None));
}

#[test]
fn row_of_version_1_1() {
    let row = read_row(include_str!("../vectors/row-1.1.txt"));
    assert!(!row.is_cooling() && row.is_unhealthy() && row.is_banned() && row.is_excluded());
    assert_eq!((row.head_lag(), row.price(), row.idle()), (Some(12.0), None, Some(1_500.5)));
}

#[test]
fn scores() {
    let mut vector = Vector::parse(include_str!("../vectors/scores.txt"));
    for (row, word) in vector.words.clone().into_iter().enumerate() {
        let expected: f64 = vector.text(&row.to_string()).parse().unwrap();
        assert_eq!(expected.to_bits(), word, "row {row}: {expected} is not {}", f64::from_bits(word));
    }
    vector.finish(48);
}

fn read_attempt(text: &str) -> Attempt {
    let mut vector = Vector::parse(text);
    let attempt: Attempt = vector.block(Attempt::new(Outcome::Success));
    vector.is("size", attempt.size);
    vector.is("endpoint", attempt.endpoint);
    vector.is("outcome", attempt.outcome);
    vector.is("flags", attempt.flags);
    vector.is("rpc_code", attempt.rpc_code);
    vector.is("http_status", attempt.http_status);
    vector.is("retry_after_ms", attempt.retry_after_ms);
    vector.is_float("latency_ms", attempt.latency_ms);
    vector.is("candidates_left", attempt.candidates_left);
    vector.is("consecutive_failures", attempt.consecutive_failures);
    vector.is("cooldown_attempts", attempt.cooldown_attempts);
    vector.is_float("timeout_ms", attempt.timeout_ms);
    vector.is("message_len", attempt.message_len);
    vector.is("reserved", attempt.reserved);
    vector.is("message", attempt.message_lossy().into_owned());
    if attempt.size > 256 {
        vector.is("grpc_status", attempt.grpc_status);
        vector.is("reserved_2", attempt.reserved_2);
    }
    vector.finish(attempt.size as usize);
    attempt
}

#[test]
fn attempt() {
    let attempt = read_attempt(include_str!("../vectors/attempt.txt"));
    assert_eq!((attempt.outcome(), attempt.rpc_code()), (Outcome::RpcError, Some(-32_005)));
    assert_eq!(attempt.retry_after(), Some(Duration::from_millis(1_500)));
    assert!(attempt.bytes_sent() && attempt.may_retry() && !attempt.is_member());
}

#[test]
fn attempt_of_version_1_1() {
    let attempt = read_attempt(include_str!("../vectors/attempt-1.1.txt"));
    assert_eq!((attempt.outcome(), attempt.rpc_code()), (Outcome::RpcError, Some(-32_601)));
    assert!(attempt.bytes_sent() && attempt.may_retry() && attempt.is_member());
}

#[test]
fn attempt_of_version_1_2() {
    let attempt = read_attempt(include_str!("../vectors/attempt-1.2.txt"));
    assert_eq!((attempt.outcome(), attempt.http_status, attempt.grpc_status()), (Outcome::RpcError, 200, Some(14)));
    assert_eq!((attempt.rpc_code(), attempt.message_lossy().as_ref()), (None, "upstream is draining"));
}

/// The start of a body that is not JSON-RPC, hence without a code.
#[test]
fn attempt_with_a_body_of_version_1_1() {
    let attempt = read_attempt(include_str!("../vectors/attempt-body-1.1.txt"));
    assert_eq!((attempt.outcome(), attempt.http_status, attempt.rpc_code()), (Outcome::HttpError, 402, None));
    assert_eq!((attempt.message().len(), attempt.retry_after()), (192, None));
}

/// The reverse direction: the builders produce the vector's bytes. The proxy's test uses the lines.
#[test]
fn decision() {
    let vector = Vector::parse(include_str!("../vectors/decision.txt"));
    let decision = Decision::retry()
        .delay(Duration::from_millis(250))
        .cooldown(Cooldown::Fixed(Duration::from_secs(90)))
        .penalty_ms(10_000.0)
        .as_success();
    assert_eq!(words(&[decision]), vector.words);
    assert_eq!(view::<Decision>(&vector.words), Some(&decision));
    vector.has_keys(["action", "cooldown", "cooldown_ms", "delay_ms", "flags", "penalty_ms", "reserved", "size"]);
}

#[test]
fn decision_of_version_1_1() {
    let vector = Vector::parse(include_str!("../vectors/decision-1.1.txt"));
    let decision = Decision::retry()
        .penalty_ms(2_500.0)
        .ban_method(Duration::from_secs(600))
        .prefer_history()
        .larger_range()
        .landed();
    assert_eq!(words(&[decision]), vector.words);
    assert_eq!(view::<Decision>(&vector.words), Some(&decision));
    vector.has_keys(["action", "cooldown", "cooldown_ms", "delay_ms", "flags", "method_ban_ms", "penalty_ms", "size"]);
}

fn read_plan(text: &str) -> Plan {
    let mut vector = Vector::parse(text);
    let plan: Plan = *view(&vector.words).unwrap();
    vector.is("size", plan.size);
    vector.is("max_attempts", plan.max_attempts);
    vector.is_float("timeout_ms", plan.timeout_ms);
    vector.is_float("hedge_delay_ms", plan.hedge_delay_ms);
    vector.is_float("latency_p95_ms", plan.latency_p95_ms);
    vector.is_float("method_p75_ms", plan.method_p75_ms);
    vector.finish(24);
    plan
}

/// The proxy's plan for an endpoint without responses, and a policy's changes to a plan.
#[test]
fn plan() {
    let fresh = read_plan(include_str!("../vectors/plan-in.txt"));
    assert_eq!((fresh.hedge_delay(), fresh.latency_p95()), (None, None));
    let built = Plan { latency_p95_ms: 25.0, method_p75_ms: 18.75, ..Plan::default() }
        .max_attempts(2)
        .timeout(Duration::from_millis(750))
        .hedge_after(Duration::from_micros(37_500));
    assert_eq!(read_plan(include_str!("../vectors/plan.txt")), built);
}
