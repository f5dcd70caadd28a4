//! The one request that tries a half-open endpoint.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Tick;

/// Whether a trial is under way. It frees itself at its time limit, should nobody end it.
#[derive(Debug, Default)]
pub struct TrialSlot(AtomicU64);

impl TrialSlot {
    /// Whether none is under way.
    pub fn is_free(&self, now: Tick) -> bool {
        self.0.load(Relaxed) <= now.as_nanos()
    }

    /// Begins one that ends at `limit` at the latest. Of several that try, one succeeds.
    pub fn begin(&self, now: Tick, limit: Tick) -> bool {
        let seen = self.0.load(Relaxed);
        seen <= now.as_nanos() && self.0.compare_exchange(seen, limit.as_nanos(), Relaxed, Relaxed).is_ok()
    }

    /// The one that was to end at `limit` ended. A later one, after that, goes on.
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
