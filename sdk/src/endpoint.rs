//! The endpoint row.

use std::mem::offset_of;

/// A candidate endpoint: the ABI's endpoint row, 64 bytes.
///
/// The fields are public so that tests can write `Endpoint { weight: 60, ..Endpoint::default() }`.
/// Latencies and times are in milliseconds. An unknown `f32` is NaN; the accessor of the same name
/// without the unit returns an `Option`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Endpoint {
    /// Position in the upstream's endpoint table. Stable until the next reload and across the
    /// attempts of a request.
    pub index: u32,
    /// [`Endpoint::COOLING`], [`Endpoint::UNHEALTHY`], [`Endpoint::BANNED`].
    pub flags: u32,
    /// Configured weight, 1 to 65,535.
    pub weight: u32,
    /// Attempts in flight at this endpoint.
    pub in_flight: u32,
    /// Failures since the last success, saturating.
    pub consecutive_failures: u16,
    /// Cooldowns since the last success, saturating.
    pub cooldown_attempts: u16,
    /// Latency EWMA. A new endpoint starts at the upstream's timeout.
    pub latency_ms: f32,
    /// Bit *n* is set if the endpoint has the *n*-th tag of [`Policy::TAGS`](crate::Policy::TAGS);
    /// if that list is empty or the proxy is older than version 1.2, the *n*-th of the upstream's
    /// tags in alphabetical order.
    pub tags: u64,
    /// Peak-sensitive latency EWMA: it rises at once and decays with a time constant of 1 s (10 s
    /// with a proxy of ABI 1.0). Since ABI 1.1 the ages of attempts in flight are a lower bound.
    pub latency_peak_ms: f32,
    /// Estimated 99th percentile of recent latency; NaN before the first sample.
    pub latency_p99_ms: f32,
    /// EWMA of error penalties; 0 if healthy.
    pub penalty_ms: f32,
    /// EWMA of successes, 0 to 1; 1 for a new endpoint.
    pub success_rate: f32,
    /// Free share of the rate limiter's burst, 0 to 1; 1 without a limiter.
    pub limiter_headroom: f32,
    /// Blocks behind the pool's highest head, measured by health checks; NaN without them.
    pub head_lag_blocks: f32,
    /// Configured price; NaN if not set.
    pub price: f32,
    /// Time since the endpoint was last selected; infinity if never.
    pub idle_ms: f32,
}

impl Endpoint {
    /// Flag: the endpoint is in cooldown. Set only in a panic, when every endpoint is excluded.
    pub const COOLING: u32 = 1;
    /// Flag: the endpoint fails its health checks. Set only in a panic.
    pub const UNHEALTHY: u32 = 1 << 1;
    /// Flag: this method is banned at the endpoint. Set only in a panic.
    pub const BANNED: u32 = 1 << 2;

    /// Returns `true` if the endpoint is in cooldown.
    pub fn is_cooling(&self) -> bool {
        self.flags & Self::COOLING != 0
    }

    /// Returns `true` if the endpoint fails its health checks.
    pub fn is_unhealthy(&self) -> bool {
        self.flags & Self::UNHEALTHY != 0
    }

    /// Returns `true` if this method is banned at the endpoint because it doesn't support it.
    pub fn is_banned(&self) -> bool {
        self.flags & Self::BANNED != 0
    }

    /// Returns `true` if the endpoint is a candidate only because of a panic: in cooldown,
    /// unhealthy or banned.
    pub fn is_excluded(&self) -> bool {
        self.flags & (Self::COOLING | Self::UNHEALTHY | Self::BANNED) != 0
    }

    /// Returns `true` if the endpoint has tag number `n`, as [`Endpoint::tags`] numbers them;
    /// `false` from 64 on. [`tag_number`](crate::tag_number) returns a tag's number.
    pub fn has_tag(&self, n: u32) -> bool {
        self.tags.checked_shr(n).is_some_and(|tags| tags & 1 != 0)
    }

    /// Returns `true` if a latency has been measured. Until then `latency_ms` and `latency_peak_ms`
    /// are initial values.
    pub fn is_measured(&self) -> bool {
        !self.latency_p99_ms.is_nan()
    }

