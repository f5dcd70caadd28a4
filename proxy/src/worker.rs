//! The number of a worker thread, among those that serve clients.
//!
//! Connections to endpoints and instances of policies belong to one worker each. Invariant: two
//! workers never have the same number, and no other thread has one.

use std::cell::Cell;

thread_local!(static NUMBER: Cell<Option<usize>> = const { Cell::new(None) });

/// Makes this thread the worker of this number. Numbers count from 0.
pub fn become_worker(number: usize) {
    NUMBER.set(Some(number));
}

/// This thread's number, if it is a worker.
pub fn current() -> Option<usize> {
    NUMBER.get()
}
