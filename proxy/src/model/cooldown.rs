//! Timed exclusion of an endpoint, and its gradual return.
//!
//! A cooldown begins when the retry policy asks for one. A backoff lasts up to `min(max, base *
//! 2^n)`, where n counts the cooldowns in a row from 1 (azoth-balancer's formula); a random share
//! of it is subtracted ("full jitter" when the share is 1), so that endpoints that failed together
//! aren't tried together. Failures during a cooldown don't escalate: ten requests that fail
//! together are one event.
//!
//! ```text
//! clear ── cooldown ──► cooling ── time ──► half-open ── a trial succeeds ──► ramp ── time, a success ──► clear
//!                          ▲                    │                               │
//!                          └── n + 1 ── fails ──┴───────────────────────────────┘
//! ```
//!
//! Invariant: an endpoint that failed never gets its traffic back at once. After its cooldown it is
//! *half-open*: one trial at a time, a request or a probe, decides. Then its share of the traffic
//! grows over a *ramp*, as long as the cooldown was and at most [`MAX_RAMP`] (Envoy's slow start).
//! A success of an attempt that began before the cooldown proves nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Tick;

/// Bounds of the exponential backoff, from the upstream's conf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Half of the first cooldown.
    pub base: Duration,
    /// The longest backoff.
    pub max: Duration,
    /// The random share of a backoff, 0 to 1.
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

/// The share of its traffic that an endpoint gets at the start of its ramp (Envoy's
/// `min_weight_percent`).
const RAMP_START: f32 = 0.1;
/// The longest ramp.
const MAX_RAMP: Duration = Duration::from_secs(10);

/// An endpoint's cooldown. Lock-free; writers race benignly, the later end wins.
#[derive(Debug, Default)]
pub struct Cooldown {
    since: AtomicU64,
    until: AtomicU64,
    /// Milliseconds from the end to a trial's success, plus one; 0 before that.
    ramp_after: AtomicU32,
    /// Cooldowns in a row. In the usual case, 0, a decision reads only this field.
    attempts: AtomicU32,
}

/// The state of an endpoint between a failure and its full traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CooldownState {
    /// The endpoint is not restricted.
    Clear,
    /// The endpoint is excluded for this long.
    Cooling(Duration),
    /// The cooldown ended this long ago, and no trial has succeeded yet.
    HalfOpen(Duration),
    /// The endpoint gets this share of its traffic, 0 to 1.
    Ramp(f32),
}

impl Cooldown {
    /// The state at `now`.
    pub fn state(&self, now: Tick) -> CooldownState {
        if self.attempts.load(Relaxed) == 0 {
            return CooldownState::Clear;
        }
        let until = Tick::from_nanos(self.until.load(Relaxed));
        if until > now {
            return CooldownState::Cooling(until.since(now));
        }
        let Some(ramp_after) = self.ramp_after.load(Relaxed).checked_sub(1) else {
            return CooldownState::HalfOpen(now.since(until));
        };
        let length = until.since(Tick::from_nanos(self.since.load(Relaxed))).min(MAX_RAMP);
        let elapsed = now.since(until.after(Duration::from_millis(u64::from(ramp_after))));
        if elapsed >= length {
            return CooldownState::Clear;
        }
        CooldownState::Ramp(RAMP_START + (1.0 - RAMP_START) * elapsed.div_duration_f32(length))
    }

    /// Whether the endpoint has no cooldown on record: the usual case, for one load.
    pub fn is_clear(&self) -> bool {
        self.attempts.load(Relaxed) == 0
    }

    /// Time left of the cooldown; `None` when there is none.
    pub fn remaining(&self, now: Tick) -> Option<Duration> {
        let until = self.until.load(Relaxed);
        (until > now.as_nanos()).then(|| Duration::from_nanos(until - now.as_nanos()))
    }

