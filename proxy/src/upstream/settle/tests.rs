use super::*;
use crate::model::MethodClass;
use crate::upstream::fixture::{read_by, upstream};

const SECOND: Duration = Duration::from_secs(1);

/// An attempt at the first endpoint, which has the larger weight.
fn attempt(upstream: &Arc<Upstream>, request: &RequestFacts) -> Attempt {
    let attempt = upstream.select(&Selection::first(request, clock::now())).unwrap();
    assert_eq!(attempt.index(), 0);
    attempt
}

/// Ends an attempt with a failure that the built-in policy judges.
fn fail(attempt: Attempt, request: &RequestFacts, result: &AttemptResult) -> Option<Blame> {
    let selection = Selection::first(request, clock::now());
    let case = Case { request, sent: None, result, may_retry: true, member: false };
    let decision = attempt.decide(&selection, &case);
    attempt.fail(&selection, result, &[(case, decision)])
}

fn failed(outcome: Outcome) -> AttemptResult {
    AttemptResult::failed(outcome, outcome != Outcome::ConnectFailed, "")
}

fn cools(upstream: &Upstream) -> bool {
    upstream.endpoint(0).stats.cooldown.remaining(clock::now()).is_some()
}

fn counted(upstream: &Upstream, outcome: Outcome) -> u64 {
    upstream.endpoint(0).details.series.attempts(outcome).get()
}

#[test]
fn an_attempt_settles_once_however_it_ends() {
    let (upstream, request) = (upstream("health_check = 'off'", &[2, 1]), read_by(1));
    let stats = &upstream.endpoint(0).stats;
    let success = AttemptResult { latency: SECOND, ..failed(Outcome::Success) };
    attempt(&upstream, &request).succeed(&request, &success);
    drop(attempt(&upstream, &request));
    attempt(&upstream, &request).lose();
    let mut answered = attempt(&upstream, &request);
    assert_eq!(stats.in_flight(), 1);
    answered.answered(Outcome::RpcError, clock::now());
    assert_eq!(stats.in_flight(), 0, "it waits for the endpoint no more");
    fail(answered, &request, &failed(Outcome::RpcError));
    assert_eq!(stats.in_flight(), 0);
    let counts = [Outcome::Success, Outcome::Canceled, Outcome::RpcError].map(|outcome| counted(&upstream, outcome));
    assert_eq!(counts, [1, 2, 1]);
}

#[test]
fn what_no_request_can_provoke_cools_at_once() {
    let too_many = AttemptResult { http_status: Some(429), ..failed(Outcome::HttpError) };
    for result in [failed(Outcome::ConnectFailed), too_many] {
        let (upstream, request) = (upstream("", &[2, 1]), read_by(1));
        assert!(fail(attempt(&upstream, &request), &request, &result).is_none());
        assert!(cools(&upstream), "{result:?}");
    }
}

#[test]
fn what_a_request_can_provoke_waits_for_a_witness() {
    let (upstream, request) = (upstream("", &[2, 1]), read_by(1));
    for outcome in [Outcome::Reset, Outcome::BadResponse, Outcome::Timeout] {
        let blame = fail(attempt(&upstream, &request), &request, &failed(outcome)).unwrap();
        for elsewhere in [Elsewhere::Failed, Elsewhere::Untried] {
            upstream.rule(&blame, elsewhere, clock::now());
            assert!(!cools(&upstream), "{outcome:?}, {elsewhere:?}");
        }
    }
}

/// Fails so many requests that another endpoint answers.
fn strike(upstream: &Arc<Upstream>, client: u64, count: usize) {
    let request = read_by(client);
    for _ in 0..count {
        let blame = fail(attempt(upstream, &request), &request, &failed(Outcome::Reset)).unwrap();
        upstream.rule(&blame, Elsewhere::Answered, clock::now());
    }
}

#[test]
fn an_outlier_cools_if_another_endpoint_is_fit_and_most_clients_see_it() {
    let fit = upstream("", &[2, 1]);
    strike(&fit, 1, 4);
    assert!(!cools(&fit), "four are none yet");
    strike(&fit, 1, 1);
    assert!(cools(&fit));

    let alone = upstream("", &[2, 0]);
    strike(&alone, 1, 20);
    assert!(!cools(&alone), "nobody else would serve");

    let off = upstream("exclude_outliers = false", &[2, 1]);
    strike(&off, 1, 20);
    assert!(!cools(&off));

    let shared = upstream("", &[2, 1]);
    strike(&shared, 1, 1);
    for client in 2..=3 {
        let request = read_by(client);
        attempt(&shared, &request).succeed(&request, &failed(Outcome::Success));
    }
    strike(&shared, 1, 20);
    assert!(!cools(&shared), "one client of three");
}

#[test]
fn a_success_is_remembered_by_method_and_takes_a_strike_back() {
    let (upstream, request) = (upstream("", &[2, 1]), read_by(1));
    strike(&upstream, 1, 2);
    let stats = &upstream.endpoint(0).stats;
    assert_eq!(stats.consecutive_failures(), 2);
    attempt(&upstream, &request).succeed(&request, &AttemptResult { latency: SECOND, ..failed(Outcome::Success) });
    assert_eq!((stats.consecutive_failures(), stats.latency_ms()), (0, 1_000.0));
    let read = RequestFacts::of_single("eth_call", MethodClass::Read);
    assert!(!upstream.is_overdue(&read, 100 * SECOND), "one answer is no estimate");
}
