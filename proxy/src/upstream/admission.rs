//! A place among the requests that are under way: `max_concurrency` of them, and a bounded wait for the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Live, Upstream};
use crate::rpc::Refusal;

/// Requests under way, and those that wait for their turn.
#[derive(Default)]
pub(super) struct Queue {
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    free: Notify,
}

/// A place among the requests that are under way. Dropping it frees the place.
pub struct Admission(Arc<Live>);

/// A place among those that wait. Dropping it leaves the queue.
struct Waiting<'a>(&'a Queue);

impl Upstream {
    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.live.queue.in_flight.load(SeqCst)
    }

    /// Lets a request in, at once or after others have ended. As many may wait as may be under way.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when its turn doesn't come within `queue_timeout`.
    pub async fn admit(&self) -> Result<Admission, Refusal> {
        if let Some(admission) = self.try_admit() {
            return Ok(admission);
        }
        if self.queue_timeout.is_zero() {
            return Err(Refusal::Overloaded);
        }
        let _waiting = Waiting::join(&self.live.queue, self.max_concurrency).ok_or(Refusal::Overloaded)?;
        timeout(self.queue_timeout.min(self.deadline), self.turn()).await.map_err(|_| Refusal::Overloaded)
    }

    /// Ends when there is a place.
    async fn turn(&self) -> Admission {
        loop {
            // Registered before the look: a place that becomes free in between is not missed.
            let mut free = std::pin::pin!(self.live.queue.free.notified());
            free.as_mut().enable();
            if let Some(admission) = self.try_admit() {
                return admission;
            }
            free.await;
        }
    }

    fn try_admit(&self) -> Option<Admission> {
        let is_free = |under_way: usize| (under_way < self.max_concurrency).then_some(under_way + 1);
        let taken = self.live.queue.in_flight.fetch_update(SeqCst, SeqCst, is_free);
        taken.is_ok().then(|| Admission(Arc::clone(&self.live)))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let queue = &self.0.queue;
        queue.in_flight.fetch_sub(1, SeqCst);
        if queue.waiting.load(SeqCst) > 0 {
            queue.free.notify_one();
        }
    }
}

impl<'a> Waiting<'a> {
    /// Joins the queue, unless `most` are in it.
    fn join(queue: &'a Queue, most: usize) -> Option<Self> {
        let has_room = |waiting: usize| (waiting < most).then_some(waiting + 1);
        queue.waiting.fetch_update(SeqCst, SeqCst, has_room).ok().map(|_| Waiting(queue))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}