    /// Number of cooldowns in a row, until a success after a ramp.
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Relaxed)
    }

    /// Starts the next backoff, unless the endpoint is cooling already. Returns whether one began.
    /// `random` is from 0 to 1.
    pub fn back_off(&self, now: Tick, backoff: Backoff, random: f32) -> bool {
        if self.remaining(now).is_some() {
            return false;
        }
        let n = self.attempts.load(Relaxed).saturating_add(1);
        self.begin(now, backoff.nth(n, random))
    }

    /// Cools for `duration`, or longer if a longer cooldown is running. Returns whether a cooldown
    /// began.
    pub fn hold(&self, now: Tick, duration: Duration) -> bool {
        if self.remaining(now).is_some() {
            self.until.fetch_max(now.after(duration).as_nanos(), Relaxed);
            return false;
        }
        self.begin(now, duration)
    }

    /// Records at `now` the success of an attempt that began at `started`.
    pub fn succeed(&self, started: Tick, now: Tick) {
        // The usual case first: nothing to reset, so the line stays shared between the cores.
        let attempts = self.attempts.load(Relaxed);
        if attempts == 0 || started.as_nanos() < self.since.load(Relaxed) {
            return;
        }
        match self.state(now) {
            CooldownState::Cooling(_) => {
                self.ramp_after.store(1, Relaxed);
                self.until.store(now.as_nanos(), Relaxed);
            }
            CooldownState::HalfOpen(since) => {
                let after = u32::try_from(since.as_millis()).unwrap_or(u32::MAX);
                self.ramp_after.store(after.saturating_add(1), Relaxed);
            }
            CooldownState::Ramp(_) => {}
            // Fails if another cooldown begins at this moment, which then counts.
            CooldownState::Clear => drop(self.attempts.compare_exchange(attempts, 0, Relaxed, Relaxed)),
        }
    }

    fn begin(&self, now: Tick, duration: Duration) -> bool {
        if duration.is_zero() {
            return false;
        }
        self.ramp_after.store(0, Relaxed);
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
    fn after_its_cooldown_an_endpoint_is_half_open_until_a_trial_succeeds() {
        let cooldown = Cooldown::default();
        assert_eq!(cooldown.state(at(10)), CooldownState::Clear);
        cooldown.back_off(at(10), BACKOFF, 0.0);
        assert_eq!(cooldown.state(at(12)), CooldownState::Cooling(Duration::from_secs(4)));
        assert_eq!(cooldown.state(at(16)), CooldownState::HalfOpen(Duration::ZERO));
        assert_eq!(cooldown.state(at(99)), CooldownState::HalfOpen(Duration::from_secs(83)));
        cooldown.succeed(at(9), at(99));
        assert!(matches!(cooldown.state(at(99)), CooldownState::HalfOpen(_)), "begun before the cooldown");
        cooldown.succeed(at(99), at(100));
        assert_eq!(cooldown.state(at(100)), CooldownState::Ramp(RAMP_START));
    }

    #[test]
    fn the_ramp_is_as_long_as_the_cooldown_and_only_a_success_at_its_end_forgets() {
        let cooldown = Cooldown::default();
        cooldown.back_off(at(10), BACKOFF, 0.0);
        cooldown.succeed(at(16), at(20));
        let share = |second| match cooldown.state(at(second)) {
            CooldownState::Ramp(share) => share,
            state => panic!("{state:?}"),
        };
        assert!((share(23) - 0.55).abs() < 1e-6, "{}", share(23));
        cooldown.succeed(at(23), at(24));
        assert_eq!((cooldown.state(at(26)), cooldown.attempts()), (CooldownState::Clear, 1));
        cooldown.succeed(at(26), at(26));
        assert_eq!(cooldown.attempts(), 0);
        // The ramp after a long cooldown is shortened.
        cooldown.hold(at(100), Duration::from_secs(3_600));
        cooldown.succeed(at(3_700), at(3_700));
        assert_eq!(cooldown.state(at(3_710)), CooldownState::Clear);
    }

    #[test]
    fn a_failure_on_the_ramp_is_the_next_cooldown_and_not_the_first() {
        let cooldown = Cooldown::default();
        cooldown.back_off(at(10), BACKOFF, 0.0);
        cooldown.succeed(at(16), at(16));
        assert!(cooldown.back_off(at(17), BACKOFF, 0.0));
        assert_eq!(cooldown.state(at(17)), CooldownState::Cooling(Duration::from_secs(12)));
        assert!(matches!(cooldown.state(at(29)), CooldownState::HalfOpen(_)), "the old trial doesn't count");
    }

    #[test]
    fn a_success_ends_a_cooldown_early_if_it_began_after_it() {
        let cooldown = Cooldown::default();
        cooldown.back_off(at(10), BACKOFF, 0.0);
        cooldown.succeed(at(9), at(11));
        assert!(cooldown.remaining(at(11)).is_some());
        cooldown.succeed(at(11), at(12));
        assert_eq!(cooldown.remaining(at(12)), None);
        assert_eq!(cooldown.state(at(12)), CooldownState::Ramp(RAMP_START));
        assert_eq!(cooldown.state(at(14)), CooldownState::Clear);
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
