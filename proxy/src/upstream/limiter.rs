//! An endpoint's rate limiter, and how full its bucket is.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::config::RateLimit;
use crate::model::Tick;

/// One clock for all: making one asks the processor what it is, which a virtual machine takes some 25 us for.
static CLOCK: LazyLock<DefaultClock> = LazyLock::new(DefaultClock::default);

/// A token bucket (GCRA, by governor) that also tells its headroom without taking from it.
///
/// What the headroom is worked out of lies together, on one cache line.
#[repr(C, align(64))]
pub struct Limiter {
    left_at: AtomicU64,
    left: AtomicU32,
    limit: RateLimit,
    bucket: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

impl Limiter {
    /// A full bucket.
    pub fn new(limit: RateLimit) -> Self {
        let quota = Quota::per_second(limit.per_sec).allow_burst(limit.burst);
        Limiter {
            bucket: RateLimiter::direct_with_clock(quota, CLOCK.clone()).with_middleware(),
            limit,
            left: AtomicU32::new(limit.burst.get()),
            left_at: AtomicU64::new(0),
        }
    }

    /// The rate and burst it was made for.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes `requests` from the bucket if it holds as many. A batch that is larger than the burst needs a full bucket:
    /// otherwise it could never pass.
    ///
    /// # Errors
    /// How long it will take until the bucket holds as many.
    pub fn admit(&self, requests: u32, now: Tick) -> Result<(), Duration> {
        let wanted = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN).min(self.limit.burst);
        match self.bucket.check_n(wanted) {
            Ok(Ok(state)) => {
                self.left.store(state.remaining_burst_capacity(), Relaxed);
                self.left_at.store(now.as_nanos(), Relaxed);
                Ok(())
            }
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.bucket.clock().now())),
            // Never: `wanted` is at most the burst.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }

    /// The share of the burst that is free, 0 to 1: what was left after the last admission, and what has come in since.
    pub fn headroom(&self, now: Tick) -> f32 {
        let since = now.millis_since(Tick::from_nanos(self.left_at.load(Relaxed)));
        let refilled = since / 1_000.0 * self.limit.per_sec.get() as f32;
        let left = self.left.load(Relaxed) as f32 + refilled;
        (left / self.limit.burst.get() as f32).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_sec: u32, burst: u32) -> Limiter {
        Limiter::new(RateLimit { per_sec: NonZeroU32::new(per_sec).unwrap(), burst: NonZeroU32::new(burst).unwrap() })
    }

    #[test]
    fn a_batch_counts_its_members() {
        let limiter = limiter(1, 10);
        assert_eq!(limiter.admit(8, Tick::START), Ok(()));
        let wait = limiter.admit(3, Tick::START).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limiter.admit(2, Tick::START), Ok(()));
    }

    #[test]
    fn a_batch_over_the_burst_needs_a_full_bucket() {
        let limiter = limiter(1, 10);
        assert!(limiter.admit(50, Tick::START).is_ok());
        assert!(limiter.admit(50, Tick::START).is_err());
    }

    #[test]
    fn headroom_falls_with_admissions_and_comes_back_with_time() {
        let limiter = limiter(1, 10);
        assert_eq!(limiter.headroom(Tick::START), 1.0);
        limiter.admit(5, Tick::START).unwrap();
        assert_eq!(limiter.headroom(Tick::START), 0.5);
        assert_eq!(limiter.headroom(Tick::START.after(Duration::from_secs(2))), 0.7);
        assert_eq!(limiter.headroom(Tick::START.after(Duration::from_secs(60))), 1.0);
    }
}
