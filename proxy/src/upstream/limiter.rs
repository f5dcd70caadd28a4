//! The rate limiter of an endpoint.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::config::RateLimit;

/// One clock for all: creating one identifies the processor, which takes some 25 us in a virtual
/// machine.
static CLOCK: LazyLock<DefaultClock> = LazyLock::new(DefaultClock::default);

/// A token bucket (GCRA, by governor).
pub struct Limiter {
    bucket: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
    limit: RateLimit,
}

impl Limiter {
    /// A limiter with a full bucket.
    pub fn new(limit: RateLimit) -> Self {
        let quota = Quota::per_second(limit.per_sec).allow_burst(limit.burst);
        Limiter { bucket: RateLimiter::direct_with_clock(quota, CLOCK.clone()).with_middleware(), limit }
    }

    /// The rate and burst of the limiter.
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes `requests` from the bucket if it holds enough, and returns the number left. A batch
    /// that is larger than the burst needs a full bucket: otherwise it could never pass.
    ///
    /// # Errors
    /// The time until the bucket holds enough.
    pub fn admit(&self, requests: u32) -> Result<u32, Duration> {
        let wanted = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN).min(self.limit.burst);
        match self.bucket.check_n(wanted) {
            Ok(Ok(state)) => Ok(state.remaining_burst_capacity()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.bucket.clock().now())),
            // Unreachable: `wanted` is at most the burst.
            Err(_) => Err(Duration::from_secs(1)),
        }
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
        assert_eq!(limiter.admit(8), Ok(2));
        let wait = limiter.admit(3).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limiter.admit(2), Ok(0));
    }

    #[test]
    fn a_batch_over_the_burst_needs_a_full_bucket() {
        let limiter = limiter(1, 10);
        assert!(limiter.admit(50).is_ok());
        assert!(limiter.admit(50).is_err());
    }
}
