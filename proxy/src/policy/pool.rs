//! The instances of one policy: a slot per worker thread.
//!
//! A slot's lock is a thread's own and so never waited for, except by the refill thread (which puts an instance into an
//! empty slot) and by the rare thread beyond the configured number, which shares one. A lock that is free costs little
//! beside the call, and spares the runtime any `unsafe`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::PluginError;
use super::fault::Fault;
use super::instance::ReadyInstance;

/// Slots stand on cache lines of their own, two together because processors fetch pairs.
#[repr(align(128))]
struct Slot(Mutex<Option<ReadyInstance>>);

pub(super) struct InstancePool {
    slots: Box<[Slot]>,
}

impl InstancePool {
    /// Empty slots for `workers` threads and one more, for calls that are no request's.
    pub(super) fn new(workers: usize) -> Self {
        InstancePool { slots: (0..=workers).map(|_| Slot(Mutex::new(None))).collect() }
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
    pub(super) fn with<R>(
        &self,
        f: impl FnOnce(&mut ReadyInstance) -> Result<R, Fault>,
    ) -> (Result<R, Fault>, Option<ReadyInstance>) {
        let mut slot = self.slots[thread_number() % self.slots.len()].lock();
        let Some(instance) = slot.as_mut() else { return (Err(Fault::NotReady), None) };
        let answer = f(instance);
        let faulted = if answer.is_err() { slot.take() } else { None };
        (answer, faulted)
    }
}

impl Slot {
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
