//! The limit of simultaneous connections to the admin address.
//!
//! Invariant: a new connection is always accepted, so that `/health` always responds; beyond the
//! limit the oldest connection ends, unless it waits for a reload. Connections that wait for a
//! reload have a limit of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Maximum number of connections. Scrapers, probes and people are a handful.
const MAX_CONNECTIONS: usize = 128;
/// Maximum number of requests that wait for a reload or rollback.
const MOST_WAITING: usize = 32;

pub(super) struct Connections {
    open: Mutex<Open>,
    waiting: Semaphore,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// Oldest first.
    by_age: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place, freed on drop.
pub(super) struct OpenConnection<'c> {
    connections: &'c Connections,
    number: u64,
    shed: Arc<Notify>,
}

impl Connections {
    pub(super) fn new() -> Self {
        Connections { open: Mutex::default(), waiting: Semaphore::new(MOST_WAITING) }
    }

    pub(super) fn enter(&self) -> OpenConnection<'_> {
        let mut open = self.open();
        if open.by_age.len() >= MAX_CONNECTIONS
            && let Some((_, oldest)) = open.by_age.pop_first()
        {
            oldest.notify_one();
        }
        let (number, shed) = (open.next, Arc::new(Notify::new()));
        open.next += 1;
        open.by_age.insert(number, Arc::clone(&shed));
        OpenConnection { connections: self, number, shed }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Each change is complete: a panic elsewhere leaves a valid map.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnection<'_> {
    /// Completes when this connection must make room.
    pub(super) async fn shed(&self) {
        self.shed.notified().await;
    }

    /// Exempts this connection from shedding. Returns `None` if too many wait already.
    pub(super) fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.connections.waiting.try_acquire().ok()?;
        self.connections.open().by_age.remove(&self.number);
        Some(permit)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.connections.open().by_age.remove(&self.number);
    }
}
