//! How full a rate limiter's bucket is, without asking it.
//!
//! An estimate for scoring, kept where the rest of what a decision reads is. Lock-free; a reader
//! may see the number of one admission with the instant of another. After a change of the limit it
//! is that of the bucket before until the first admission, or until it is full.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::Tick;

/// What the bucket held after the last admission.
#[derive(Debug)]
pub struct Headroom {
    left_at: AtomicU64,
    left: AtomicU32,
}

/// How a bucket empties and fills, in shares of the whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketRate {
    per_request: f32,
    per_ms: f32,
}

impl BucketRate {
    /// That of a bucket for `burst` requests, of which `per_sec` come back each second.
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
    /// After an admission `left` more would have been admitted.
    pub fn admitted(&self, left: u32, now: Tick) {
        self.left.store(left, Relaxed);
        self.left_at.store(now.as_nanos(), Relaxed);
    }

    /// The share of the bucket that is free, 0 to 1: what was left, and what has come in since.
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
