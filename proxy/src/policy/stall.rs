//! Distinguishes a call that runs too long from one whose thread isn't running.
//!
//! The epoch advances by the wall clock. A call that reaches its deadline is checked: the first
//! check records the thread's processor time, later checks end the call once it has used
//! [`EPOCH_CPU_TIME`] more. A call that doesn't reach its deadline pays nothing for this. The load
//! of an instance, which isn't on the request path, records the processor time at its start.
//!
//! Invariant: of the two times only processor time ends a call, so a module that loads on an idle
//! machine does so on a busy one.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

use super::limits::{EPOCH_CPU_TIME, HOT_EPOCHS, LOAD_CPU_TIME};

/// The limit of a call: `most` processor time since `first`. The first check sets `first` if it
/// isn't set.
pub(super) struct Stall {
    first: Option<Duration>,
    most: Duration,
}

impl Stall {
    /// The limit of a hot call.
    pub(super) fn hot() -> Self {
        Stall { first: None, most: EPOCH_CPU_TIME }
    }

    /// The limit of all load-time calls of an instance, from now on.
    pub(super) fn load() -> Self {
        Stall { first: processor_time(), most: LOAD_CPU_TIME }
    }

    /// Called by Wasmtime when a call has reached its epoch deadline.
    pub(super) fn look(&mut self) -> UpdateDeadline {
        // Without the clock every deadline ends the call: too strict, but never endless.
        let Some(used) = processor_time() else { return UpdateDeadline::Interrupt };
        let first = *self.first.get_or_insert(used);
        if used.saturating_sub(first) >= self.most {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::Continue(HOT_EPOCHS)
        }
    }
}

/// The processor time of this thread; `None` without such a clock.
fn processor_time() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processor_time_counts() {
        let mut stall = Stall::hot();
        assert!(matches!(stall.look(), UpdateDeadline::Continue(_)));
        std::thread::sleep(2 * EPOCH_CPU_TIME);
        assert!(matches!(stall.look(), UpdateDeadline::Continue(_)), "sleeping is no stall");
        let mut looks = 0_u64;
        while matches!(stall.look(), UpdateDeadline::Continue(_)) {
            looks += 1;
        }
        assert!(looks > 0, "a busy thread is not ended at its first look");
    }

    #[test]
    fn a_load_is_ended_by_what_it_has_used_since_its_beginning() {
        let (mut load, mut hot) = (Stall::load(), Stall::hot());
        load.most = EPOCH_CPU_TIME;
        let begin = processor_time().unwrap();
        std::thread::sleep(2 * EPOCH_CPU_TIME);
        while processor_time().unwrap() - begin < EPOCH_CPU_TIME {}
        assert!(matches!(load.look(), UpdateDeadline::Interrupt), "its first look is no new beginning");
        assert!(matches!(hot.look(), UpdateDeadline::Continue(_)));
        assert!(matches!(Stall::load().look(), UpdateDeadline::Continue(_)), "nothing is used yet");
    }
}
