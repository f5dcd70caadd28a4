//! Admission of requests: at most `max_concurrency` under way, and a bounded wait for the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Live, Upstream};
use crate::jsonrpc::Refusal;

/// The number of requests under way, and of those in the queue.
#[derive(Default)]
pub(super) struct Queue {
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    free: Notify,
}

/// A place among the requests under way. Dropping it frees the place.
pub struct Ticket(Arc<Live>);

/// The admission of an arriving request.
pub enum Admission {
    /// The request may proceed.
    Admitted(Ticket),
    /// The request waits for its turn.
    Waiting(Waiting),
}

/// A place in the queue. Dropping it leaves the queue.
pub struct Waiting(Arc<Upstream>);

impl Upstream {
    /// The number of requests under way.
    pub fn in_flight(&self) -> usize {
        self.live.queue.in_flight.load(SeqCst)
    }

    /// Admits or queues an arriving request. As many may wait as may be under way.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when the queue is full or disabled.
    pub fn enter(self: &Arc<Self>) -> Result<Admission, Refusal> {
        match self.try_admit() {
            Some(admission) => Ok(Admission::Admitted(admission)),
            None if self.settings.queue_timeout.is_zero() => Err(Refusal::Overloaded),
            None => Waiting::join(self).map(Admission::Waiting).ok_or(Refusal::Overloaded),
        }
    }

    /// Waits for a place.
    async fn turn(&self) -> Ticket {
        loop {
            // Registered before the check, so that a place freed in between is not missed.
            let mut free = std::pin::pin!(self.live.queue.free.notified());
            free.as_mut().enable();
            if let Some(admission) = self.try_admit() {
                return admission;
            }
            free.await;
        }
    }

    fn try_admit(&self) -> Option<Ticket> {
        let is_free = |under_way: usize| (under_way < self.settings.max_concurrency).then_some(under_way + 1);
        let taken = self.live.queue.in_flight.fetch_update(SeqCst, SeqCst, is_free);
        taken.is_ok().then(|| Ticket(Arc::clone(&self.live)))
    }
}

impl Admission {
    /// Waits until the request may proceed.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when its turn doesn't come within `queue_timeout`.
    pub async fn turn(self) -> Result<Ticket, Refusal> {
        match self {
            Admission::Admitted(admission) => Ok(admission),
            Admission::Waiting(Waiting(ref upstream)) => {
                timeout(upstream.settings.queue_timeout, upstream.turn()).await.map_err(|_| Refusal::Overloaded)
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let queue = &self.0.queue;
        queue.in_flight.fetch_sub(1, SeqCst);
        if queue.waiting.load(SeqCst) > 0 {
            queue.free.notify_one();
        }
    }
}

impl Waiting {
    /// Joins the queue; `None` if it is full.
    fn join(upstream: &Arc<Upstream>) -> Option<Self> {
        let has_room = |waiting: usize| (waiting < upstream.settings.max_concurrency).then_some(waiting + 1);
        let joined = upstream.live.queue.waiting.fetch_update(SeqCst, SeqCst, has_room);
        joined.ok().map(|_| Waiting(Arc::clone(upstream)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.live.queue.waiting.fetch_sub(1, SeqCst);
    }
}
