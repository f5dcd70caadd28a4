//! How often failed requests may have an endpoint probed.
//!
//! Invariant: clients can't have an endpoint probed more than once a second, nor more than once in
//! ten while it answers: a probe costs a metered provider's credits. One that is under way counts
//! for all failures of that time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Tick;

/// Between probes of an endpoint that answers nobody well.
const GAP: Duration = Duration::from_secs(1);
/// Between probes of one that does.
const GAP_WHILE_ALIVE: Duration = Duration::from_secs(10);
/// A probe that nobody ended is over.
const LIMIT: Duration = Duration::from_secs(60);

/// When the next probe may begin.
#[derive(Debug, Default)]
pub struct ProbeGate(AtomicU64);

impl ProbeGate {
    /// Whether a probe may begin now. It is then under way until [`ProbeGate::leave`].
    pub fn enter(&self, now: Tick) -> bool {
        let next = self.0.load(Relaxed);
        let limit = now.after(LIMIT).as_nanos();
        next <= now.as_nanos() && self.0.compare_exchange(next, limit, Relaxed, Relaxed).is_ok()
    }

    /// A probe ended at `now`.
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
