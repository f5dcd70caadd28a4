//! Instants as plain numbers, so that they fit into one atomic.

use std::time::Duration;

/// An instant: nanoseconds since the process began. 64 bits last 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// The start of the process, before any request.
    pub const START: Tick = Tick(0);

    /// An instant `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Tick(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time since `earlier`; zero if it is in the future.
    pub const fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// [`Tick::since`] in milliseconds, as policies see it.
    pub fn millis_since(self, earlier: Tick) -> f32 {
        // As a signed number, which a processor converts in one step: 292 years fit.
        self.0.saturating_sub(earlier.0).cast_signed() as f32 * 1e-6
    }

    /// The instant `duration` later; the end of time if that would overflow.
    pub fn after(self, duration: Duration) -> Tick {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Tick(self.0.saturating_add(nanos))
    }
}

/// A duration in the unit of the policy ABI: milliseconds with a fraction.
pub(crate) fn millis_f32(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_at_both_ends() {
        let late = Tick::from_nanos(u64::MAX);
        assert_eq!(late.after(Duration::from_secs(1)), late);
        assert_eq!(Tick::START.since(late), Duration::ZERO);
        assert_eq!(Tick::START.after(Duration::from_nanos(7)).since(Tick::START), Duration::from_nanos(7));
    }
}
