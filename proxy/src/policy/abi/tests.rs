//! The host's blocks against the golden bytes in `sdk/vectors`.

use std::collections::BTreeMap;

use bytemuck::{Pod, bytes_of, pod_read_unaligned};

use super::*;
use crate::chain::Chain;
use crate::model::{HttpFacts, HttpMethod, Protocol, host_hash};

/// A vector file: field values and bytes.
struct Vector {
    fields: BTreeMap<String, String>,
    bytes: Vec<u8>,
}

impl Vector {
    fn read(text: &str) -> Self {
        let (values, hex) = text.split_once("hex:").unwrap();
        let lines = values.lines().filter(|line| !line.starts_with('#'));
        let fields = lines.filter_map(|line| line.split_once('=')).map(|(k, v)| (k.trim().into(), v.trim().into()));
        let digits = hex.lines().filter_map(|line| line.split('#').next()).flat_map(str::split_whitespace);
        Vector { fields: fields.collect(), bytes: digits.map(|d| u8::from_str_radix(d, 16).unwrap()).collect() }
    }

    fn block<T: Pod>(&self) -> T {
        assert_eq!(self.bytes.len(), size_of::<T>());
        pod_read_unaligned(&self.bytes)
    }

    /// The block of an older version, with zeros behind it.
    fn older_block<T: Pod>(&self, size: u32) -> T {
        assert_eq!(self.bytes.len(), size as usize);
        let mut bytes = self.bytes.clone();
        bytes.resize(size_of::<T>(), 0);
        pod_read_unaligned(&bytes)
    }

    /// Compares every field of the file with the block's.
    fn check(&self, actual: &[(&str, String)]) {
        let actual: BTreeMap<String, String> = actual.iter().map(|(k, v)| ((*k).into(), v.clone())).collect();
        let expected = self.fields.iter().map(|(k, v)| (k.clone(), normal(v))).collect::<BTreeMap<_, _>>();
        assert_eq!(actual, expected);
    }
}

/// Converts hexadecimal values to decimal ones.
fn normal(value: &str) -> String {
    match value.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).unwrap().to_string(),
        None => value.to_owned(),
    }
}

macro_rules! fields {
    ($block:expr; $($field:ident),*) => { [$((stringify!($field), $block.$field.to_string())),*] };
}

fn text(field: &[u8], len: u32) -> String {
    assert!(field[len as usize..].iter().all(|b| *b == 0));
    String::from_utf8(field[..len as usize].to_vec()).unwrap()
}

#[test]
fn request_block() {
    let vector = Vector::read(include_str!("../../../../sdk/vectors/request.txt"));
    let block: RequestBlock = vector.older_block(REQUEST_SIZE_OF_1_1);
    let method = text(&block.method, block.method_len);
    let mut actual =
        fields!(block; size, row_stride, unix_ms, seed, client_key, flags, batch_size, attempt, max_attempts,
        body_bytes, deadline_left_ms, method_len)
        .to_vec();
    // Reserved in version 1.0.
    actual.extend([("reserved", block.chain.to_string()), ("method", method.clone())]);
    vector.check(&actual);
    let mut built = RequestBlock { method: [0; 64], method_len: 0, ..block };
    built.set_method(&method);
    assert_eq!(bytes_of(&built)[..128], vector.bytes);
    assert_eq!((block.size, RequestBlock::new().row_stride), (REQUEST_SIZE_OF_1_1, block.row_stride));
}

#[test]
fn endpoint_row() {
    let vector = Vector::read(include_str!("../../../../sdk/vectors/row.txt"));
    let row: EndpointRow = vector.block();
    vector.check(
        &fields!(row; index, flags, weight, in_flight, consecutive_failures, cooldown_attempts, latency_ms, tags,
        latency_peak_ms, latency_p99_ms, penalty_ms, success_rate, limiter_headroom, head_lag_blocks, price, idle_ms),
    );
    assert_ne!(row.flags & row_flags::COOLING, 0);
}

#[test]
fn attempt_block() {
    let vector = Vector::read(include_str!("../../../../sdk/vectors/attempt.txt"));
    let block: AttemptBlock = vector.older_block(ATTEMPT_SIZE_OF_1_1);
    let message = text(&block.message, block.message_len);
    let mut actual = fields!(block; size, endpoint, outcome, flags, rpc_code, http_status, retry_after_ms, latency_ms,
        candidates_left, consecutive_failures, cooldown_attempts, timeout_ms, message_len, reserved)
    .to_vec();
    actual.push(("message", message.clone()));
    vector.check(&actual);
    let mut built = AttemptBlock { message: [0; 192], message_len: 0, ..block };
    built.set_message(&message);
    assert_eq!(bytes_of(&built)[..256], vector.bytes);
    assert_eq!(block.size, ATTEMPT_SIZE_OF_1_1);
    assert_eq!(block.outcome, crate::model::Outcome::RpcError.code());
}

#[test]
fn decision_block() {
    let vector = Vector::read(include_str!("../../../../sdk/vectors/decision.txt"));
    let block: DecisionBlock = vector.block();
    let mut actual = fields!(block; size, action, delay_ms, cooldown, cooldown_ms, penalty_ms, flags).to_vec();
    actual.push(("reserved", block.method_ban_ms.to_string()));
    vector.check(&actual);
}

