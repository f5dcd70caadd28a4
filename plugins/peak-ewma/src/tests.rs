//! Tests of the cost by examples and of the draw by its distribution.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn policy(config: Config) -> PeakEwma {
    PeakEwma::configure(config).unwrap()
}

fn scores(config: Config, request: &Request, endpoints: &[Endpoint]) -> Vec<f64> {
    let mut scores = vec![0.0; endpoints.len()];
    policy(config).score(request, endpoints.into(), &mut scores);
    scores
}

fn winner(scores: &[f64]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap()
}

fn drawn(scores: &[f64]) -> Vec<usize> {
    (0..scores.len()).filter(|row| scores[*row] > UNDRAWN).collect()
}

/// A measured endpoint that was used just now.
fn measured(latency_peak_ms: f32) -> Endpoint {
    Endpoint { latency_peak_ms, latency_p99_ms: latency_peak_ms, idle_ms: 0.0, ..Endpoint::default() }
}

fn pool(len: u32) -> Vec<Endpoint> {
    (0..len).map(|index| Endpoint { index, ..measured(10.0) }).collect()
}

fn seeded(seed: u64) -> Request {
    Request { seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..Request::default() }
}

#[test]
fn cost_is_peak_latency_times_the_requests_that_would_be_in_flight() {
    let policy = policy(Config::default());
    assert_eq!(policy.cost(&measured(40.0)), 40.0);
    assert_eq!(policy.cost(&Endpoint { in_flight: 3, ..measured(40.0) }), 160.0);
    assert_eq!(policy.cost(&Endpoint { in_flight: 1, penalty_ms: 500.0, ..measured(40.0) }), 1_080.0);
}

#[test]
fn latency_and_penalty_decay_while_idle_and_not_while_a_request_hangs() {
    let policy = policy(Config { decay_ms: 1_000.0, ..Config::default() });
    let idle = Endpoint { idle_ms: 2_000.0, penalty_ms: 60.0, ..measured(40.0) };
    assert!((policy.cost(&idle) - 100.0 * (-2.0_f64).exp()).abs() < 1e-9);
    assert_eq!(policy.cost(&Endpoint { in_flight: 1, ..idle }), 200.0);
}

#[test]
fn an_unmeasured_endpoint_is_free_while_idle_and_the_dearest_while_probed() {
    let policy = policy(Config::default());
    let new = Endpoint::default();
    assert_eq!(policy.cost(&new), 0.0);
    let probed = Endpoint { in_flight: 1, idle_ms: 1.0, ..new };
    assert!(policy.cost(&probed) > policy.cost(&Endpoint { in_flight: 1_000, ..measured(60_000.0) }));
    let failed = Endpoint { penalty_ms: 16_000.0, idle_ms: 1.0, ..new };
    assert!(policy.cost(&failed) > policy.cost(&measured(5_000.0)), "a failed probe is not free");
}

#[test]
fn weights_count_only_when_asked_for() {
    let heavy = Endpoint { weight: 60, in_flight: 2, ..measured(10.0) };
    let light = Endpoint { weight: 20, in_flight: 1, ..measured(10.0) };
    let (plain, weighted) = (policy(Config::default()), policy(Config { weighted: true, ..Config::default() }));
    assert!(plain.cost(&heavy) > plain.cost(&light));
    assert!(weighted.cost(&heavy) < weighted.cost(&light));
}

fn pairs_of_two() -> Config {
    Config { choices: 2, ..Config::default() }
}

#[test]
fn the_cheaper_of_the_drawn_wins_and_the_rest_are_fallbacks_in_a_seeded_order() {
    let mut endpoints = pool(6);
    for (endpoint, latency) in endpoints.iter_mut().zip([60.0, 50.0, 40.0, 30.0, 20.0, 10.0]) {
        endpoint.latency_peak_ms = latency;
    }
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let scores = scores(pairs_of_two(), &seeded(seed), &endpoints);
        assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
        let drawn = drawn(&scores);
        assert_eq!(drawn.len(), 2);
        assert_eq!(winner(&scores), *drawn.iter().max().unwrap(), "later rows are faster: {scores:?}");
        let mut order: Vec<usize> = (0..6).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        orders.insert(order);
    }
    assert!(orders.len() > 100, "{} orders", orders.len());
}

