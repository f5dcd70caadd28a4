//! The slot of the one request that tries a half-open endpoint.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Tick;

/// A slot for one trial. It frees itself at the trial's time limit, if the trial doesn't end
/// before.
#[derive(Debug, Default)]
pub struct TrialSlot(AtomicU64);

impl TrialSlot {
    /// Whether no trial is under way.
    pub fn is_free(&self, now: Tick) -> bool {
        self.0.load(Relaxed) <= now.as_nanos()
    }

    /// Begins a trial that ends at `limit` at the latest. Of concurrent callers one succeeds.
    pub fn begin(&self, now: Tick, limit: Tick) -> bool {
        let seen = self.0.load(Relaxed);
        seen <= now.as_nanos() && self.0.compare_exchange(seen, limit.as_nanos(), Relaxed, Relaxed).is_ok()
    }

    /// Ends the trial whose time limit is `limit`. A later trial is unaffected.
    pub fn end(&self, limit: Tick) {
        let _ = self.0.compare_exchange(limit.as_nanos(), 0, Relaxed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_at_a_time_and_none_for_ever() {
        let at = Tick::from_nanos;
        let trial = TrialSlot::default();
        assert!(trial.begin(at(10), at(20)));
        assert!(!trial.begin(at(15), at(25)) && !trial.is_free(at(15)));
        trial.end(at(20));
        assert!(trial.begin(at(15), at(25)));
        assert!(trial.begin(at(25), at(35)), "nobody ended the last one");
        trial.end(at(25));
        assert!(!trial.begin(at(26), at(36)), "that was another one's");
    }
}
