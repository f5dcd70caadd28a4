//! The time of all policy calls for one request.
//!
//! Measured in fuel, a nanosecond per unit: reading the clock around every call would cost as much
//! as a small call, and a thread that the system suspended would look like a slow policy. So the
//! measure is the same on every machine, and a recorded request can be replayed.
//!
//! A worker's thread serves many clients. Calls that together took longer than [`LONG`] are
//! followed by a pause in which the others get their turn: see `engine::fairness`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The fuel of calls between two pauses, about 100 µs: a thousand times that of a usual call, and
/// less than a client notices.
const LONG: u64 = 100_000;

/// The time that policies used for one request. A part of a batch starts with the time of the whole
/// batch.
#[derive(Debug, Default)]
pub struct PolicyTime {
    used: AtomicU64,
    /// Work of the proxy itself for calls: it counts for pauses, but for no policy's budget.
    own: AtomicU64,
    /// The time used at the last pause.
    paused_at: AtomicU64,
}

impl PolicyTime {
    /// Whether some of `budget` is left.
    pub fn is_within(&self, budget: Duration) -> bool {
        u128::from(self.used.load(Relaxed)) < budget.as_nanos()
    }

    /// Adds a call. Returns whether this call used up `budget`.
    pub fn spend(&self, fuel: u64, budget: Duration) -> bool {
        // Only one thread works on a request, so no update is lost in between.
        let before = self.used.load(Relaxed);
        let after = before.saturating_add(fuel);
        self.used.store(after, Relaxed);
        u128::from(before) < budget.as_nanos() && u128::from(after) >= budget.as_nanos()
    }

    /// Adds work of the proxy itself, in estimated nanoseconds.
    pub fn work(&self, nanos: u64) {
        self.own.store(self.own.load(Relaxed).saturating_add(nanos), Relaxed);
    }

    /// Whether calls since the last pause took long. If so, records a pause.
    pub fn is_pause_due(&self) -> bool {
        let used = self.used.load(Relaxed).saturating_add(self.own.load(Relaxed));
        let due = used.saturating_sub(self.paused_at.load(Relaxed)) >= LONG;
        if due {
            self.paused_at.store(used, Relaxed);
        }
        due
    }
}

impl Clone for PolicyTime {
    fn clone(&self) -> Self {
        let copy = |of: &AtomicU64| AtomicU64::new(of.load(Relaxed));
        PolicyTime { used: copy(&self.used), own: copy(&self.own), paused_at: copy(&self.paused_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_that_uses_it_up_is_told_once() {
        let (time, budget) = (PolicyTime::default(), Duration::from_nanos(100));
        assert!(time.is_within(budget));
        assert_eq!([60, 39, 1, 1].map(|fuel| time.spend(fuel, budget)), [false, false, true, false]);
        assert!(!time.is_within(budget) && time.is_within(Duration::from_nanos(102)));
        assert!(!time.clone().is_within(budget), "a part of a batch goes on from there");
        assert!(!time.spend(u64::MAX, budget), "and it never overflows");
    }

    #[test]
    fn a_pause_is_due_after_what_took_long_alone_or_together() {
        let time = PolicyTime::default();
        let due_after = |fuel| {
            time.spend(fuel, Duration::MAX);
            time.is_pause_due()
        };
        let due = [100, LONG - 101, 1, 0, LONG, LONG / 2, LONG / 2, 1].map(due_after);
        assert_eq!(due, [false, false, true, false, true, false, true, false]);
        time.work(LONG);
        assert!(time.is_pause_due());
        assert!(!time.is_pause_due());
        time.spend(LONG, Duration::MAX);
        assert!(time.clone().is_pause_due(), "a part of a batch owes it, too");
    }
}
