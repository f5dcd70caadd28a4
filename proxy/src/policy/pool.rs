//! The instances of one policy: a slot per worker thread.
//!
//! A worker's slot is its own, so its lock is never waited for, except when an instance is put into
//! an empty slot. A lock that is free costs little beside the call, and spares calls any `unsafe`.
//! All threads that are no workers (probes at load, `GET /explain`) share one slot, and calls
//! aside, which no request waits for, have another. Invariant: whatever a call outside of the
//! workers does, and however long, no worker meets its lock or misses the instance that it lost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::PluginError;
use super::fault::Fault;
use super::instance::ReadyInstance;
use crate::worker;

/// Slots stand on cache lines of their own, two together because processors fetch pairs.
#[repr(align(128))]
struct InstanceSlot(Mutex<Option<ReadyInstance>>);

/// An answer, and the instance that faulted instead of giving one.
type Called<R> = (Result<R, Fault>, Option<ReadyInstance>);

pub(super) struct InstancePool {
    slots: Box<[InstanceSlot]>,
}

impl InstancePool {
    /// Empty slots for `workers` threads, one more for calls that are no request's, and one for
    /// calls aside.
    pub(super) fn new(workers: usize) -> Self {
        InstancePool { slots: (0..workers + 2).map(|_| InstanceSlot(Mutex::new(None))).collect() }
    }

    /// Threads that serve requests.
    pub(super) fn workers(&self) -> u32 {
        u32::try_from(self.slots.len() - 2).unwrap_or(u32::MAX)
    }

    /// Puts an instance into each empty slot.
    pub(super) fn fill(&self, make: impl Fn() -> Result<ReadyInstance, PluginError>) -> Result<(), PluginError> {
        for slot in &self.slots {
            if slot.lock().is_none() {
                // Made outside of the lock: its thread may be answering requests.
                let instance = make()?;
                *slot.lock() = Some(instance);
            }
        }
        Ok(())
    }

    /// Calls `f` on this thread's instance. An instance that faulted is taken out and handed back.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut ReadyInstance) -> Result<R, Fault>) -> Called<R> {
        self.slots[self.number()].with(f)
    }

    /// The slot of this thread.
    fn number(&self) -> usize {
        let others = self.slots.len() - 2;
        worker::current().map_or(others, |number| number.min(others))
    }

    /// Calls `f` on the instance that is for calls aside.
    pub(super) fn with_spare<R>(&self, f: impl FnOnce(&mut ReadyInstance) -> Result<R, Fault>) -> Called<R> {
        self.slots[self.slots.len() - 1].with(f)
    }
}

impl InstanceSlot {
    fn with<R>(&self, f: impl FnOnce(&mut ReadyInstance) -> Result<R, Fault>) -> Called<R> {
        let mut slot = self.lock();
        let Some(instance) = slot.as_mut() else { return (Err(Fault::NotReady), None) };
        let answer = f(instance);
        let faulted = if answer.is_err() { slot.take() } else { None };
        (answer, faulted)
    }

    fn lock(&self) -> MutexGuard<'_, Option<ReadyInstance>> {
        // A panic inside a call can't leave a half-made instance: `with` takes or keeps it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::become_worker;

    #[test]
    fn workers_share_their_slots_with_nobody() {
        let pool = InstancePool::new(2);
        let other = || std::thread::scope(|scope| scope.spawn(|| pool.number()).join().unwrap());
        let worker = |number| {
            std::thread::scope(|scope| {
                let call = || {
                    become_worker(number);
                    pool.number()
                };
                scope.spawn(call).join().unwrap()
            })
        };
        assert_eq!([other(), other(), other()], [2; 3]);
        assert_eq!([worker(1), worker(0)], [1, 0]);
        assert_eq!(worker(2), 2, "one that nobody counted on");
    }
}
