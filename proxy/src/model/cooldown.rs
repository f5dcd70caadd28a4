//! Timed exclusion of an endpoint.
//!
//! Trips when the retry policy asks for it. A backoff lasts up to `min(max, base * 2^n)` with n counting the
//! cooldowns in a row from 1, the formula of azoth-balancer; a share of it is random ("full jitter" when all of it is), so that
//! endpoints that failed together aren't asked again together. While an endpoint is cooling further failures do not
//! escalate: ten requests that fail together are one event. It recovers by time, or at once by a success of an
//! attempt that began after the cooldown did; only such a success resets n, since an older one proves nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Tick;

/// Bounds of the exponential backoff, from the upstream's conf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Half of the first cooldown.
    pub base: Duration,
    /// No backoff lasts longer.
    pub max: Duration,
    /// The share of it that is random, 0 to 1.
    pub jitter: f32,
}

impl Backoff {
    /// The length of the `n`-th cooldown in a row; `random` is from 0 to 1.
    pub fn nth(self, n: u32, random: f32) -> Duration {
        let factor = 1_u32.checked_shl(n).unwrap_or(u32::MAX);
        let most = self.base.saturating_mul(factor).min(self.max);
        most.mul_f32((1.0 - self.jitter * random).clamp(0.0, 1.0))
    }
}

/// An endpoint's cooldown. Lock-free; writers race benignly, the later end wins.
#[derive(Debug, Default)]
pub struct Cooldown {
    since: AtomicU64,
    until: AtomicU64,
    attempts: AtomicU32,
}

impl Cooldown {
    /// How long the endpoint still cools; `None` when it doesn't.
    pub fn remaining(&self, now: Tick) -> Option<Duration> {
        let until = self.until.load(Relaxed);
        (until > now.as_nanos()).then(|| Duration::from_nanos(until - now.as_nanos()))
    }

    /// Cooldowns in a row without a success.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Relaxed)
    }

    /// Starts the next backoff, unless the endpoint is cooling already. Returns whether one began. `random` is from 0 to 1.
    pub fn back_off(&self, now: Tick, backoff: Backoff, random: f32) -> bool {
        if self.remaining(now).is_some() {
            return false;
        }
        let n = self.attempts.load(Relaxed).saturating_add(1);
        self.begin(now, backoff.nth(n, random))
    }

    /// Cools for `duration`, or longer if a longer cooldown is running. Returns whether a cooldown began.
    pub fn hold(&self, now: Tick, duration: Duration) -> bool {
        if self.remaining(now).is_some() {
            self.until.fetch_max(now.after(duration).as_nanos(), Relaxed);
            return false;
        }
        self.begin(now, duration)
    }

    /// A success of an attempt that began at `started`.
    pub fn succeed(&self, started: Tick) {
        // The usual case first: nothing to reset, so the line stays shared between the cores.
        if self.attempts.load(Relaxed) == 0 || started.as_nanos() < self.since.load(Relaxed) {
            return;
        }
        self.attempts.store(0, Relaxed);
        self.until.store(0, Relaxed);
    }

    fn begin(&self, now: Tick, duration: Duration) -> bool {
        if duration.is_zero() {
            return false;
        }
        self.since.store(now.as_nanos(), Relaxed);
        self.until.store(now.after(duration).as_nanos(), Relaxed);
        let n = self.attempts.load(Relaxed);
        self.attempts.store(n.saturating_add(1), Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(3), max: Duration::from_secs(60), jitter: 0.0 };

    fn at(seconds: u64) -> Tick {
        Tick::START.after(Duration::from_secs(seconds))
    }

    #[test]
    fn backoff_doubles_up_to_its_cap_and_never_overflows() {
        let seconds: Vec<u64> = (1..=5).map(|n| BACKOFF.nth(n, 1.0).as_secs()).collect();
        assert_eq!(seconds, [6, 12, 24, 48, 60]);
        assert_eq!(BACKOFF.nth(u32::MAX, 1.0), BACKOFF.max);
    }

    #[test]
    fn jitter_takes_a_random_share_away() {
        let full = Backoff { jitter: 1.0, ..BACKOFF };
        assert_eq!([0.0, 0.5, 1.0].map(|random| full.nth(1, random).as_secs()), [6, 3, 0]);
        let half = Backoff { jitter: 0.5, ..BACKOFF };
        assert_eq!([0.0, 1.0].map(|random| half.nth(9, random).as_secs()), [60, 30]);
    }

    #[test]
    fn failures_that_arrive_together_are_one_cooldown() {
        let cooldown = Cooldown::default();
        assert!(cooldown.back_off(at(1), BACKOFF, 0.0));
        assert!(!cooldown.back_off(at(2), BACKOFF, 0.0));
        assert_eq!(cooldown.attempts(), 1);
        assert_eq!(cooldown.remaining(at(2)), Some(Duration::from_secs(5)));
        assert_eq!(cooldown.remaining(at(7)), None);
        assert!(cooldown.back_off(at(7), BACKOFF, 0.0));
        assert_eq!(cooldown.remaining(at(7)), Some(Duration::from_secs(12)));
    }

    #[test]
    fn only_a_success_begun_after_the_cooldown_resets_it() {
        let cooldown = Cooldown::default();
        cooldown.back_off(at(10), BACKOFF, 0.0);
        cooldown.succeed(at(9));
        assert_eq!(cooldown.attempts(), 1);
        assert!(cooldown.remaining(at(11)).is_some());
        cooldown.succeed(at(11));
        assert_eq!(cooldown.attempts(), 0);
        assert_eq!(cooldown.remaining(at(11)), None);
    }

    #[test]
    fn a_fixed_cooldown_extends_but_never_shortens() {
        let cooldown = Cooldown::default();
        assert!(cooldown.hold(at(0), Duration::from_secs(10)));
        assert!(!cooldown.hold(at(1), Duration::from_secs(2)));
        assert_eq!(cooldown.remaining(at(1)), Some(Duration::from_secs(9)));
        assert!(!cooldown.hold(at(1), Duration::from_secs(20)));
        assert_eq!(cooldown.remaining(at(1)), Some(Duration::from_secs(20)));
        assert!(!Cooldown::default().hold(at(0), Duration::ZERO));
    }
}
