//! The instances of one policy: one slot per worker thread.
//!
//! A worker's slot is its own, so its lock is uncontended, except while an instance is put into an
//! empty slot. An uncontended lock costs little beside the call, and avoids `unsafe`. All other
//! threads (probes at load, `GET /explain`) share one slot, and calls aside, which no request waits
//! for, have another. Invariant: no call outside of the workers, however long, makes a worker wait
//! for its lock, or costs a worker an instance.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::PluginError;
use super::fault::Fault;
use super::instance::ReadyInstance;
use crate::worker;

/// Each slot has cache lines of its own, two because processors fetch pairs.
#[repr(align(128))]
struct InstanceSlot(Mutex<Option<ReadyInstance>>);

/// An answer or fault, and the instance if it faulted.
type Called<R> = (Result<R, Fault>, Option<ReadyInstance>);

pub(super) struct InstancePool {
    slots: Box<[InstanceSlot]>,
}

impl InstancePool {
    /// Empty slots for `workers` threads, one for calls without a request, and one for calls aside.
    pub(super) fn new(workers: usize) -> Self {
        InstancePool { slots: (0..workers + 2).map(|_| InstanceSlot(Mutex::new(None))).collect() }
    }

    /// The number of worker threads.
    pub(super) fn workers(&self) -> u32 {
        u32::try_from(self.slots.len() - 2).unwrap_or(u32::MAX)
    }

    /// Puts an instance into each empty slot.
    pub(super) fn fill(&self, make: impl Fn() -> Result<ReadyInstance, PluginError>) -> Result<(), PluginError> {
        for slot in &self.slots {
            if slot.lock().is_none() {
                // Made without the lock: the slot's thread may be serving requests.
                let instance = make()?;
                *slot.lock() = Some(instance);
            }
        }
        Ok(())
    }

    /// Calls `f` on this thread's instance. A faulted instance is removed and returned.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut ReadyInstance) -> Result<R, Fault>) -> Called<R> {
        self.slots[self.number()].with(f)
    }

    /// The slot of this thread.
    fn number(&self) -> usize {
        let others = self.slots.len() - 2;
        worker::current().map_or(others, |number| number.min(others))
    }

    /// Calls `f` on the instance for calls aside.
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
        // A panic inside a call leaves no partial state: `with` takes or keeps the whole instance.
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
