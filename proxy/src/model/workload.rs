//! The share of the workers' time that a policy takes, estimated from timed calls.
//!
//! One call in a number of them is timed and represents all. A window ends with the first timed
//! call after [`WINDOW`]; a share is reported only for a window with enough calls, so that a single
//! call that the system interrupted raises no alarm.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Tick;

/// Long enough that a short burst of requests raises no alarm.
const WINDOW: Duration = Duration::from_secs(10);
/// The fewest timed calls for an estimate.
const ENOUGH: u32 = 8;

/// The time that a policy has used since the window began.
#[derive(Debug, Default)]
pub struct Workload(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Tick>,
    busy: Duration,
    calls: u32,
}

impl Workload {
    /// Adds a timed call, which represents `times` calls. At the end of a window, returns the share
    /// of the time of `workers` threads, 0 to 1.
    pub fn add(&self, took: Duration, times: u32, workers: u32, now: Tick) -> Option<f64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = *window.began.get_or_insert(now);
        window.busy += took * times;
        window.calls += 1;
        let length = now.since(began);
        if length < WINDOW {
            return None;
        }
        let Window { busy, calls, .. } =
            std::mem::replace(&mut *window, Window { began: Some(now), ..Window::default() });
        (calls >= ENOUGH).then(|| busy.as_secs_f64() / (length.as_secs_f64() * f64::from(workers.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::START.after(Duration::from_millis(millis))
    }

    #[test]
    fn a_window_tells_the_share_of_all_workers() {
        let load = Workload::default();
        let call = |millis| load.add(Duration::from_millis(5), 64, 2, at(millis));
        assert!((0..10).all(|second| call(second * 1_000).is_none()));
        let share = call(10_000).unwrap();
        assert!((share - 11.0 * 0.32 / 20.0).abs() < 1e-9, "{share}");
        assert_eq!(call(10_500), None, "the next one has begun");
    }

    #[test]
    fn few_calls_say_nothing() {
        let load = Workload::default();
        let shares = [0, 20_000, 40_000].map(|millis| load.add(Duration::from_secs(1), 64, 1, at(millis)));
        assert_eq!(shares, [None; 3]);
    }
}
