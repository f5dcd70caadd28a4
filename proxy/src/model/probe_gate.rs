//! The rate limit of probes that failed requests trigger.
//!
//! Invariant: clients can trigger at most one probe of an endpoint per second, and at most one per
//! ten seconds while it answers: a probe costs a metered provider's credits. A probe under way
//! covers all failures of that time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Tick;

/// The pause between probes of an endpoint that answers no request well.
const GAP: Duration = Duration::from_secs(1);
/// The pause between probes of an endpoint that does.
const GAP_WHILE_ALIVE: Duration = Duration::from_secs(10);
/// A probe without an end is considered over after this time.
const LIMIT: Duration = Duration::from_secs(60);

/// The time at which the next probe may begin.
#[derive(Debug, Default)]
pub struct ProbeGate(AtomicU64);

impl ProbeGate {
    /// Begins a probe if one may begin now. It is under way until [`ProbeGate::leave`].
    pub fn enter(&self, now: Tick) -> bool {
        let next = self.0.load(Relaxed);
        let limit = now.after(LIMIT).as_nanos();
        next <= now.as_nanos() && self.0.compare_exchange(next, limit, Relaxed, Relaxed).is_ok()
    }

    /// Ends a probe at `now`.
    pub fn leave(&self, now: Tick, is_alive: bool) {
        let gap = if is_alive { GAP_WHILE_ALIVE } else { GAP };
        self.0.store(now.after(gap).as_nanos(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_at_a_time_and_then_a_pause() {
        let (gate, at) = (ProbeGate::default(), |seconds| Tick::START.after(Duration::from_secs(seconds)));
        assert!(gate.enter(at(0)) && !gate.enter(at(1)));
        gate.leave(at(1), false);
        assert!(!gate.enter(at(1)) && gate.enter(at(2)));
        gate.leave(at(2), true);
        assert!(!gate.enter(at(11)) && gate.enter(at(12)));
        assert!(gate.enter(at(72)), "nobody ended it");
    }
}
