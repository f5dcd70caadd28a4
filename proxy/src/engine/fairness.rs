//! Yielding a worker's thread between policy calls.
//!
//! A worker serves its clients on one thread. Waiting for an endpoint yields the thread to the
//! others, a policy call doesn't. Invariant: if the calls of one request took long together, the
//! other clients get their turn before its next attempt and before the next member of its batch is
//! judged. So a client waits at most for the calls of one decision.

use tokio::task::yield_now;

use crate::model::PolicyTime;

/// Yields if policy calls since the last pause took long. To be awaited before each further call
/// for a request that has used `time`. Returns whether there was a pause.
pub(super) async fn give_way(time: &PolicyTime) -> bool {
    let due = time.is_pause_due();
    if due {
        yield_now().await;
    }
    due
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// Another task of the same thread gets its turn after each long call, and only then.
    #[tokio::test]
    async fn a_long_call_is_followed_by_a_turn_of_the_others() {
        let turns = Cell::new(0);
        let others = async {
            loop {
                turns.set(turns.get() + 1);
                yield_now().await;
            }
        };
        let calls = async {
            let time = PolicyTime::default();
            for (fuel, paused) in [(100, false), (200_000, true), (100, false), (99_900, true)] {
                let before = turns.get();
                time.spend(fuel, Duration::MAX);
                assert_eq!(give_way(&time).await, paused, "{fuel}");
                assert_eq!(turns.get() > before, paused, "{fuel}");
            }
        };
        tokio::select! {
            biased;
            () = calls => {}
            () = others => {}
        }
    }
}
