//! The input of the calls that probe a new policy before it is published.

use super::abi::{AttemptBlock, EndpointRow, PlanBlock, RequestBlock, attempt_flags};
use crate::model::{HttpFacts, HttpMethod, Outcome, Protocol};

/// The request, a plain read.
pub(super) fn request() -> RequestBlock {
    let mut request = nameless();
    request.set_method("eth_blockNumber");
    request.set_http(&HttpFacts::json_rpc(), true);
    request
}

/// A request that isn't JSON-RPC, a read too.
pub(super) fn http_request() -> RequestBlock {
    let mut request = nameless();
    request.set_method("GET");
    request.set_http(&HttpFacts::new(Protocol::Http, HttpMethod::Get).at("/v1/orders/4711"), true);
    request
}

fn nameless() -> RequestBlock {
    RequestBlock {
        unix_ms: 1_700_000_000_000,
        seed: 0x9e37_79b9_7f4a_7c15,
        batch_size: 1,
        attempt: 1,
        max_attempts: 3,
        body_bytes: 64,
        deadline_left_ms: 10_000,
        ..RequestBlock::new()
    }
}

/// A new endpoint, a used one, and one that fails.
pub(super) fn rows() -> [EndpointRow; 3] {
    let row = EndpointRow {
        weight: 20,
        latency_ms: 5_000.0,
        latency_peak_ms: 5_000.0,
        latency_p99_ms: f32::NAN,
        success_rate: 1.0,
        limiter_headroom: 1.0,
        head_lag_blocks: f32::NAN,
        price: f32::NAN,
        idle_ms: f32::INFINITY,
        ..bytemuck::Zeroable::zeroed()
    };
    let used = EndpointRow {
        index: 1,
        weight: 100,
        in_flight: 3,
        latency_ms: 12.5,
        latency_peak_ms: 40.0,
        latency_p99_ms: 55.0,
        idle_ms: 1.5,
        ..row
    };
    let failing = EndpointRow {
        index: 2,
        consecutive_failures: 7,
        cooldown_attempts: 2,
        penalty_ms: 12_000.0,
        success_rate: 0.25,
        limiter_headroom: 0.0,
        ..used
    };
    [row, used, failing]
}

/// Endpoints of a pool without health checks or traffic: every input that can be unknown is.
pub(super) fn unknown_rows() -> [EndpointRow; 3] {
    let unknown = rows()[0];
    [0, 1, 2].map(|index| EndpointRow { index, ..unknown })
}

/// Endpoints with traffic, in a pool where every input is known.
pub(super) fn known_rows() -> [EndpointRow; 3] {
    let [_, used, failing] = rows();
    let known = EndpointRow { head_lag_blocks: 0.0, price: 0.2, ..used };
    [
        EndpointRow { index: 0, ..known },
        EndpointRow { index: 1, head_lag_blocks: 2.0, ..known },
        EndpointRow { index: 2, head_lag_blocks: 9.0, price: 0.1, ..failing },
    ]
}

/// The plan of an upstream with default settings.
pub(super) fn plan() -> PlanBlock {
    PlanBlock::new(3, 5_000.0, 25.0, 20.0)
}

/// One attempt for each outcome that a retry policy decides about.
pub(super) fn attempts() -> impl Iterator<Item = AttemptBlock> {
    let asked = Outcome::ALL.into_iter().filter(|o| !matches!(o, Outcome::Success | Outcome::Canceled));
    asked.map(|outcome| {
        let mut attempt = AttemptBlock {
            outcome: outcome.code(),
            flags: attempt_flags::BYTES_SENT | attempt_flags::MAY_RETRY,
            http_status: if outcome == Outcome::HttpError { 503 } else { 200 },
            latency_ms: 12.5,
            candidates_left: 2,
            timeout_ms: 5_000.0,
            ..AttemptBlock::new()
        };
        if outcome == Outcome::RpcError {
            attempt.flags |= attempt_flags::HAS_RPC_CODE;
            attempt.rpc_code = -32_603;
            attempt.set_message("internal error");
        }
        attempt
    })
}

/// Attempts of a request that isn't JSON-RPC: an HTTP error, and a gRPC error.
pub(super) fn http_attempts() -> impl Iterator<Item = AttemptBlock> {
    let failed = attempts().find(|attempt| attempt.outcome == Outcome::HttpError.code());
    let unavailable = failed.map(|attempt| AttemptBlock {
        outcome: Outcome::RpcError.code(),
        http_status: 200,
        grpc_status: 14,
        ..attempt
    });
    failed.into_iter().chain(unavailable)
}
