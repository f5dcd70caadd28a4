//! "Did you mean": the most similar known name.

/// The longest word to compare. No name is longer.
const LONGEST: usize = 64;

/// The most similar name of `known`, if it is similar enough to be a typo of `word`: at most a
/// third of the letters differ. Ties go to the first.
pub(super) fn did_you_mean<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let limit = length.div_ceil(3);
    known
        .map(|name| (distance(word, name), name))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// The number of letters to insert, delete, replace or swap with their neighbour (optimal string
/// alignment, since swaps are the commonest typos).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // rows[i][j] is the distance of the first i letters of `a` from the first j of `b`.
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let moved = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { moved.min(rows[i - 2][j - 2] + 1) } else { moved }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_changes() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("", "abc", 3), ("tiers", "tires", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested_unless_all_are_far() {
        let known = ["peak-ewma", "tiers"];
        assert_eq!(did_you_mean("teirs", known.into_iter()), Some("tiers"));
        assert_eq!(did_you_mean("peakewma", known.into_iter()), Some("peak-ewma"));
        assert_eq!(did_you_mean(&"tiers".repeat(20), known.into_iter()), None);
        assert_eq!(did_you_mean("native", known.into_iter()), None);
        assert_eq!(did_you_mean("x", std::iter::empty()), None);
    }
}
