//! The native policies: the fallback for a request whose policy faulted, and the choice where the conf names none.
//!
//! Deliberately plain. They must never fail, so they have no settings and no state.

use std::time::Duration;

use super::abi::{EndpointRow, row_flags};
use crate::model::{Action, AttemptResult, CooldownWish, Decision, Outcome, RequestFacts};

/// Penalties in milliseconds, from azoth-balancer.
const PENALTY_TIMEOUT_MS: f32 = 30_000.0;
const PENALTY_CONNECT_MS: f32 = 20_000.0;
const PENALTY_5XX_MS: f32 = 15_000.0;
const PENALTY_429_MS: f32 = 10_000.0;

const HTTP_TOO_MANY_REQUESTS: u16 = 429;
/// "limit exceeded" of EIP-1474.
const RPC_LIMIT_EXCEEDED: i64 = -32_005;
/// "internal error" of JSON-RPC 2.0.
const RPC_INTERNAL_ERROR: i64 = -32_603;

/// Scores `rows` by weight, then by latency and penalty, which decide within half a unit of weight.
pub fn score(rows: &[EndpointRow], scores: &mut Vec<f64>) {
    scores.extend(rows.iter().map(|row| {
        let cost = f64::from(row.latency_ms) + f64::from(row.penalty_ms);
        let cooling = if row.flags & row_flags::COOLING == 0 { 0.0 } else { f64::from(u16::MAX) };
        f64::from(row.weight) - cooling - 0.5 * cost / (cost + 1_000.0)
    }));
}

/// Retries what another endpoint may answer better, and cools what failed.
pub fn retry(request: &RequestFacts, result: &AttemptResult) -> Decision {
    match result.outcome {
        Outcome::Success | Outcome::Canceled => Decision::RETURN,
        Outcome::ConnectFailed => failed(PENALTY_CONNECT_MS, true),
        Outcome::Timeout | Outcome::Reset => failed(PENALTY_TIMEOUT_MS, resendable(request)),
        Outcome::BadResponse => failed(PENALTY_5XX_MS, resendable(request)),
        Outcome::HttpError => http_error(request, result),
        Outcome::RpcError => rpc_error(request, result),
    }
}

fn http_error(request: &RequestFacts, result: &AttemptResult) -> Decision {
    match result.http_status {
        Some(HTTP_TOO_MANY_REQUESTS) => throttled(request, result),
        Some(500..) => failed(PENALTY_5XX_MS, resendable(request)),
        _ => Decision::RETURN,
    }
}

fn rpc_error(request: &RequestFacts, result: &AttemptResult) -> Decision {
    match result.rpc_error.as_ref().map(|e| e.code) {
        Some(RPC_LIMIT_EXCEEDED) => throttled(request, result),
        Some(RPC_INTERNAL_ERROR) if !request.write => failed(PENALTY_5XX_MS, true),
        _ => Decision { success: true, ..Decision::RETURN },
    }
}

fn throttled(request: &RequestFacts, result: &AttemptResult) -> Decision {
    let cooldown = result.retry_after.map_or(CooldownWish::Backoff, CooldownWish::Fixed);
    Decision { cooldown, ..failed(PENALTY_429_MS, resendable(request)) }
}

fn failed(penalty_ms: f32, retry: bool) -> Decision {
    let action = if retry { Action::Retry { delay: Duration::ZERO } } else { Action::Return };
    Decision { action, cooldown: CooldownWish::Backoff, penalty_ms, success: false }
}

fn resendable(request: &RequestFacts) -> bool {
    !request.write || request.idempotent
}
