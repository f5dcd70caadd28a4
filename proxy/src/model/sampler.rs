//! Weighted draws from a large pool, in a time that doesn't depend on its size.
//!
//! Vose's alias method (M. D. Vose, "A linear algorithm for generating random numbers with a given
//! distribution", IEEE Transactions on Software Engineering 17(9), 1991): each member has a slot of
//! equal size, shared with at most one other member.

/// A weighted pool.
#[derive(Debug)]
pub struct Sampler(Vec<AliasEntry>);

#[derive(Clone, Copy, Debug)]
struct AliasEntry {
    /// The share of the slot that is the member's own, as a fraction of 2 to the power of 32.
    own: u32,
    /// The member that has the rest.
    other: u32,
}

/// Random numbers derived from a seed (`SplitMix64`: S. Vigna, public domain).
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Sampler {
    /// A sampler of the positions of `weights`; `None` if all weights are 0.
    pub fn new(weights: &[u16]) -> Option<Self> {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        if total == 0.0 || u32::try_from(weights.len()).is_err() {
            return None;
        }
        // The fill level of each slot, 1 being full.
        let mut fill: Vec<f64> = weights.iter().map(|w| f64::from(*w) * weights.len() as f64 / total).collect();
        let mut slots = vec![AliasEntry { own: u32::MAX, other: 0 }; weights.len()];
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..fill.len()).partition(|i| fill[*i] < 1.0);
        while let (Some(less), Some(more)) = (small.pop(), large.pop()) {
            slots[less] = AliasEntry { own: fraction(fill[less]), other: position(more) };
            fill[more] -= 1.0 - fill[less];
            if fill[more] < 1.0 { &mut small } else { &mut large }.push(more);
        }
        // The remaining slots are full except for rounding errors. Those of weight 0 are not, and
        // would be drawn occasionally.
        for rest in small.into_iter().filter(|i| weights[*i] == 0) {
            let heaviest = (0..weights.len()).max_by_key(|i| weights[*i]).unwrap_or(0);
            slots[rest] = AliasEntry { own: 0, other: position(heaviest) };
        }
        Some(Sampler(slots))
    }

    /// The number of members.
    #[expect(clippy::len_without_is_empty, reason = "an empty pool has no sampler")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Draws the position of a member.
    pub fn draw(&self, draws: &mut Draws) -> u32 {
        let random = draws.next();
        let slot = scaled(random, self.0.len());
        // The upper half chose the slot, the lower half chooses between its members.
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
        let point = random as u32;
        let AliasEntry { own, other } = self.0[slot];
        if point < own || own == u32::MAX { position(slot) } else { other }
    }
}

/// Scales the upper half of a random number to a number below `end`.
fn scaled(random: u64, end: usize) -> usize {
    (((random >> 32) * end as u64) >> 32) as usize
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn fraction(fill: f64) -> u32 {
    (fill * 2_f64.powi(32)) as u32
}

fn position(index: usize) -> u32 {
    // The length was checked to fit.
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Draws {
    /// The numbers of this seed.
    pub fn of(seed: u64) -> Self {
        Draws(seed)
    }

    /// A number below `end`, which is at most 2 to the power of 32; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        scaled(self.next(), end)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::share::mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(weights: &[u16], draws: usize) -> Vec<f64> {
        let sampler = Sampler::new(weights).unwrap();
        let mut random = Draws::of(7);
        let mut counts = vec![0.0; weights.len()];
        (0..draws).for_each(|_| counts[sampler.draw(&mut random) as usize] += 1.0);
        counts
    }

    #[test]
    fn each_is_drawn_as_often_as_its_weight_says() {
        for weights in [vec![1], vec![1, 1, 1], vec![100, 50, 20, 0, 5], vec![65_535, 1, 0, 0, 0], (1..=100).collect()]
        {
            let draws = 200_000;
            let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
            for (weight, count) in weights.iter().zip(counts(&weights, draws)) {
                let expected = f64::from(*weight) / total * draws as f64;
                assert!((count - expected).abs() <= 5.0 * expected.sqrt(), "{weights:?}: {weight} {count} {expected}");
            }
        }
    }

    #[test]
    fn what_weighs_nothing_is_never_drawn() {
        let weights: Vec<u16> = (0..1_000).map(|i| if i % 3 == 0 { 0 } else { i }).collect();
        let counts = counts(&weights, 500_000);
        assert!(weights.iter().zip(counts).all(|(weight, count)| *weight > 0 || count == 0.0));
        assert!(Sampler::new(&[0, 0]).is_none());
        assert!(Sampler::new(&[]).is_none());
    }
}
