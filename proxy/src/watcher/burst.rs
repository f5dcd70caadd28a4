//! Bursts of changes: a burst ends after a pause without changes, or after a maximum time.

use std::time::Duration;

use crate::model::Tick;

/// The pause that ends a burst. Copying a few modules has shorter pauses.
const QUIET: Duration = Duration::from_millis(300);
/// The longest burst, so that a folder that changes constantly is checked, too.
const LONGEST: Duration = Duration::from_secs(3);

/// Changes that weren't checked yet.
#[derive(Default)]
pub(super) struct Burst {
    /// The times of the first and the last change.
    times: Option<(Tick, Tick)>,
}

impl Burst {
    /// Records a change.
    pub(super) fn touch(&mut self, now: Tick) {
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
    }

    /// The end of the burst; `None` without a change.
    pub(super) fn over_at(&self) -> Option<Tick> {
        self.times.map(|(first, last)| last.after(QUIET).min(first.after(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::START.after(Duration::from_millis(ms))
    }

    #[test]
    fn it_is_over_when_it_is_quiet_and_after_three_seconds_at_the_latest() {
        let mut burst = Burst::default();
        assert_eq!(burst.over_at(), None);
        burst.touch(at(1_000));
        assert_eq!(burst.over_at(), Some(at(1_300)));
        burst.touch(at(1_200));
        assert_eq!(burst.over_at(), Some(at(1_500)));
        for ms in (1_200..=3_900).step_by(100) {
            burst.touch(at(ms));
        }
        assert_eq!(burst.over_at(), Some(at(4_000)));
    }
}
