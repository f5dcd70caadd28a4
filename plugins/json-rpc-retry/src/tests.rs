//! Rules outside the table: effects of the conf, prohibitions of the proxy, effects that a client
//! must not cause.

#![allow(clippy::unwrap_used, reason = "tests")]

use pointsman_sdk::{Chain, Outcome};

use super::*;

mod rows;

const BACKOFF: Cooldown = Cooldown::Backoff;

fn read() -> Request {
    Request::for_method("eth_call")
}

fn write() -> Request {
    Request { flags: Request::WRITE, ..Request::for_method("personal_sign") }
}

fn raw_transaction() -> Request {
    Request { flags: Request::WRITE | Request::IDEMPOTENT, ..Request::for_method("eth_sendRawTransaction") }
}

fn with(config: Config) -> JsonRpcRetry {
    JsonRpcRetry::configure(config).unwrap()
}

fn decide(request: &Request, attempt: Attempt) -> Decision {
    with(Config::default()).retry(request, &attempt)
}

fn row_of(request: &Request, attempt: Attempt) -> u8 {
    table::find(request, &attempt).unwrap().row
}

fn fixed_ms(time_ms: u64) -> Cooldown {
    Cooldown::Fixed(Duration::from_millis(time_ms))
}

#[test]
fn what_the_table_does_not_know_is_returned_and_held_against_nobody() {
    let later = Attempt { outcome: 99, ..Attempt::new(Outcome::Timeout) };
    for attempt in [later, Attempt::http_error(101), Attempt::new(Outcome::Success)] {
        assert_eq!(decide(&read(), attempt), Decision::return_());
    }
}

#[test]
fn a_status_or_code_counts_only_where_it_was_read() {
    let timeout = Attempt { http_status: 429, ..Attempt::new(Outcome::Timeout) };
    assert_eq!(row_of(&read(), timeout), 18);
    let no_code = Attempt { flags: Attempt::MAY_RETRY, ..Attempt::rpc_error(-32_005, "") };
    assert_eq!(row_of(&read(), no_code), 0);
    let in_http_error = Attempt { http_status: 400, outcome: 4, ..Attempt::rpc_error(-32_602, "invalid argument 0") };
    assert_eq!(row_of(&read(), in_http_error), 16);
}

#[test]
fn most_texts_count_in_json_rpc_errors_only() {
    assert_eq!(row_of(&read(), Attempt::http_error_with_body(502, "JavaScript is disabled")), 17);
    assert_eq!(row_of(&raw_transaction(), Attempt::http_error_with_body(404, "already known")), 0);
    assert_eq!(row_of(&read(), Attempt::http_error_with_body(400, "Rate limit reached, slow down")), 5);
}

#[test]
fn a_client_can_not_cool_an_endpoint_by_its_words() {
    let quoted = ["rate limit", "monthly capacity", "/billing", "invalid api key", "limit exceeded", "disabled"];
    for words in quoted {
        let reverted = format!("execution reverted: {words}");
        let attempts = [
            Attempt::rpc_error(3, &reverted),
            Attempt::rpc_error(-32_000, &reverted),
            Attempt::rpc_error(-32_015, &format!("VM Exception while processing transaction: {words}")),
            Attempt::rpc_error(-32_601, &format!("the method {words} does not exist/is not available")),
            Attempt::rpc_error(-32_602, &format!("unknown field `{words}`")),
            Attempt::rpc_error(-32_000, &format!("Error: {words}    in server-side tracer function 'step'")),
        ];
        for attempt in attempts {
            let again = Decision::retry().ban_method(Duration::from_secs(600));
            let expected = if attempt.rpc_code == -32_601 { again } else { Decision::return_().as_success() };
            assert_eq!(decide(&read(), attempt), expected, "{}", attempt.message_lossy());
        }
    }
    let gas = Attempt::rpc_error(-32_000, "block gas limit exceeded");
    assert_eq!(decide(&raw_transaction(), gas), Decision::return_().as_success());
}

#[test]
fn without_leave_of_the_proxy_nothing_is_retried_but_the_endpoint_still_answers_for_it() {
    let attempt = Attempt { flags: 0, ..Attempt::new(Outcome::ConnectFailed) };
    assert_eq!(decide(&write(), attempt), Decision::return_().cooldown(BACKOFF).penalty_ms(20_000.0));
}

#[test]
fn a_slow_failure_costs_its_latency() {
    let attempt = Attempt { latency_ms: 45_000.0, ..Attempt::new(Outcome::Timeout) };
    assert_eq!(decide(&read(), attempt), Decision::retry().cooldown(BACKOFF).penalty_ms(45_000.0));
}

#[test]
fn the_conf_changes_penalties_and_zero_turns_one_off() {
    let penalties = Penalties { timeout_ms: 7_000, reset_ms: 0, rate_limited_ms: 9_000, ..Penalties::default() };
    let policy = with(Config { penalties, ..Config::default() });
    let of = |attempt| policy.retry(&read(), &attempt);
    assert_eq!(of(Attempt::new(Outcome::Timeout)), Decision::retry().cooldown(BACKOFF).penalty_ms(7_000.0));
    assert_eq!(of(Attempt::new(Outcome::Reset)), Decision::retry().cooldown(BACKOFF));
    assert_eq!(of(Attempt::http_error(429)), Decision::retry().cooldown(BACKOFF).penalty_ms(9_000.0));
}

