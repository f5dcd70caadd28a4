//! The single-slot queue of reloads and rollbacks: requests during one are served by the next one,
//! together with all others of the same kind.
//!
//! Invariant: reloads and rollbacks are carried out in the order of their requests. Simultaneous
//! requests for a rollback mean the same one, and don't undo each other's.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Trigger;
use crate::progress::Progress;
use crate::report::{ReloadReport, UnderWay};

/// The sender of a request's report; `None` for a signal, which doesn't wait for it.
type Asker = Option<oneshot::Sender<ReloadReport>>;

/// A handle that requests reloads and rollbacks.
#[derive(Clone)]
pub struct ReloadHandle(Sender<(Trigger, Asker)>, Current);

/// The preparation in progress, visible to other threads.
#[derive(Clone, Default)]
pub(super) struct Current(Arc<Mutex<Option<Progress>>>);

/// The queued requests.
pub struct Requests {
    receiver: Receiver<(Trigger, Asker)>,
    /// The first request of a kind that differs from those before.
    next: Option<(Trigger, Asker)>,
    pub(super) current: Current,
}

/// The senders of all requests of the same kind before its start.
pub struct Askers {
    /// The requested kind.
    pub trigger: Trigger,
    askers: Vec<Asker>,
}

/// A queue of reloads and rollbacks.
pub fn queue() -> (ReloadHandle, Requests) {
    let (sender, receiver) = channel();
    let current = Current::default();
    (ReloadHandle(sender, current.clone()), Requests { receiver, next: None, current })
}

impl Current {
    pub(super) fn set(&self, progress: Option<Progress>) {
        *self.lock() = progress;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Progress>> {
        // A change is one assignment: a panic leaves no partial state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReloadHandle {
    /// Requests a reload without waiting.
    pub fn request(&self) {
        // No reload happens when the process ends.
        let _ = self.0.send((Trigger::Reload, None));
    }

    /// The preparation in progress, also one that hangs.
    pub fn under_way(&self) -> Option<UnderWay> {
        let progress = self.1.lock().clone()?;
        let (stage, lasted) = progress.stage();
        Some(UnderWay { stage, seconds: lasted.as_secs_f64(), stuck: progress.is_given_up() })
    }

    /// Requests a generation whose preparation begins after this call, and waits for its report.
    /// Returns `None` at the end of the process.
    pub async fn request_and_wait(&self, trigger: Trigger) -> Option<ReloadReport> {
        let (sender, receiver) = oneshot::channel();
        self.0.send((trigger, Some(sender))).ok()?;
        receiver.await.ok()
    }
}

impl Requests {
    /// Waits for the next requests.
    ///
    /// # Errors
    /// When all handles are gone.
    pub fn wait(&mut self) -> Result<Askers, RecvTimeoutError> {
        let first = match self.next.take() {
            Some(first) => first,
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)?,
        };
        Ok(self.with_the_others(first))
    }

    /// Waits for the next requests, for at most `timeout`.
    ///
    /// # Errors
    /// When none arrived, or all handles are gone.
    pub fn wait_for(&mut self, timeout: Duration) -> Result<Askers, RecvTimeoutError> {
        let first = match self.next.take() {
            Some(first) => first,
            None => self.receiver.recv_timeout(timeout)?,
        };
        Ok(self.with_the_others(first))
    }

    fn with_the_others(&mut self, (trigger, first): (Trigger, Asker)) -> Askers {
        let mut askers = vec![first];
        while let Ok((other, asker)) = self.receiver.try_recv() {
            if other != trigger {
                self.next = Some((other, asker));
                break;
            }
            askers.push(asker);
        }
        Askers { trigger, askers }
    }
}

impl Askers {
    /// Sends the report to all waiting senders.
    pub fn answer(self, report: &ReloadReport) {
        for asker in self.askers.into_iter().flatten() {
            // The client may have left.
            let _ = asker.send(report.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_becomes_one_reload() {
        let (handle, mut requests) = queue();
        for _ in 0..10 {
            handle.request();
        }
        assert_eq!(requests.wait().unwrap().askers.len(), 10);
        assert!(matches!(requests.wait_for(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
        drop(handle);
        assert!(matches!(requests.wait(), Err(RecvTimeoutError::Disconnected)));
    }

    #[test]
    fn only_those_who_ask_for_the_same_share_it_and_the_order_stays() {
        let (handle, mut requests) = queue();
        for trigger in
            [Trigger::Reload, Trigger::Reload, Trigger::Rollback, Trigger::Rollback, Trigger::Rollback, Trigger::Reload]
        {
            handle.0.send((trigger, None)).unwrap();
        }
        let mut next = || requests.wait_for(Duration::ZERO).map(|askers| (askers.trigger, askers.askers.len()));
        assert_eq!(next(), Ok((Trigger::Reload, 2)));
        assert_eq!(next(), Ok((Trigger::Rollback, 3)));
        assert_eq!(next(), Ok((Trigger::Reload, 1)));
        assert_eq!(next(), Err(RecvTimeoutError::Timeout));
    }
}
