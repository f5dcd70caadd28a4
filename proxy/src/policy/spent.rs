//! The fuel of this thread's hot calls, for those who keep accounts of it.
//!
//! Kept by thread and not handed back with the answer: a call may end in a fault, and what it used
//! counts all the same.

use std::cell::Cell;

use super::fault::Fault;

/// What a call counts for that was ended by its processor time: fuel doesn't know how long it took,
/// and it took about this many nanoseconds.
const EPOCH_FUEL: u64 = 5_000_000;

thread_local!(static SPENT: Cell<u64> = const { Cell::new(0) });

/// A call ended that used so much fuel.
pub(super) fn note(fuel: u64, answer: &Result<(), Fault>) {
    let fuel = if let Err(Fault::Epoch(_)) = answer { fuel.max(EPOCH_FUEL) } else { fuel };
    SPENT.set(SPENT.get().saturating_add(fuel));
}

/// What the calls used since this was last asked: one decision may take two.
pub(super) fn take() -> u64 {
    SPENT.take()
}
