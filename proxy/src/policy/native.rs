//! The native policies: the fallback for a request whose policy faulted, and the default where the
//! conf names none.
//!
//! Deliberately simple. They must never fail, so they have no settings and no state.

use std::time::Duration;

use super::abi::EndpointRow;
use crate::model::{Action, AttemptResult, CooldownWish, Decision, GrpcCode, Outcome, Protocol, RequestFacts};

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

/// Scores `rows` by weight, then by latency and penalty, which together count less than half a unit
/// of weight.
pub fn score(rows: &[EndpointRow], scores: &mut Vec<f64>) {
    scores.extend(rows.iter().map(|row| {
        let cost = f64::from(row.latency_ms) + f64::from(row.penalty_ms);
        let cooling = if row.flags == 0 { 0.0 } else { f64::from(u16::MAX) };
        f64::from(row.weight) - cooling - 0.5 * cost / (cost + 1_000.0)
    }));
}

/// Retries requests that another endpoint may answer better, and puts failing endpoints into
/// cooldown.
pub fn retry(request: &RequestFacts, result: &AttemptResult) -> Decision {
    match result.outcome {
        Outcome::Success | Outcome::Canceled => Decision::RETURN,
        Outcome::ConnectFailed => failed(PENALTY_CONNECT_MS, true),
        Outcome::Timeout | Outcome::Reset => failed(PENALTY_TIMEOUT_MS, request.shape.is_resendable()),
        Outcome::BadResponse => failed(PENALTY_5XX_MS, request.shape.is_resendable()),
        Outcome::HttpError => http_error(request, result),
        Outcome::RpcError => rpc_error(request, result),
    }
}

fn http_error(request: &RequestFacts, result: &AttemptResult) -> Decision {
    match result.http_status {
        Some(HTTP_TOO_MANY_REQUESTS) => throttled(request, result),
        // A gateway's error says that the service behind it wasn't reached. Of plain HTTP, any other
        // one may be the service's own answer.
        Some(status @ 500..) => {
            let elsewhere = request.http.protocol == Protocol::JsonRpc || (502..=504).contains(&status);
            failed(PENALTY_5XX_MS, elsewhere && request.shape.is_resendable())
        }
        _ => Decision::RETURN,
    }
}

fn rpc_error(request: &RequestFacts, result: &AttemptResult) -> Decision {
    if let Some(status) = result.grpc_status {
        return grpc_error(request, result, status);
    }
    match result.rpc_error.as_ref().map(|e| e.code) {
        Some(RPC_LIMIT_EXCEEDED) => throttled(request, result),
        Some(RPC_INTERNAL_ERROR) if !request.shape.is_write() => failed(PENALTY_5XX_MS, true),
        _ => Decision { success: true, ..Decision::RETURN },
    }
}

/// The codes that say the same as an HTTP status are treated alike. Others answer the client.
fn grpc_error(request: &RequestFacts, result: &AttemptResult, status: u32) -> Decision {
    const UNAVAILABLE: u32 = GrpcCode::Unavailable.code();
    const EXHAUSTED: u32 = GrpcCode::ResourceExhausted.code();
    const FAILED: [u32; 3] = [GrpcCode::Unknown.code(), GrpcCode::Internal.code(), GrpcCode::DataLoss.code()];
    match status {
        UNAVAILABLE => failed(PENALTY_5XX_MS, request.shape.is_resendable()),
        EXHAUSTED => throttled(request, result),
        _ if FAILED.contains(&status) => failed(PENALTY_5XX_MS, false),
        _ => Decision { success: true, ..Decision::RETURN },
    }
}

fn throttled(request: &RequestFacts, result: &AttemptResult) -> Decision {
    let cooldown = result.retry_after.map_or(CooldownWish::Backoff, CooldownWish::Fixed);
    Decision { cooldown, ..failed(PENALTY_429_MS, request.shape.is_resendable()) }
}

fn failed(penalty_ms: f32, retry: bool) -> Decision {
    let action = if retry { Action::Retry { delay: Duration::ZERO } } else { Action::Return };
    Decision { action, cooldown: CooldownWish::Backoff, penalty_ms, ..Decision::RETURN }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::super::abi::row_flags;
    use super::*;
    use crate::model::{MethodClass, RpcError};

    fn request(class: MethodClass) -> RequestFacts {
        RequestFacts::of_single("", class)
    }

    fn result(outcome: Outcome) -> AttemptResult {
        AttemptResult::failed(outcome, true, "")
    }

    fn retries(request: &RequestFacts, result: &AttemptResult) -> bool {
        retry(request, result).action != Action::Return
    }

    #[test]
    fn weight_comes_first_then_cost_and_cooling_last() {
        let row = EndpointRow { weight: 20, latency_ms: 10.0, ..EndpointRow::zeroed() };
        let rows = [
            row,
            EndpointRow { weight: 21, latency_ms: 5_000.0, ..row },
            EndpointRow { penalty_ms: 100.0, ..row },
            EndpointRow { weight: 65_535, flags: row_flags::COOLING, ..row },
        ];
        let mut scores = Vec::new();
        score(&rows, &mut scores);
        assert!(scores[1] > scores[0] && scores[0] > scores[2] && scores[2] > scores[3], "{scores:?}");
    }

    #[test]
    fn only_what_another_endpoint_may_answer_better_is_retried() {
        let [read, write, raw] =
            [request(MethodClass::Read), request(MethodClass::Write), request(MethodClass::IdempotentWrite)];
        for outcome in [Outcome::Timeout, Outcome::Reset, Outcome::BadResponse] {
            let ended = result(outcome);
            assert!(retries(&read, &ended) && retries(&raw, &ended) && !retries(&write, &ended), "{ended:?}");
        }
        assert!(retries(&write, &result(Outcome::ConnectFailed)));
        for (status, expected) in [(429, true), (500, true), (503, true), (404, false), (301, false)] {
            let ended = AttemptResult { http_status: Some(status), ..result(Outcome::HttpError) };
            assert_eq!(retries(&read, &ended), expected, "{status}");
        }
        for (code, expected) in [(-32_005, true), (-32_603, true), (3, false), (-32_601, false)] {
            let rpc_error = Some(RpcError { code, message: String::new() });
            let ended = AttemptResult { rpc_error, ..result(Outcome::RpcError) };
            assert_eq!(retries(&read, &ended), expected, "{code}");
            assert_eq!(retry(&read, &ended).success, !expected, "{code}");
        }
    }

    #[test]
    fn retry_after_is_how_long_the_endpoint_cools() {
        let after = Some(Duration::from_secs(7));
        let ended = AttemptResult { http_status: Some(429), retry_after: after, ..result(Outcome::HttpError) };
        assert_eq!(retry(&request(MethodClass::Read), &ended).cooldown, CooldownWish::Fixed(Duration::from_secs(7)));
    }
}
