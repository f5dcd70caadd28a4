//! How much policies have used of a request, all their calls together.
//!
//! Counted in fuel, a nanosecond per unit: reading the clock around every call would cost as much as a small call, and a thread
//! that the system didn't run for a while would look like a slow policy. So the count is the same on every machine, and
//! a recorded request replays.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The time that policies used of one request. A part of a batch begins with what the whole one has used.
#[derive(Debug, Default)]
pub struct PolicyTime(AtomicU64);

impl PolicyTime {
    /// Whether there is something left of `budget`.
    pub fn is_within(&self, budget: Duration) -> bool {
        u128::from(self.0.load(Relaxed)) < budget.as_nanos()
    }

    /// Adds a call. True if it is the one that used up `budget`.
    pub fn spend(&self, fuel: u64, budget: Duration) -> bool {
        // One thread at a time works on a request: nothing is lost between the two.
        let before = self.0.load(Relaxed);
        let after = before.saturating_add(fuel);
        self.0.store(after, Relaxed);
        u128::from(before) < budget.as_nanos() && u128::from(after) >= budget.as_nanos()
    }
}

impl Clone for PolicyTime {
    fn clone(&self) -> Self {
        PolicyTime(AtomicU64::new(self.0.load(Relaxed)))
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
}
