//! Counts of the current window of time and of the one before, without a lock. Writers race
//! benignly: around the turn of a window a few counts are lost or counted in the next one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Tick;

/// The number of the current window.
#[derive(Debug, Default)]
pub(super) struct Windows(AtomicU64);

/// A count in both windows. The counts of a window may also be bits of a set.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) now: AtomicU64,
    pub(super) before: AtomicU64,
}

impl Windows {
    /// Calls `turn` if a new window of so many nanoseconds has begun, once for each. Its argument
    /// tells whether the window before is the last one that was counted in.
    pub(super) fn turn(&self, now: Tick, nanos: u64, turn: impl FnOnce(bool)) {
        let (current, known) = (now.as_nanos() / nanos, self.0.load(Relaxed));
        if known < current && self.0.compare_exchange(known, current, Relaxed, Relaxed).is_ok() {
            turn(known + 1 == current);
        }
    }
}

impl Counts {
    /// Begins a window. `follows`: as [`Windows::turn`] tells it.
    pub(super) fn turn(&self, follows: bool) {
        let last = self.now.swap(0, Relaxed);
        self.before.store(if follows { last } else { 0 }, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_kept_for_the_length_of_the_next_one() {
        let (windows, counts) = (Windows::default(), Counts::default());
        let at = |nanos| windows.turn(Tick::from_nanos(nanos), 10, |follows| counts.turn(follows));
        let both = || (counts.now.load(Relaxed), counts.before.load(Relaxed));
        counts.now.fetch_add(3, Relaxed);
        at(9);
        assert_eq!(both(), (3, 0));
        at(10);
        at(19);
        assert_eq!(both(), (0, 3));
        counts.now.fetch_add(4, Relaxed);
        at(5);
        assert_eq!(both(), (4, 3), "time doesn't go back");
        at(30);
        assert_eq!(both(), (0, 0), "a window passed without a count");
    }
}
