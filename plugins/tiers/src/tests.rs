//! Tests the encoded order against a comparator that follows the policy's description.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests; random bits may be cut")]

use std::cmp::Ordering;

use super::*;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[(self.next() % from.len() as u64) as usize]
    }
}

/// The lowest cost above 64 ms that is distinct from it.
const NEXT_TO_64: f32 = 64.0 + 64.0 / 65_536.0;

/// Values that are distinct after quantisation, with many repetitions so that every key decides at
/// times.
fn endpoint(random: &mut Random) -> Endpoint {
    Endpoint {
        flags: random.pick(&[0, 0, 0, 0, 0, 0, Endpoint::COOLING, Endpoint::UNHEALTHY, Endpoint::BANNED]),
        weight: random.pick(&[1, 2, 49, 50, 51, 99, 100, 101, 101 + (1 << 15), 65_534, 65_535]),
        latency_ms: random.pick(&[0.0, 1.0, 12.5, 64.0, NEXT_TO_64, 1_000.0, 1_001.0, 5_000.0, 15_000.0]),
        penalty_ms: random.pick(&[0.0, 0.0, 0.5]),
        idle_ms: random.pick(&[0.0, 1.0, 3.0, 250.0, 3_600_000.0, f32::INFINITY]),
        ..Endpoint::default()
    }
}

/// Compares key by key; the better endpoint is the greater.
fn reference(config: &Config, a: &Endpoint, b: &Endpoint) -> Ordering {
    let tier = |e: &Endpoint| match e.weight {
        w if w >= config.tier1_min_weight => 1,
        w if w >= config.tier2_min_weight => 2,
        _ => 3,
    };
    let cost = |e: &Endpoint| f32::max(e.latency_ms + e.penalty_ms, config.cost_floor_ms);
    let by_weight = a.weight.cmp(&b.weight);
    let by_cost = cost(b).total_cmp(&cost(a));
    let (first, second) = match config.rank_within_tier {
        Rank::Weight => (by_weight, by_cost),
        Rank::Cost => (by_cost, by_weight),
    };
    b.is_excluded()
        .cmp(&a.is_excluded())
        .then(tier(b).cmp(&tier(a)))
        .then(first)
        .then(second)
        .then(b.idle_ms.total_cmp(&a.idle_ms))
}

fn policy(config: Config) -> Tiers {
    Tiers::configure(config).unwrap()
}

fn rank(tiers: &Tiers, endpoint: &Endpoint) -> f64 {
    let mut score = [0.0];
    tiers.score(&Request::default(), std::slice::from_ref(endpoint).into(), &mut score);
    score[0]
}

fn best(config: Config, endpoints: &[Endpoint]) -> usize {
    let mut scores = vec![0.0; endpoints.len()];
    policy(config).score(&Request::default(), endpoints.into(), &mut scores);
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap()
}

#[test]
fn the_scores_are_in_the_comparators_order() {
    let mut random = Random(42);
    for rank_within_tier in [Rank::Weight, Rank::Cost] {
        for cost_floor_ms in [0.0, 1_000.0] {
            let config = Config { rank_within_tier, cost_floor_ms, ..Config::default() };
            let tiers = policy(config.clone());
            for _ in 0..50_000 {
                let (a, b) = (endpoint(&mut random), endpoint(&mut random));
                let ranked = rank(&tiers, &a).partial_cmp(&rank(&tiers, &b));
                assert_eq!(ranked, Some(reference(&config, &a, &b)), "{config:?}\n{a:?}\n{b:?}");
            }
        }
    }
}

#[test]
fn any_bits_give_an_exact_integer_and_leave_nothing_out() {
    let mut random = Random(7);
    let tiers = policy(Config::default());
    let float = |random: &mut Random| f32::from_bits(random.next() as u32);
    for _ in 0..100_000 {
        let endpoint = Endpoint {
            flags: random.next() as u32,
            weight: random.next() as u32,
            latency_ms: float(&mut random),
            penalty_ms: float(&mut random),
            idle_ms: float(&mut random),
            ..Endpoint::default()
        };
        let score = rank(&tiers, &endpoint);
        assert!(score.trunc() == score && score.abs() <= 2.0_f64.powi(53), "{score} for {endpoint:?}");
        assert_eq!(score < 0.0, endpoint.is_excluded(), "{score} for {endpoint:?}");
    }
}

