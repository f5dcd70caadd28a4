//! The instances of one policy: a slot per worker thread.
//!
//! A slot's lock is a thread's own and so never waited for, except by the refill thread (which puts an instance into an
//! empty slot) and by the rare thread beyond the configured number, which shares one. A lock that is free costs little
//! beside the call, and spares calls any `unsafe`.
//!
//! The last slot is for calls aside, which no request waits for: whatever such a call does, and however long, no thread that
//! serves requests meets its lock or misses the instance that it lost.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::PluginError;
use super::fault::Fault;
use super::instance::ReadyInstance;

/// Slots stand on cache lines of their own, two together because processors fetch pairs.
#[repr(align(128))]
struct Slot(Mutex<Option<ReadyInstance>>);

/// An answer, and the instance that faulted instead of giving one.
type Called<R> = (Result<R, Fault>, Option<ReadyInstance>);

pub(super) struct InstancePool {
    slots: Box<[Slot]>,
}

impl InstancePool {
    /// Empty slots for `workers` threads, one more for calls that are no request's, and one for calls aside.
    pub(super) fn new(workers: usize) -> Self {
        InstancePool { slots: (0..workers + 2).map(|_| Slot(Mutex::new(None))).collect() }
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
        self.slots[thread_number() % (self.slots.len() - 1)].with(f)
    }

    /// Calls `f` on the instance that is for calls aside.
    pub(super) fn with_spare<R>(&self, f: impl FnOnce(&mut ReadyInstance) -> Result<R, Fault>) -> Called<R> {
        self.slots[self.slots.len() - 1].with(f)
    }
}

impl Slot {
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

/// A small number of this thread's own, in the order in which threads first call a policy.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = NEXT.fetch_add(1, Relaxed));
    NUMBER.with(|number| *number)
}