#[test]
fn every_pair_is_drawn_equally_often() {
    const DRAWS: u64 = 30_000;
    let endpoints = pool(5);
    let mut pairs = std::collections::BTreeMap::new();
    for seed in 0..DRAWS {
        *pairs.entry(drawn(&scores(pairs_of_two(), &seeded(seed), &endpoints))).or_insert(0_u64) += 1;
    }
    // Ten pairs, 3,000 draws each; the standard deviation is 52.
    assert_eq!(pairs.len(), 10);
    assert!(pairs.values().all(|count| count.abs_diff(DRAWS / 10) < 260), "{pairs:?}");
}

#[test]
fn every_endpoint_is_the_first_fallback_about_as_often() {
    const DRAWS: u32 = 20_000;
    let endpoints = pool(5);
    let mut first = [0_u32; 5];
    for seed in 0..u64::from(DRAWS) {
        let mut scores = scores(pairs_of_two(), &seeded(seed), &endpoints);
        scores.iter_mut().filter(|score| **score > UNDRAWN).for_each(|score| *score = f64::NEG_INFINITY);
        first[winner(&scores)] += 1;
    }
    // Sufficient for a fallback: the positions are not independent, so the shares are not exactly
    // equal.
    assert!(first.iter().all(|count| count.abs_diff(DRAWS / 5) < DRAWS / 50), "{first:?}");
}

#[test]
fn a_retry_draws_anew_and_the_same_input_gives_the_same_scores() {
    let endpoints = pool(16);
    let (first, second) = (seeded(1), Request { attempt: 2, ..seeded(1) });
    let of = |request| scores(Config::default(), request, &endpoints);
    assert_eq!(of(&first), of(&first));
    assert_ne!(drawn(&of(&first)), drawn(&of(&second)));
}

#[test]
fn the_number_of_choices_is_kept_and_a_small_pool_is_drawn_whole() {
    for choices in 2..=8 {
        for len in 1..12 {
            let scores = scores(Config { choices, ..Config::default() }, &seeded(3), &pool(len));
            assert_eq!(drawn(&scores).len(), choices.min(len as usize));
        }
    }
}

#[test]
fn what_is_excluded_comes_after_all_that_is_not() {
    let mut endpoints = pool(6);
    for (endpoint, flags) in endpoints.iter_mut().zip([Endpoint::COOLING, Endpoint::UNHEALTHY, Endpoint::BANNED]) {
        endpoint.flags = flags;
    }
    endpoints[5] = Endpoint { index: 5, in_flight: 9, ..Endpoint::default() };
    for seed in 0..200 {
        let scores = scores(Config::default(), &seeded(seed), &endpoints);
        let best_excluded = scores[..3].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert!(scores[3..].iter().all(|score| *score > best_excluded), "{scores:?}");
    }
}

#[test]
fn inputs_that_are_no_numbers_are_the_dearest_and_leave_nothing_out() {
    let policy = policy(Config::default());
    for latency_peak_ms in [f32::NAN, f32::INFINITY, f32::MAX] {
        let odd = Endpoint { latency_peak_ms, latency_p99_ms: 1.0, in_flight: 9, ..measured(1.0) };
        assert_eq!(policy.cost(&odd), MAX_COST);
        let cooling = Endpoint { flags: Endpoint::COOLING, ..odd };
        assert!(scores(Config::default(), &seeded(1), &[odd, cooling]).iter().all(|score| score.is_finite()));
    }
}

#[test]
fn a_conf_that_makes_no_sense_is_refused_with_its_key() {
    for decay_ms in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(PeakEwma::configure(Config { decay_ms, ..Config::default() }).unwrap_err().starts_with("decay_ms is"));
    }
    for choices in [0, 1, 9] {
        assert!(PeakEwma::configure(Config { choices, ..Config::default() }).unwrap_err().starts_with("choices is"));
    }
}
