//! A test for each row of the table, and one for each rule beside it.

#![allow(clippy::unwrap_used, reason = "tests")]

use pointsman_sdk::Outcome;

use super::*;

const BACKOFF: Cooldown = Cooldown::Backoff;

fn read() -> Request {
    Request::for_method("eth_call")
}

fn write() -> Request {
    Request { flags: Request::WRITE, ..Request::for_method("personal_sign") }
}

fn idempotent() -> Request {
    Request { flags: Request::WRITE | Request::IDEMPOTENT, ..Request::for_method("eth_sendRawTransaction") }
}

fn decide(request: &Request, attempt: Attempt) -> Decision {
    JsonRpcRetry::configure(Config::default()).unwrap().retry(request, &attempt)
}

/// What the policy decides for a read, a write and an idempotent write: `held` after `retried` or a return.
fn is_decided(attempt: Attempt, retried: [bool; 3], held: fn(Decision) -> Decision) {
    for (request, retried) in [read(), write(), idempotent()].iter().zip(retried) {
        let action = if retried { Decision::retry() } else { Decision::return_() };
        assert_eq!(decide(request, attempt), held(action), "{}", request.method());
    }
}

#[test]
fn a_failed_connect_goes_elsewhere_writes_too() {
    let attempt = Attempt::new(Outcome::ConnectFailed);
    is_decided(attempt, [true, true, true], |d| d.cooldown(BACKOFF).penalty_ms(20_000.0));
}

#[test]
fn a_timeout_goes_elsewhere_unless_a_write_may_have_landed() {
    let attempt = Attempt::new(Outcome::Timeout);
    is_decided(attempt, [true, false, true], |d| d.cooldown(BACKOFF).penalty_ms(30_000.0));
}

#[test]
fn a_reset_goes_elsewhere_unless_a_write_may_have_landed() {
    let attempt = Attempt::new(Outcome::Reset);
    is_decided(attempt, [true, false, true], |d| d.cooldown(BACKOFF).penalty_ms(20_000.0));
}

#[test]
fn a_429_goes_elsewhere_and_cools_as_long_as_it_asks() {
    let attempt = Attempt { retry_after_ms: 1_500, ..Attempt::http_error(429) };
    is_decided(attempt, [true, false, true], |d| {
        d.cooldown(Cooldown::Fixed(Duration::from_millis(1_500))).penalty_ms(10_000.0)
    });
}

#[test]
fn a_429_that_does_not_say_how_long_cools_by_backoff() {
    for attempt in [Attempt::http_error(429), Attempt { retry_after_ms: 0, ..Attempt::http_error(429) }] {
        is_decided(attempt, [true, false, true], |d| d.cooldown(BACKOFF).penalty_ms(10_000.0));
    }
}

#[test]
fn a_server_error_goes_elsewhere_for_reads() {
    for status in [500, 503, 599] {
        let attempt = Attempt::http_error(status);
        is_decided(attempt, [true, false, false], |d| d.cooldown(BACKOFF).penalty_ms(15_000.0));
    }
}

#[test]
fn a_refusal_or_redirect_goes_elsewhere_for_reads_without_a_cooldown() {
    for status in [301, 400, 404, 428, 430, 499] {
        is_decided(Attempt::http_error(status), [true, false, false], |d| d.penalty_ms(5_000.0));
    }
}

#[test]
fn code_32005_is_a_rate_limit() {
    let attempt = Attempt { retry_after_ms: 2_000, ..Attempt::rpc_error(-32_005, "limit exceeded") };
    is_decided(attempt, [true, false, true], |d| {
        d.cooldown(Cooldown::Fixed(Duration::from_secs(2))).penalty_ms(10_000.0)
    });
}

#[test]
fn code_32603_is_a_server_error() {
    let attempt = Attempt::rpc_error(-32_603, "internal error");
    is_decided(attempt, [true, false, false], |d| d.cooldown(BACKOFF).penalty_ms(15_000.0));
}

#[test]
fn any_other_json_rpc_error_is_an_answer() {
    let batch = Attempt::new(Outcome::RpcError);
    for attempt in [Attempt::rpc_error(3, "execution reverted"), Attempt::rpc_error(-32_602, ""), batch] {
        is_decided(attempt, [false, false, false], Decision::as_success);
    }
}

#[test]
fn what_is_no_json_rpc_goes_elsewhere_for_reads_without_a_cooldown() {
    is_decided(Attempt::new(Outcome::BadResponse), [true, false, false], |d| d.penalty_ms(15_000.0));
}

