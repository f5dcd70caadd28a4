#![allow(clippy::unwrap_used, reason = "tests")]

use pointsman_sdk::Outcome;

use super::*;

const BACKOFF: Cooldown = Cooldown::Backoff;

fn get() -> Request {
    Request::for_http("GET", "/v1/orders")
}

fn post() -> Request {
    Request::for_http("POST", "/v1/orders")
}

/// A `POST` with `Idempotency-Key`, as the proxy's request block shows it.
fn keyed_post() -> Request {
    Request { flags: Request::WRITE | Request::IDEMPOTENT | Request::RESENDABLE, ..post() }
}

fn with(config: Config) -> HttpRetry {
    HttpRetry::configure(config).unwrap()
}

fn decide(request: &Request, attempt: Attempt) -> Decision {
    with(Config::default()).retry(request, &attempt)
}

fn fixed(seconds: u64) -> Cooldown {
    Cooldown::Fixed(Duration::from_secs(seconds))
}

/// A failed attempt whose endpoint is blamed, for a request that goes elsewhere.
fn again(penalty_ms: f32) -> Decision {
    Decision::retry().cooldown(BACKOFF).penalty_ms(penalty_ms)
}

#[test]
fn the_statuses_of_a_gateway_are_retried_for_every_idempotent_request_and_no_other() {
    for status in [502, 503, 504] {
        for name in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            let decision = decide(&Request::for_http(name, "/"), Attempt::http_error(status));
            assert_eq!(decision, again(15_000.0), "{name} {status}");
        }
        assert_eq!(decide(&keyed_post(), Attempt::http_error(status)), again(15_000.0), "{status}");
        for name in ["POST", "PATCH", "CONNECT", "PURGE"] {
            let decision = decide(&Request::for_http(name, "/"), Attempt::http_error(status));
            assert_eq!(decision, Decision::return_().cooldown(BACKOFF).penalty_ms(15_000.0), "{name} {status}");
        }
    }
}

#[test]
fn timeouts_and_resets_are_retried_for_idempotent_requests() {
    for (outcome, penalty_ms) in
        [(Outcome::Timeout, 30_000.0), (Outcome::Reset, 20_000.0), (Outcome::BadResponse, 15_000.0)]
    {
        let attempt = Attempt::new(outcome);
        for request in [get(), keyed_post()] {
            assert_eq!(decide(&request, attempt), again(penalty_ms), "{outcome:?}");
        }
        assert_eq!(decide(&post(), attempt), Decision::return_().cooldown(BACKOFF).penalty_ms(penalty_ms));
    }
}

#[test]
fn whatever_was_not_sent_is_retried_whatever_the_method() {
    for request in [get(), post(), keyed_post(), Request::for_http("PURGE", "/")] {
        assert_eq!(decide(&request, Attempt::new(Outcome::ConnectFailed)), again(20_000.0));
        let unsent = Attempt { flags: Attempt::MAY_RETRY, ..Attempt::new(Outcome::Reset) };
        assert_eq!(decide(&request, unsent), again(20_000.0));
    }
}

#[test]
fn a_rate_limit_is_retried_and_cools_as_long_as_it_says() {
    let after = |retry_after_ms| Attempt { retry_after_ms, ..Attempt::http_error(429) };
    assert_eq!(decide(&get(), Attempt::http_error(429)), again(0.0));
    assert_eq!(decide(&get(), after(0)), again(0.0), "0 is no promise");
    assert_eq!(decide(&get(), after(7_000)), Decision::retry().cooldown(fixed(7)));
    assert_eq!(decide(&get(), after(3_600_000)), Decision::retry().cooldown(fixed(300)), "the longest");
    assert_eq!(decide(&post(), after(7_000)), Decision::return_().cooldown(fixed(7)));
    let unavailable = Attempt { retry_after_ms: 7_000, ..Attempt::http_error(503) };
    assert_eq!(decide(&get(), unavailable), Decision::retry().cooldown(fixed(7)).penalty_ms(15_000.0));
}

#[test]
fn other_statuses_are_answers_and_a_server_error_costs_a_little() {
    for status in [300, 301, 304, 400, 401, 403, 404, 405, 408, 409, 425, 451, 499] {
        assert_eq!(decide(&get(), Attempt::http_error(status)), Decision::return_().as_success(), "{status}");
    }
    for status in [500, 501, 505, 507, 599] {
        assert_eq!(decide(&get(), Attempt::http_error(status)), Decision::return_().penalty_ms(1_000.0), "{status}");
    }
}

