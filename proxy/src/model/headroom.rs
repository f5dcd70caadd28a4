//! The free share of a rate limiter's bucket, without querying the limiter.
//!
//! An estimate for scoring, stored next to the other data that a decision reads. Lock-free; a
//! reader may see the number of one admission with the time of another. After a change of the limit
//! it describes the old bucket until the next admission, or until it is full.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::Tick;

/// The state of the bucket after the last admission.
#[derive(Debug)]
pub struct Headroom {
    left_at: AtomicU64,
    left: AtomicU32,
}

/// The rates at which a bucket empties and fills, as shares of the whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketRate {
    per_request: f32,
    per_ms: f32,
}

impl BucketRate {
    /// The rates of a bucket for `burst` requests that refills `per_sec` requests per second.
    pub fn new(per_sec: NonZeroU32, burst: NonZeroU32) -> Self {
        let per_request = 1.0 / burst.get() as f32;
        BucketRate { per_request, per_ms: per_sec.get() as f32 * per_request / 1_000.0 }
    }
}

impl Default for Headroom {
    fn default() -> Self {
        // A full bucket, of any size.
        Headroom { left_at: AtomicU64::new(0), left: AtomicU32::new(u32::MAX) }
    }
}

impl Headroom {
    /// Records an admission, after which `left` more requests fit.
    pub fn admitted(&self, left: u32, now: Tick) {
        self.left.store(left, Relaxed);
        self.left_at.store(now.as_nanos(), Relaxed);
    }

    /// The free share of the bucket, 0 to 1: the remainder, and the refill since then.
    pub fn share(&self, refill: BucketRate, now: Tick) -> f32 {
        let since = now.millis_since(Tick::from_nanos(self.left_at.load(Relaxed)));
        (self.left.load(Relaxed) as f32 * refill.per_request + since * refill.per_ms).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_falls_with_admissions_and_comes_back_with_time() {
        let number = |number| NonZeroU32::new(number).unwrap();
        let refill = BucketRate::new(number(1), number(10));
        let (headroom, at) = (Headroom::default(), |seconds| Tick::START.after(Duration::from_secs(seconds)));
        assert_eq!(headroom.share(refill, at(0)), 1.0);
        headroom.admitted(5, at(3));
        let shares = [3, 5, 60].map(|second| headroom.share(refill, at(second)));
        assert!((shares[0] - 0.5).abs() < 1e-6 && (shares[1] - 0.7).abs() < 1e-6, "{shares:?}");
        assert_eq!(shares[2], 1.0);
        assert_eq!(headroom.share(refill, at(0)), 0.5, "a look from before");
        headroom.admitted(0, at(60));
        assert_eq!(headroom.share(refill, at(60)), 0.0);
    }
}
