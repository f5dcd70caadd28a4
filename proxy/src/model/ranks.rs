//! Similarity of two rankings.

/// Spearman's rank correlation of the scores that two policies gave to the same endpoints: 1 for
/// the same order, -1 for the opposite one. Equal scores share the mean of their ranks; NaN and
/// negative infinity, which leave an endpoint out, share the last. `None` for fewer than two
/// endpoints, and where one of the rankings has no order because all are equal.
pub fn rank_correlation(one: &[f64], other: &[f64]) -> Option<f64> {
    if one.len() < 2 || one.len() != other.len() {
        return None;
    }
    // The mean of ranks from 1 on, ties included.
    let mean = (one.len() as f64 + 1.0) / 2.0;
    let from_mean = |ranks: Vec<f64>| ranks.into_iter().map(|rank| rank - mean).collect::<Vec<_>>();
    let (one, other) = (from_mean(ranks(one)), from_mean(ranks(other)));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let spread = (product(&one, &one) * product(&other, &other)).sqrt();
    (spread > 0.0).then(|| (product(&one, &other) / spread).clamp(-1.0, 1.0))
}

/// The rank of each score, from 1 for the highest.
fn ranks(scores: &[f64]) -> Vec<f64> {
    let scores: Vec<f64> = scores.iter().map(|s| if s.is_nan() { f64::NEG_INFINITY } else { *s }).collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut ranks = vec![0.0; scores.len()];
    let mut better = 0_usize;
    // Only exactly equal scores tie.
    for equals in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let mean = better as f64 + (equals.len() as f64 + 1.0) / 2.0;
        equals.iter().for_each(|&position| ranks[position] = mean);
        better += equals.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_correlation(one: &[f64], other: &[f64], expected: f64) {
        for (a, b) in [(one, other), (other, one)] {
            let found = rank_correlation(a, b).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
        }
    }

    #[test]
    fn only_the_order_counts() {
        assert_correlation(&[3.0, 1.0, 2.0], &[900.0, -5.0, 0.0], 1.0);
        assert_correlation(&[1.0, 2.0, 3.0, 4.0], &[8.0, 6.0, 4.0, f64::MIN], -1.0);
        // 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15).
        assert_correlation(&[4.0, 3.0, 2.0, 1.0], &[4.0, 2.0, 3.0, 1.0], 0.8);
    }

    #[test]
    fn equal_scores_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[5.0, 7.0, 5.0, 9.0]), [3.5, 2.0, 3.5, 1.0]);
        assert_eq!(ranks(&[0.0, -0.0, 1.0]), [2.5, 2.5, 1.0]);
        // Ranks 1, 2, 3 and 1.5, 1.5, 3: 1.5 / sqrt(2 * 1.5).
        assert_correlation(&[3.0, 2.0, 1.0], &[2.0, 2.0, 1.0], 1.5 / 3.0_f64.sqrt());
    }

    #[test]
    fn what_is_left_out_is_last() {
        let nothing = f64::NEG_INFINITY;
        assert_eq!(ranks(&[f64::NAN, f64::MIN, nothing, f64::INFINITY]), [3.5, 2.0, 3.5, 1.0]);
        assert_correlation(&[2.0, f64::NAN, 1.0], &[2.0, nothing, 1.0], 1.0);
    }

    #[test]
    fn there_is_none_without_an_order() {
        assert_eq!(rank_correlation(&[], &[]), None);
        assert_eq!(rank_correlation(&[1.0], &[2.0]), None);
        assert_eq!(rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(rank_correlation(&[f64::NAN, f64::NEG_INFINITY], &[1.0, 2.0]), None);
    }
}
