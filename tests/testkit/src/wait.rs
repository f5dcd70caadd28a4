//! Waiting for a condition. Nothing else in the tests waits.

use std::time::{Duration, Instant};

/// Timeout of a condition, far more than any needs, so that no test fails on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Polling interval.
const PERIOD: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `look` returns a value.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(PERIOD);
    }
}