#[test]
fn a_cooldown_can_wait_for_more_failures_but_a_rate_limit_does_not() {
    let policy = with(Config { cooldown_after: 4, ..Config::default() });
    let cools = |attempt: Attempt, consecutive_failures| {
        let decision = policy.retry(&read(), &Attempt { consecutive_failures, ..attempt });
        decision == decision.cooldown(BACKOFF)
    };
    for (failures, expected) in [(0, false), (2, false), (3, true), (u32::MAX, true)] {
        assert_eq!(cools(Attempt::http_error(500), failures), expected, "{failures}");
        assert_eq!(cools(Attempt::new(Outcome::BadResponse), failures), expected, "{failures}");
        assert!(cools(Attempt::http_error(429), failures));
    }
}

#[test]
fn cooldowns_can_be_turned_off() {
    let policy = with(Config { cooldown: false, ..Config::default() });
    for status in [402, 429] {
        let attempt = Attempt { retry_after_ms: 900, ..Attempt::http_error(status) };
        assert_eq!(policy.retry(&read(), &attempt), Decision::retry(), "{status}");
    }
    assert_eq!(policy.retry(&read(), &Attempt::http_error(403)), Decision::retry().penalty_ms(5_000.0));
}

#[test]
fn the_conf_changes_times_and_zero_turns_one_off() {
    let config = |ms| Config {
        retry_after_max_ms: ms,
        quota_cooldown_ms: ms,
        auth_cooldown_ms: ms,
        method_ban_ms: ms,
        ..Config::default()
    };
    let decisions = |ms| {
        let limited = Attempt { retry_after_ms: 5_000, ..Attempt::http_error(429) };
        let attempts = [limited, Attempt::http_error(402), Attempt::http_error(401), Attempt::http_error(405)];
        attempts.map(|attempt| with(config(ms)).retry(&read(), &attempt))
    };
    let (retry, refused) = (Decision::retry(), Decision::retry().penalty_ms(5_000.0));
    let cooled = |decision: Decision| decision.cooldown(fixed_ms(700));
    let banned = retry.ban_method(Duration::from_millis(700));
    assert_eq!(decisions(700), [cooled(retry), cooled(retry), cooled(refused), banned]);
    assert_eq!(decisions(0), [retry.cooldown(BACKOFF), retry, refused, retry]);
}

#[test]
fn a_refused_batch_bans_no_method_but_a_refused_member_does() {
    let batch = Request { flags: Request::BATCH, ..Request::for_method("eth_call") };
    assert_eq!(decide(&batch, Attempt::http_error(415)), Decision::retry());
    let mut member = Attempt::rpc_error(-32_601, "Method not found");
    member.flags |= Attempt::MEMBER;
    assert_eq!(decide(&read(), member), Decision::retry().ban_method(Duration::from_secs(600)));
}

#[test]
fn a_conf_that_makes_no_sense_is_refused_with_its_key_and_what_is_allowed() {
    let hedge = |hedge| Config { hedge, ..Config::default() };
    let day = "but must be at most 86400000, which is a day";
    let cases = [
        (Config { cooldown_after: 0, ..Config::default() }, "cooldown_after is 0, but must be at least 1".into()),
        (Config { method_ban_ms: 86_400_001, ..Config::default() }, format!("method_ban_ms is 86400001, {day}")),
        (
            Config { quota_cooldown_ms: u32::MAX, ..Config::default() },
            format!("quota_cooldown_ms is 4294967295, {day}"),
        ),
        (hedge(Hedge { factor: -1.0, ..Hedge::default() }), "hedge.factor is -1, but must be a number above 0".into()),
        (
            hedge(Hedge { factor: f32::INFINITY, ..Hedge::default() }),
            "hedge.factor is inf, but must be a number above 0".into(),
        ),
        (
            hedge(Hedge { min_delay_ms: 0, ..Hedge::default() }),
            "hedge.min_delay_ms is 0, but must be at least 1".into(),
        ),
        (
            hedge(Hedge { max_delay_ms: 9, ..Hedge::default() }),
            "hedge.max_delay_ms is 9, but must not be below hedge.min_delay_ms, which is 10".into(),
        ),
    ];
    for (config, expected) in cases {
        let expected: String = expected;
        assert_eq!(JsonRpcRetry::configure(config).unwrap_err(), expected);
    }
}

#[test]
fn a_read_hedges_after_a_multiple_of_what_answers_to_its_method_take_within_bounds() {
    let policy = with(Config::default());
    let planned = |p75| policy.plan(&read(), &Endpoint::default(), Plan { method_p75_ms: p75, ..Plan::default() });
    for (p75, delay) in [(20.0, 40.0), (0.0, 10.0), (3.0, 10.0), (1_900.0, 2_000.0), (f32::MAX, 2_000.0)] {
        assert_eq!(planned(p75).hedge_delay(), Some(delay), "{p75}");
    }
    assert_eq!(planned(f32::NAN).hedge_delay(), None);
}

#[test]
fn writes_and_batches_do_not_hedge_nor_does_anything_when_it_is_turned_off() {
    let known = Plan { latency_p95_ms: 20.0, method_p75_ms: 20.0, ..Plan::default() };
    let batch = Request { flags: Request::BATCH, ..read() };
    for request in [write(), raw_transaction(), batch] {
        assert_eq!(with(Config::default()).plan(&request, &Endpoint::default(), known), known);
    }
    let off = with(Config { hedge: Hedge { enabled: false, ..Hedge::default() }, ..Config::default() });
    assert_eq!(off.plan(&read(), &Endpoint::default(), known), known);
}
