//! Quarantine of a policy that faults repeatedly.
//!
//! Trips at [`FAULTS`] faults within [`WINDOW`]: the policy is then no longer called. After a
//! backoff one call is a trial, while the others still skip the policy. If the trial is good, the
//! quarantine ends and its history is cleared; if it faults, the backoff doubles, up to
//! [`LONGEST`]. A fault of a call that began before the quarantine has no effect.
//!
//! A policy outside quarantine costs one relaxed load per call. The lock is taken only after faults
//! and trials.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Tick;

/// The number of faults within [`WINDOW`] that trips the quarantine.
const FAULTS: usize = 5;
/// Long enough for a policy that faults on a rare kind of request, short enough to forget one bad
/// request a minute.
const WINDOW: Duration = Duration::from_secs(10);
/// The first backoff. A reload with a fixed plugin takes about as long.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest backoff: a policy that has recovered is back within a minute.
const LONGEST: Duration = Duration::from_secs(60);
/// A trial without a result for this long is repeated. A call takes milliseconds at most.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// The quarantine of one policy.
#[derive(Debug, Default)]
pub struct Quarantine {
    /// The time of the next trial, in nanoseconds; 0 without a quarantine.
    until: AtomicU64,
    begun: AtomicU64,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    /// The latest faults, the oldest at `next`.
    faults: [Option<Tick>; FAULTS],
    next: usize,
    /// Consecutive trials that faulted.
    failed_trials: u32,
}

/// The admission of a call to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// There is no quarantine.
    Free,
    /// The call is the trial that decides whether the quarantine ends.
    HalfOpen,
    /// The policy must not be called.
    Refused,
}

impl Quarantine {
    /// Admits a call to the policy or refuses it. `now` is only evaluated during a quarantine.
    pub fn enter(&self, now: impl FnOnce() -> Tick) -> Entry {
        let until = self.until.load(Relaxed);
        if until == 0 {
            return Entry::Free;
        }
        let now = now();
        if now.as_nanos() < until {
            return Entry::Refused;
        }
        // Of concurrent calls one becomes the trial.
        let next = now.after(TRIAL_PATIENCE).as_nanos();
        match self.until.compare_exchange(until, next, Relaxed, Relaxed) {
            Ok(_) => Entry::HalfOpen,
            Err(_) => Entry::Refused,
        }
    }

    /// Records a fault of a call outside quarantine. Returns the backoff if it trips the
    /// quarantine.
    pub fn fault(&self, now: Tick) -> Option<Duration> {
        let mut history = self.history();
        if self.is_active() {
            return None;
        }
        let next = history.next;
        history.faults[next] = Some(now);
        history.next = (next + 1) % FAULTS;
        let oldest = history.faults[history.next]?;
        if now.since(oldest) >= WINDOW {
            return None;
        }
        self.begun.fetch_add(1, Relaxed);
        Some(self.back_off(&history, now))
    }

    /// Records a fault of the trial. Returns the next backoff.
    pub fn trial_failed(&self, now: Tick) -> Duration {
        let mut history = self.history();
        history.failed_trials = history.failed_trials.saturating_add(1);
        self.back_off(&history, now)
    }

    /// Records a good trial, which ends the quarantine.
    pub fn trial_passed(&self) {
        let mut history = self.history();
        *history = History::default();
        self.until.store(0, Relaxed);
    }

    /// Records a trial without a result: the next call is a trial.
    pub fn trial_postponed(&self, now: Tick) {
        let _history = self.history();
        self.until.store(now.as_nanos().max(1), Relaxed);
    }

    /// Whether the policy is in quarantine.
    pub fn is_active(&self) -> bool {
        self.until.load(Relaxed) != 0
    }

    /// Time until the next trial; `None` outside quarantine.
    pub fn remaining(&self, now: Tick) -> Option<Duration> {
        let until = self.until.load(Relaxed);
        (until != 0).then(|| Tick::from_nanos(until).since(now))
    }

