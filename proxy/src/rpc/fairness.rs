//! Giving a worker's thread back between calls of policies.
//!
//! A worker serves its clients one after the other on one thread. Waiting for an endpoint gives the thread to the others, a call
//! of a policy doesn't. Invariant: between two calls for one request that took long together the other clients have their turn,
//! however many calls the request takes.

use tokio::task::yield_now;

use crate::model::PolicyTime;

/// To be awaited before a policy is called again for a request that has used `time`. Tells whether there was a pause.
pub(super) async fn give_way(time: &PolicyTime) -> bool {
    let due = time.is_pause_due();
    if due {
        yield_now().await;
    }
    due
}
