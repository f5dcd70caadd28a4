use super::*;
use crate::clock;
use crate::model::MethodClass;
use crate::upstream::fixture::{read_by, upstream};

/// The indexes of the candidates of a selection.
fn candidates(upstream: &Upstream, selection: &Selection<'_>) -> Vec<u32> {
    let (mut rows, mut drawn) = (Vec::new(), Vec::new());
    upstream.candidates(selection, &mut rows, &mut drawn);
    rows.iter().map(|row| row.index).collect()
}

fn cool(upstream: &Upstream, index: u32, now: Tick) {
    assert!(upstream.endpoint(index).stats.cooldown.hold(now, Duration::from_secs(60)));
}

#[test]
fn an_endpoint_of_weight_0_or_that_was_tried_is_never_one() {
    let (upstream, request) = (upstream("", &[1, 0, 1, 1]), read_by(1));
    let first = Selection::first(&request, clock::now());
    assert_eq!(candidates(&upstream, &first), [0, 2, 3]);
    let second = Selection { attempt: 2, tried: &[2, 0], ..first };
    assert_eq!(candidates(&upstream, &second), [3]);
    let none = Selection { tried: &[0, 2, 3], ..second };
    assert!(candidates(&upstream, &none).is_empty(), "not even in a panic");
}

#[test]
fn an_endpoint_that_cools_is_one_only_if_there_is_no_other() {
    let (upstream, request, now) = (upstream("", &[1, 1]), read_by(1), clock::now());
    let selection = || Selection::first(&request, now);
    cool(&upstream, 0, now);
    assert_eq!(candidates(&upstream, &selection()), [1]);
    cool(&upstream, 1, now);
    assert_eq!(candidates(&upstream, &selection()), [0, 1], "a panic");
    assert!(candidates(&upstream, &Selection { hedge: true, ..selection() }).is_empty(), "no panic for a hedge");
    let write = RequestFacts::of_single("eth_sendTransaction", MethodClass::Write);
    let again = Selection { prior_sent: true, ..Selection::first(&write, now) };
    assert!(candidates(&upstream, &again).is_empty(), "none for a write that may have arrived");
}

#[test]
fn an_endpoint_without_the_method_is_the_last_resort() {
    let (upstream, request, now) = (upstream("", &[1, 1]), read_by(1), clock::now());
    upstream.endpoint(0).stats.bans.ban("eth_call", Duration::from_secs(60), now);
    assert_eq!(candidates(&upstream, &Selection::first(&request, now)), [1]);
    cool(&upstream, 1, now);
    assert_eq!(candidates(&upstream, &Selection::first(&request, now)), [1], "rather one that cools");
    let tried = Selection { tried: &[1], ..Selection::first(&request, now) };
    assert_eq!(candidates(&upstream, &tried), [0]);
}

#[test]
fn of_a_large_pool_so_many_are_drawn_as_the_conf_says() {
    let upstream = upstream("candidates = 4", &[1; 100]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let request = RequestFacts { seed: fastrand::Rng::with_seed(seed).u64(..), ..read_by(1) };
        let drawn = candidates(&upstream, &Selection::first(&request, clock::now()));
        assert_eq!(drawn.len(), 4);
        seen.extend(drawn);
    }
    assert_eq!(seen.len(), 100, "each is drawn at some time");
}

#[test]
fn an_endpoint_has_others_as_long_as_one_of_them_takes_requests() {
    let (upstream, now) = (upstream("", &[1, 1, 0]), clock::now());
    assert!(upstream.has_others(upstream.endpoint(0), now));
    cool(&upstream, 1, now);
    assert!(!upstream.has_others(upstream.endpoint(0), now), "one of weight 0 takes none");
    assert!(upstream.has_others(upstream.endpoint(1), now));
}