#[test]
fn a_grpc_status_counts_as_the_http_status_that_means_the_same() {
    // Calls are POSTs without a key.
    let call = post();
    let unsent = |status| Attempt { flags: Attempt::MAY_RETRY, ..Attempt::grpc_error(status) };
    assert_eq!(decide(&call, unsent(14)), again(15_000.0), "UNAVAILABLE, and nothing was processed");
    assert_eq!(decide(&keyed_post(), Attempt::grpc_error(14)), again(15_000.0));
    let unavailable = decide(&call, Attempt::grpc_error(14));
    assert_eq!(unavailable, Decision::return_().cooldown(BACKOFF).penalty_ms(15_000.0));
    let exhausted = Attempt { retry_after_ms: 7_000, ..Attempt::grpc_error(8) };
    assert_eq!(decide(&keyed_post(), exhausted), Decision::retry().cooldown(fixed(7)), "RESOURCE_EXHAUSTED");
    for internal in [2, 13, 15] {
        assert_eq!(
            decide(&get(), Attempt::grpc_error(internal)),
            Decision::return_().penalty_ms(1_000.0),
            "{internal}"
        );
    }
    for answer in [1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 16, 17, i32::MAX] {
        assert_eq!(decide(&get(), Attempt::grpc_error(answer)), Decision::return_().as_success(), "{answer}");
    }
    let in_an_http_error = Attempt { grpc_status: 5, ..Attempt::http_error(503) };
    assert_eq!(decide(&get(), in_an_http_error), Decision::return_().as_success(), "the gRPC status decides");
    let good = Attempt { grpc_status: 0, ..Attempt::http_error(503) };
    assert_eq!(decide(&get(), good), again(15_000.0), "0 is no error, but the HTTP status is");
}

#[test]
fn without_leave_of_the_proxy_nothing_is_retried_but_the_endpoint_still_answers_for_it() {
    let attempt = Attempt { flags: 0, ..Attempt::new(Outcome::ConnectFailed) };
    assert_eq!(decide(&get(), attempt), Decision::return_().cooldown(BACKOFF).penalty_ms(20_000.0));
}

#[test]
fn what_is_not_known_is_returned_and_held_against_nobody() {
    let later = Attempt { outcome: 99, ..Attempt::new(Outcome::Timeout) };
    assert_eq!(decide(&get(), later), Decision::return_());
    assert_eq!(decide(&get(), Attempt::http_error(70_000)), Decision::return_().as_success());
}

#[test]
fn a_slow_failure_costs_its_latency() {
    let attempt = Attempt { latency_ms: 45_000.0, ..Attempt::new(Outcome::Timeout) };
    assert_eq!(decide(&get(), attempt), again(45_000.0));
}

#[test]
fn the_conf_says_which_statuses_are_retried() {
    let policy = with(Config { retry_statuses: vec![500, 404], rate_limit_statuses: vec![420], ..Config::default() });
    let of = |status| policy.retry(&get(), &Attempt::http_error(status));
    assert_eq!(of(500), again(15_000.0));
    assert_eq!(of(404), Decision::retry(), "a client error holds nothing against the endpoint");
    assert_eq!(of(420), again(0.0));
    assert_eq!(of(429), Decision::return_().as_success());
    assert_eq!(of(503), Decision::return_().penalty_ms(1_000.0));
}

#[test]
fn the_conf_says_what_is_held_against_an_endpoint() {
    let penalties = Penalties { gateway_error_ms: 7_000, server_error_ms: 0, ..Penalties::default() };
    let policy = with(Config { penalties, cooldown_after: 3, retry_after_max_ms: 0, ..Config::default() });
    let of = |attempt: Attempt, consecutive_failures| {
        policy.retry(&get(), &Attempt { consecutive_failures, retry_after_ms: 7_000, ..attempt })
    };
    assert_eq!(of(Attempt::http_error(502), 0), Decision::retry().penalty_ms(7_000.0));
    assert_eq!(of(Attempt::http_error(502), 2), again(7_000.0));
    assert_eq!(of(Attempt::http_error(502), u32::MAX), again(7_000.0));
    assert_eq!(of(Attempt::http_error(500), 2), Decision::return_());
    assert_eq!(of(Attempt::http_error(429), 0), again(0.0), "a rate limit doesn't wait");
    let off = with(Config { cooldown: false, ..Config::default() });
    assert_eq!(off.retry(&get(), &Attempt::http_error(429)), Decision::retry());
}

#[test]
fn a_conf_that_makes_no_sense_is_refused_with_its_key() {
    let refused = |config| HttpRetry::configure(config).unwrap_err();
    let retried = |statuses: &[u16]| refused(Config { retry_statuses: statuses.to_vec(), ..Config::default() });
    for bad in [0, 200, 399, 600, u16::MAX] {
        let expected = format!("retry_statuses[1] is {bad}, but must be a status from 400 to 599");
        assert_eq!(retried(&[502, bad]), expected);
    }
    assert_eq!(retried(&[502, 503, 502]), "retry_statuses[2] is 502, which is in the list already");
    assert_eq!(retried(&[429]), "retry_statuses and rate_limit_statuses both have 429, but only one may");
    let limits = Config { rate_limit_statuses: vec![42], ..Config::default() };
    assert!(refused(limits).starts_with("rate_limit_statuses[0] is 42, but"));
    assert!(refused(Config { cooldown_after: 0, ..Config::default() }).starts_with("cooldown_after is 0"));
    let long = Config { retry_after_max_ms: 86_400_001, ..Config::default() };
    assert!(refused(long).starts_with("retry_after_max_ms is 86400001, but"));
    for edge in [vec![400, 599], vec![]] {
        assert!(HttpRetry::configure(Config { retry_statuses: edge, ..Config::default() }).is_ok());
    }
}