    /// Returns the estimated 99th percentile of recent latency in milliseconds.
    pub fn latency_p99(&self) -> Option<f32> {
        known(self.latency_p99_ms)
    }

    /// Returns the number of blocks behind the pool's highest head.
    pub fn head_lag(&self) -> Option<f32> {
        known(self.head_lag_blocks)
    }

    /// Returns the configured price.
    pub fn price(&self) -> Option<f32> {
        known(self.price)
    }

    /// Returns the milliseconds since the endpoint was last selected.
    pub fn idle(&self) -> Option<f32> {
        Some(self.idle_ms).filter(|idle| idle.is_finite())
    }
}

fn known(value: f32) -> Option<f32> {
    Some(value).filter(|value| !value.is_nan())
}

/// A healthy, untried endpoint with the default weight 20, in an upstream with a timeout of 5 s.
impl Default for Endpoint {
    fn default() -> Self {
        Endpoint {
            index: 0,
            flags: 0,
            weight: 20,
            in_flight: 0,
            consecutive_failures: 0,
            cooldown_attempts: 0,
            latency_ms: 5_000.0,
            tags: 0,
            latency_peak_ms: 5_000.0,
            latency_p99_ms: f32::NAN,
            penalty_ms: 0.0,
            success_rate: 1.0,
            limiter_headroom: 1.0,
            head_lag_blocks: f32::NAN,
            price: f32::NAN,
            idle_ms: f32::INFINITY,
        }
    }
}

// ABI.md, section 4, "Endpoint row".
const _: () = {
    assert!(size_of::<Endpoint>() == 64 && align_of::<Endpoint>() == 8);
    assert!(offset_of!(Endpoint, index) == 0);
    assert!(offset_of!(Endpoint, flags) == 4);
    assert!(offset_of!(Endpoint, weight) == 8);
    assert!(offset_of!(Endpoint, in_flight) == 12);
    assert!(offset_of!(Endpoint, consecutive_failures) == 16);
    assert!(offset_of!(Endpoint, cooldown_attempts) == 18);
    assert!(offset_of!(Endpoint, latency_ms) == 20);
    assert!(offset_of!(Endpoint, tags) == 24);
    assert!(offset_of!(Endpoint, latency_peak_ms) == 32);
    assert!(offset_of!(Endpoint, latency_p99_ms) == 36);
    assert!(offset_of!(Endpoint, penalty_ms) == 40);
    assert!(offset_of!(Endpoint, success_rate) == 44);
    assert!(offset_of!(Endpoint, limiter_headroom) == 48);
    assert!(offset_of!(Endpoint, head_lag_blocks) == 52);
    assert!(offset_of!(Endpoint, price) == 56);
    assert!(offset_of!(Endpoint, idle_ms) == 60);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_none() {
        let new = Endpoint::default();
        assert_eq!((new.latency_p99(), new.head_lag(), new.price(), new.idle()), (None, None, None, None));
        let used =
            Endpoint { latency_p99_ms: 9.0, head_lag_blocks: 0.0, price: 0.25, idle_ms: 0.0, ..Endpoint::default() };
        assert_eq!((used.latency_p99(), used.head_lag()), (Some(9.0), Some(0.0)));
        assert_eq!((used.price(), used.idle()), (Some(0.25), Some(0.0)));
    }

    #[test]
    fn each_reason_for_an_exclusion_is_its_own() {
        let seen = |flags| {
            let row = Endpoint { flags, ..Endpoint::default() };
            [row.is_cooling(), row.is_unhealthy(), row.is_banned(), row.is_excluded()]
        };
        assert_eq!(seen(0), [false, false, false, false]);
        assert_eq!(seen(1), [true, false, false, true]);
        assert_eq!(seen(2), [false, true, false, true]);
        assert_eq!(seen(4), [false, false, true, true]);
        assert_eq!(seen(8), [false, false, false, false]);
    }

    #[test]
    fn tags_are_bits() {
        let endpoint = Endpoint { tags: 1 << 63 | 1 << 2, ..Endpoint::default() };
        assert!(endpoint.has_tag(2) && endpoint.has_tag(63));
        assert!(!endpoint.has_tag(0) && !endpoint.has_tag(64) && !endpoint.has_tag(66));
    }
}
