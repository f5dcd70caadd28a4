//! A share of all requests, selected by their seeds.

/// A share of all requests. Membership depends on the request's seed alone, so either all of its
/// attempts belong to the share or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    /// A share above 0, up to 1.
    pub fn new(share: f64) -> Self {
        // The end of the share among all mixed seeds. The conversion saturates at the range's ends.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        Share((share * 2_f64.powi(64)) as u64)
    }

    /// Whether the request with this seed belongs to the share.
    pub fn holds(self, seed: u64) -> bool {
        mix(seed) <= self.0
    }
}

/// Spreads the seed over all bits (the last step of `SplitMix64`): policies draw from the same
/// seed, and a sample by its highest or lowest bits would cover only some of their draws.
pub(super) fn mix(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_belong_to_it_as_it_says() {
        for share in [0.001, 0.1, 0.5, 0.9] {
            let held = (0..100_000_u64).filter(|seed| Share::new(share).holds(*seed)).count() as f64;
            let expected = share * 100_000.0;
            assert!((held - expected).abs() < 5.0 * expected.sqrt(), "{share}: {held}");
        }
    }

    #[test]
    fn all_belong_to_the_whole() {
        assert!([0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15].into_iter().all(|seed| Share::new(1.0).holds(seed)));
    }

    #[test]
    fn the_sample_favours_no_remainder() {
        for remainder in 0..7 {
            let seeds = (0..70_000_u64).filter(|seed| seed % 7 == remainder);
            let held = seeds.filter(|seed| Share::new(0.1).holds(*seed)).count();
            assert!((850..1_150).contains(&held), "{remainder}: {held}");
        }
    }
}
