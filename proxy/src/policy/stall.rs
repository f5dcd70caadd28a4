//! Tells a call that runs too long from one whose thread isn't running.
//!
//! The epoch advances by the wall clock. A call that meets its deadline is looked at: the first look notes how much
//! processor time the thread has used, later looks end the call once it has used [`EPOCH_CPU_TIME`] more. A
//! call that doesn't meet its deadline pays nothing for this.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

use super::limits::{EPOCH_CPU_TIME, HOT_EPOCHS};

/// The processor time at the first look of this call.
#[derive(Default)]
pub(super) struct Stall(Option<Duration>);

impl Stall {
    /// Called by Wasmtime when a call has reached its epoch deadline.
    pub(super) fn look(&mut self) -> UpdateDeadline {
        // Without the clock every deadline counts: too strict, but never endless.
        let Ok(used) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from) else {
            return UpdateDeadline::Interrupt;
        };
        let first = *self.0.get_or_insert(used);
        if used.saturating_sub(first) >= EPOCH_CPU_TIME {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::Continue(HOT_EPOCHS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processor_time_counts() {
        let mut stall = Stall::default();
        assert!(matches!(stall.look(), UpdateDeadline::Continue(_)));
        std::thread::sleep(2 * EPOCH_CPU_TIME);
        assert!(matches!(stall.look(), UpdateDeadline::Continue(_)), "sleeping is no stall");
        let mut looks = 0_u64;
        while matches!(stall.look(), UpdateDeadline::Continue(_)) {
            looks += 1;
        }
        assert!(looks > 0, "a busy thread is not ended at its first look");
    }
}