#[test]
fn what_the_table_does_not_know_is_returned_and_held_against_nobody() {
    let later = Attempt { outcome: 99, ..Attempt::new(Outcome::Timeout) };
    for attempt in [later, Attempt::http_error(101), Attempt::new(Outcome::Success)] {
        is_decided(attempt, [false, false, false], |d| d);
    }
}

#[test]
fn a_status_or_code_counts_only_with_its_outcome() {
    let timeout = Attempt { http_status: 429, ..Attempt::new(Outcome::Timeout) };
    assert_eq!(table::find(&timeout).unwrap().name, "timeout");
    let no_code = Attempt { flags: Attempt::MAY_RETRY, ..Attempt::rpc_error(-32_005, "") };
    assert_eq!(table::find(&no_code).unwrap().name, "an error is the answer");
}

#[test]
fn every_row_is_reached_by_an_attempt_of_its_own() {
    let attempts = [
        Attempt::new(Outcome::ConnectFailed),
        Attempt::new(Outcome::Timeout),
        Attempt::new(Outcome::Reset),
        Attempt::http_error(429),
        Attempt::http_error(502),
        Attempt::http_error(404),
        Attempt::rpc_error(-32_005, ""),
        Attempt::rpc_error(-32_603, ""),
        Attempt::rpc_error(-32_000, ""),
        Attempt::new(Outcome::BadResponse),
    ];
    let found: Vec<&str> = attempts.iter().map(|attempt| table::find(attempt).unwrap().name).collect();
    assert_eq!(found, table::TABLE.iter().map(|row| row.name).collect::<Vec<_>>());
}

#[test]
fn without_leave_of_the_proxy_nothing_is_retried_but_the_endpoint_still_answers_for_it() {
    let attempt = Attempt { flags: 0, ..Attempt::new(Outcome::ConnectFailed) };
    is_decided(attempt, [false, false, false], |d| d.cooldown(BACKOFF).penalty_ms(20_000.0));
}

#[test]
fn a_slow_failure_costs_its_latency() {
    let attempt = Attempt { latency_ms: 45_000.0, ..Attempt::new(Outcome::Timeout) };
    assert_eq!(decide(&read(), attempt), Decision::retry().cooldown(BACKOFF).penalty_ms(45_000.0));
}

#[test]
fn the_conf_changes_penalties_and_zero_turns_one_off() {
    let penalties = Penalties { timeout_ms: 7_000, reset_ms: 0, ..Penalties::default() };
    let policy = JsonRpcRetry::configure(Config { penalties, ..Config::default() }).unwrap();
    let of = |outcome| policy.retry(&read(), &Attempt::new(outcome));
    assert_eq!(of(Outcome::Timeout), Decision::retry().cooldown(BACKOFF).penalty_ms(7_000.0));
    assert_eq!(of(Outcome::Reset), Decision::retry().cooldown(BACKOFF));
}

#[test]
fn a_cooldown_can_wait_for_more_failures_but_a_rate_limit_does_not() {
    let config = Config { cooldown_after: 3, ..Config::default() };
    let policy = JsonRpcRetry::configure(config).unwrap();
    for (consecutive_failures, cools) in [(0, false), (1, false), (2, true), (u32::MAX, true)] {
        let decision = policy.retry(&read(), &Attempt { consecutive_failures, ..Attempt::http_error(500) });
        let expected = Decision::retry().penalty_ms(15_000.0);
        assert_eq!(decision, if cools { expected.cooldown(BACKOFF) } else { expected }, "{consecutive_failures}");
    }
    let limited = policy.retry(&read(), &Attempt::http_error(429));
    assert_eq!(limited, Decision::retry().cooldown(BACKOFF).penalty_ms(10_000.0));
}

#[test]
fn cooldowns_can_be_turned_off() {
    let config = Config { cooldown: false, ..Config::default() };
    let policy = JsonRpcRetry::configure(config).unwrap();
    for attempt in [Attempt::new(Outcome::Reset), Attempt { retry_after_ms: 900, ..Attempt::http_error(429) }] {
        let decision = policy.retry(&read(), &attempt);
        let penalty = if attempt.http_status == 429 { 10_000.0 } else { 20_000.0 };
        assert_eq!(decision, Decision::retry().penalty_ms(penalty));
    }
}

#[test]
fn a_cooldown_after_no_failure_is_refused() {
    let config = Config { cooldown_after: 0, ..Config::default() };
    let error = JsonRpcRetry::configure(config).unwrap_err();
    assert_eq!(error, "cooldown_after is 0, but must be at least 1");
}