#[test]
fn a_heavier_tier_beats_a_lower_cost() {
    let slow = Endpoint { weight: 100, latency_ms: 900.0, ..Endpoint::default() };
    let fast = Endpoint { weight: 99, latency_ms: 1.0, ..Endpoint::default() };
    for rank_within_tier in [Rank::Weight, Rank::Cost] {
        assert_eq!(best(Config { rank_within_tier, ..Config::default() }, &[fast, slow]), 1);
    }
}

#[test]
fn within_a_tier_the_conf_says_whether_weight_or_cost_ranks_first() {
    let heavy = Endpoint { weight: 90, latency_ms: 80.0, ..Endpoint::default() };
    let fast = Endpoint { weight: 60, latency_ms: 8.0, ..Endpoint::default() };
    assert_eq!(best(Config::default(), &[heavy, fast]), 0);
    assert_eq!(best(Config { rank_within_tier: Rank::Cost, ..Config::default() }, &[heavy, fast]), 1);
}

#[test]
fn the_floor_hides_what_is_below_it_and_then_recency_decides() {
    let fast = Endpoint { latency_ms: 10.0, idle_ms: 500.0, ..Endpoint::default() };
    let recent = Endpoint { latency_ms: 700.0, idle_ms: 5.0, ..Endpoint::default() };
    assert_eq!(best(Config::default(), &[fast, recent]), 0);
    assert_eq!(best(Config { cost_floor_ms: 1_000.0, ..Config::default() }, &[fast, recent]), 1);
}

#[test]
fn a_penalty_is_part_of_the_cost() {
    let failing = Endpoint { latency_ms: 10.0, penalty_ms: 12_000.0, ..Endpoint::default() };
    let slow = Endpoint { latency_ms: 4_000.0, ..Endpoint::default() };
    assert_eq!(best(Config::default(), &[failing, slow]), 1);
}

#[test]
fn a_cost_that_is_no_number_is_the_worst() {
    let unknown = Endpoint { latency_ms: f32::NAN, idle_ms: 0.0, ..Endpoint::default() };
    let slow = Endpoint { latency_ms: 60_000.0, ..Endpoint::default() };
    assert_eq!(best(Config::default(), &[unknown, slow]), 1);
}

#[test]
fn costs_are_told_apart_to_a_65536th_and_times_to_a_32nd() {
    let tiers = policy(Config::default());
    let cost = |latency_ms| rank(&tiers, &Endpoint { latency_ms, ..Endpoint::default() });
    assert!(cost(64.0) > cost(64.001) && cost(1e9) > cost(f32::INFINITY));
    assert_eq!(cost(64.0), cost(64.0005));
    let idle = |idle_ms| rank(&tiers, &Endpoint { idle_ms, ..Endpoint::default() });
    assert!(idle(0.0) > idle(0.002) && idle(1_023.0) > idle(1_024.0) && idle(1e15) > idle(f32::INFINITY));
    assert_eq!(idle(1_023.0), idle(1_008.0));
    assert_eq!(idle(f32::NAN), idle(f32::INFINITY));
}

#[test]
fn a_conf_that_makes_no_sense_is_refused_with_its_keys() {
    let refused = |config| Tiers::configure(config).unwrap_err();
    let swapped = Config { tier1_min_weight: 10, ..Config::default() };
    assert!(refused(swapped).starts_with("tier1_min_weight is 10, but"));
    for cost_floor_ms in [-1.0, f32::NAN, f32::INFINITY] {
        assert!(refused(Config { cost_floor_ms, ..Config::default() }).starts_with("cost_floor_ms is"));
    }
}
