//! The fuel of this thread's hot calls, for the accounts of policy time.
//!
//! Counted per thread and not returned with the answer: a call that ends in a fault has used fuel,
//! too.

use std::cell::Cell;

use super::fault::Fault;

/// The fuel charged for a call that its processor time ended: such a call took about this many
/// nanoseconds, which its fuel doesn't show.
const EPOCH_FUEL: u64 = 5_000_000;

thread_local!(static SPENT: Cell<u64> = const { Cell::new(0) });

/// Records the fuel of a call that ended.
pub(super) fn note(fuel: u64, answer: &Result<(), Fault>) {
    let fuel = if let Err(Fault::Epoch(_)) = answer { fuel.max(EPOCH_FUEL) } else { fuel };
    SPENT.set(SPENT.get().saturating_add(fuel));
}

/// Takes the fuel since the last call of this function: one decision may take two policy calls.
pub(super) fn take() -> u64 {
    SPENT.take()
}