#[test]
fn version_1_1() {
    let vector = Vector::read(include_str!("../../../../sdk/vectors/request-1.1.txt"));
    let block: RequestBlock = vector.older_block(REQUEST_SIZE_OF_1_1);
    let mut actual = fields!(block; size, row_stride, unix_ms, seed, client_key, flags, batch_size, attempt,
        max_attempts, body_bytes, deadline_left_ms, method_len, chain)
    .to_vec();
    actual.push(("method", text(&block.method, block.method_len)));
    vector.check(&actual);
    assert_eq!(Chain::named("solana").map(Chain::code), Some(block.chain));
    assert_ne!(block.flags & request_flags::PRIOR_SENT, 0);

    let row: EndpointRow = Vector::read(include_str!("../../../../sdk/vectors/row-1.1.txt")).block();
    assert_eq!(row.flags & row_flags::UNHEALTHY, row_flags::UNHEALTHY);
    let vector = Vector::read(include_str!("../../../../sdk/vectors/attempt-1.1.txt"));
    let attempt: AttemptBlock = vector.older_block(ATTEMPT_SIZE_OF_1_1);
    assert_ne!(attempt.flags & attempt_flags::MEMBER, 0);

    let vector = Vector::read(include_str!("../../../../sdk/vectors/decision-1.1.txt"));
    let block: DecisionBlock = vector.block();
    vector.check(&fields!(block; size, action, delay_ms, cooldown, cooldown_ms, penalty_ms, flags, method_ban_ms));
}

#[test]
fn version_1_2() {
    let vector = Vector::read(include_str!("../../../../sdk/vectors/request-1.2.txt"));
    let block: RequestBlock = vector.block();
    let mut actual = fields!(block; size, row_stride, unix_ms, seed, client_key, flags, batch_size, attempt,
        max_attempts, body_bytes, deadline_left_ms, method_len, chain, protocol, http_method, path_hash, host_hash,
        path_len, path_bytes)
    .to_vec();
    actual.extend([
        ("method", text(&block.method, block.method_len)),
        ("reserved", block.reserved.iter().sum::<u64>().to_string()),
        ("path", text(&block.path, block.path_len)),
    ]);
    vector.check(&actual);
    let http = HttpFacts::new(Protocol::Http, HttpMethod::Put).at("/v1/orders/4711");
    let mut built = RequestBlock { flags: request_flags::WRITE | request_flags::IDEMPOTENT, ..block };
    bytemuck::bytes_of_mut(&mut built)[128..].fill(0);
    built.set_http(&http.of_host(host_hash("API.example.com:443")), true);
    assert_eq!(bytes_of(&built), vector.bytes);
    assert_eq!(RequestBlock::new().size, block.size);

    let [found, left] = [
        include_str!("../../../../sdk/vectors/request-1.2.txt"),
        include_str!("../../../../sdk/vectors/request-refused-1.2.txt"),
    ]
    .map(|text| Vector::read(text).block::<RequestBlock>());
    assert_eq!(bytes_of(&RequestBlock { flags: found.flags | request_flags::REFUSE, ..found }), bytes_of(&left));

    let vector = Vector::read(include_str!("../../../../sdk/vectors/attempt-1.2.txt"));
    let block: AttemptBlock = vector.block();
    let mut actual = fields!(block; size, endpoint, outcome, flags, rpc_code, http_status, retry_after_ms, latency_ms,
        candidates_left, consecutive_failures, cooldown_attempts, timeout_ms, message_len, reserved, grpc_status,
        reserved_2)
    .to_vec();
    actual.push(("message", text(&block.message, block.message_len)));
    vector.check(&actual);
    let fresh = AttemptBlock::new();
    assert_eq!((fresh.size, fresh.grpc_status), (block.size, NO_GRPC_STATUS));
}

#[test]
fn plan_block() {
    for file in [include_str!("../../../../sdk/vectors/plan.txt"), include_str!("../../../../sdk/vectors/plan-in.txt")]
    {
        let vector = Vector::read(file);
        let block: PlanBlock = vector.block();
        vector.check(&fields!(block; size, max_attempts, timeout_ms, hedge_delay_ms, latency_p95_ms, method_p75_ms));
    }
    let as_filled: PlanBlock = Vector::read(include_str!("../../../../sdk/vectors/plan-in.txt")).block();
    let built =
        PlanBlock::new(as_filled.max_attempts, as_filled.timeout_ms, as_filled.latency_p95_ms, as_filled.method_p75_ms);
    assert_eq!(bytes_of(&built), bytes_of(&as_filled));
}

#[test]
fn long_texts_are_cut() {
    let mut request = RequestBlock::new();
    request.set_method(&"m".repeat(100));
    assert_eq!((request.method_len, request.method), (64, [b'm'; 64]));
    let path = format!("/{}", "p".repeat(150));
    let http = HttpFacts::json_rpc().at(&path);
    request.set_http(&http, false);
    assert_eq!((request.path_len, request.path_bytes, request.path_hash), (96, 151, http.path_hash()));
    assert_eq!(request.path, path.as_bytes()[..96]);
    let mut attempt = AttemptBlock::new();
    attempt.set_message(&"m".repeat(300));
    assert_eq!(attempt.message_len, 192);
}