    /// The number of quarantines so far.
    pub fn count(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    fn back_off(&self, history: &History, now: Tick) -> Duration {
        let factor = 1_u32.checked_shl(history.failed_trials).unwrap_or(u32::MAX);
        let backoff = SHORTEST.saturating_mul(factor).min(LONGEST);
        self.until.store(now.after(backoff).as_nanos(), Relaxed);
        backoff
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // No code holding the lock panics between two related changes.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::START.after(Duration::from_millis(millis))
    }

    fn enter(quarantine: &Quarantine, millis: u64) -> Entry {
        quarantine.enter(|| at(millis))
    }

    /// In quarantine since `millis`.
    fn tripped(millis: u64) -> Quarantine {
        let quarantine = Quarantine::default();
        assert!((1..FAULTS).all(|_| quarantine.fault(at(millis)).is_none()));
        assert_eq!(quarantine.fault(at(millis)), Some(SHORTEST));
        quarantine
    }

    #[test]
    fn five_faults_within_ten_seconds_trip_it() {
        let quarantine = Quarantine::default();
        for millis in [0, 2_500, 5_000, 7_500, 10_000, 12_500] {
            assert_eq!(quarantine.fault(at(millis)), None, "never five in less than ten seconds");
        }
        assert_eq!(quarantine.enter(|| panic!("the clock is not read")), Entry::Free);
        assert_eq!(quarantine.fault(at(14_999)), Some(SHORTEST));
        assert_eq!(enter(&quarantine, 15_000), Entry::Refused);
        assert_eq!(quarantine.count(), 1);
        assert_eq!(quarantine.remaining(at(15_999 - 250)), Some(Duration::from_millis(250)));
    }

    #[test]
    fn one_trial_at_a_time_and_a_good_one_ends_it() {
        let quarantine = tripped(1);
        assert_eq!(enter(&quarantine, 1_000), Entry::Refused);
        assert_eq!(enter(&quarantine, 1_001), Entry::HalfOpen);
        assert_eq!(enter(&quarantine, 1_001), Entry::Refused, "one is under way");
        quarantine.trial_passed();
        assert_eq!(enter(&quarantine, 1_001), Entry::Free);
        assert_eq!(quarantine.remaining(at(1_001)), None);
        assert_eq!(quarantine.fault(at(1_002)), None, "the faults before are forgotten");
        assert_eq!(quarantine.count(), 1);
    }

    #[test]
    fn the_backoff_doubles_up_to_its_cap_and_starts_anew() {
        let quarantine = tripped(1);
        let mut millis = 1_001;
        let mut backoffs = Vec::new();
        for _ in 0..40 {
            assert_eq!(enter(&quarantine, millis), Entry::HalfOpen);
            let backoff = quarantine.trial_failed(at(millis));
            backoffs.push(backoff.as_secs());
            millis += u64::try_from(backoff.as_millis()).unwrap();
            assert_eq!(enter(&quarantine, millis - 1), Entry::Refused);
        }
        assert_eq!(backoffs[..7], [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoffs.last(), Some(&60), "and never overflows");
        assert_eq!(quarantine.count(), 1, "it is one quarantine all the time");
        quarantine.trial_passed();
        assert!((1..FAULTS).all(|_| quarantine.fault(at(millis)).is_none()));
        assert_eq!(quarantine.fault(at(millis)), Some(SHORTEST));
        assert_eq!(quarantine.count(), 2);
    }

    #[test]
    fn a_fault_of_an_earlier_call_changes_nothing() {
        let quarantine = tripped(1);
        assert_eq!(quarantine.fault(at(2)), None);
        assert_eq!(quarantine.count(), 1);
        assert_eq!(enter(&quarantine, 1_001), Entry::HalfOpen);
    }

    #[test]
    fn a_trial_that_tells_nothing_is_repeated() {
        let quarantine = tripped(1);
        assert_eq!(enter(&quarantine, 1_001), Entry::HalfOpen);
        quarantine.trial_postponed(at(1_001));
        assert_eq!(enter(&quarantine, 1_001), Entry::HalfOpen);
        assert_eq!(enter(&quarantine, 2_000), Entry::Refused);
        assert_eq!(enter(&quarantine, 2_001), Entry::HalfOpen, "its thread may have died");
    }
}
