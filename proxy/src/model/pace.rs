//! The lowest rate at which one side has to read or send bytes.
//!
//! Only time spent waiting for this side counts, so that it isn't blamed for another's slowness.

use std::time::Duration;

/// An average rate to keep up after a grace period.
#[derive(Clone, Copy, Debug)]
pub struct FloorRate {
    /// Bytes per second.
    pub bytes_per_sec: u32,
    /// Waiting time that requires no bytes.
    pub grace: Duration,
}

/// The bytes moved by one side, and the time spent waiting for it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    floor: FloorRate,
    moved: u64,
    waited: Duration,
}

impl Pace {
    /// A pace without bytes moved.
    pub fn new(floor: FloorRate) -> Self {
        Pace { floor, moved: 0, waited: Duration::ZERO }
    }

    /// Time that may be spent waiting for the next `bytes`.
    pub fn allowance(&self, bytes: usize) -> Duration {
        let moved = self.moved.saturating_add(bytes as u64);
        let millis = moved.saturating_mul(1_000) / u64::from(self.floor.bytes_per_sec.max(1));
        (self.floor.grace + Duration::from_millis(millis)).saturating_sub(self.waited)
    }

    /// Records `bytes` moved in a wait of `waited`.
    pub fn record(&mut self, bytes: usize, waited: Duration) {
        self.moved = self.moved.saturating_add(bytes as u64);
        self.waited += waited;
    }

    /// Total time spent waiting for this side.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: fn(u64) -> Duration = Duration::from_secs;

    fn pace() -> Pace {
        Pace::new(FloorRate { bytes_per_sec: 1_000, grace: SEC(10) })
    }

    #[test]
    fn whoever_moves_at_the_floor_rate_is_never_cut() {
        let mut pace = pace();
        for _ in 0..1_000 {
            assert!(pace.allowance(3_000) > SEC(3));
            pace.record(3_000, SEC(3));
        }
    }

    #[test]
    fn whoever_moves_less_is_cut_after_the_grace() {
        let mut pace = pace();
        let moves = (0..).take_while(|_| {
            let goes_on = pace.allowance(0) >= SEC(1);
            pace.record(500, SEC(1));
            goes_on
        });
        assert_eq!(moves.count(), 19, "10 s, half a second for each 500 bytes, and the last second is not whole");
    }

    #[test]
    fn waiting_for_others_does_not_count() {
        let mut pace = pace();
        pace.record(0, SEC(4));
        pace.record(1_000_000, Duration::ZERO);
        assert_eq!((pace.allowance(0), pace.waited()), (SEC(1_006), SEC(4)));
    }
}
