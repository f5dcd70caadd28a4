//! The single-slot queue of reloads and rollbacks: whoever asks while one is under way gets the
//! next one, together with all others who ask for the same.
//!
//! Invariant: a reload and a rollback are carried out in the order in which they were asked for.
//! Two who ask for a rollback at the same time mean the same one, and don't undo each other's.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Trigger;
use crate::progress::Progress;
use crate::report::{ReloadReport, UnderWay};

/// Somebody who asked; a signal does not wait for the answer.
type Asker = Option<oneshot::Sender<ReloadReport>>;

/// Asks for reloads and rollbacks.
#[derive(Clone)]
pub struct ReloadHandle(Sender<(Trigger, Asker)>, Current);

/// What is being prepared, for those who ask while it goes on.
#[derive(Clone, Default)]
pub(super) struct Current(Arc<Mutex<Option<Progress>>>);

/// What has been asked for.
pub struct Requests {
    receiver: Receiver<(Trigger, Asker)>,
    /// The first that asked for something else than those before.
    next: Option<(Trigger, Asker)>,
    pub(super) current: Current,
}

/// All who asked for the same before it began.
pub struct Askers {
    /// What they asked for.
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
        // One assignment changes it: a panic can't leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReloadHandle {
    /// Asks for a reload without waiting.
    pub fn request(&self) {
        // Nobody reloads at the end of the process.
        let _ = self.0.send((Trigger::Reload, None));
    }

    /// What is being prepared now, or hangs.
    pub fn under_way(&self) -> Option<UnderWay> {
        let progress = self.1.lock().clone()?;
        let (stage, lasted) = progress.stage();
        Some(UnderWay { stage, seconds: lasted.as_secs_f64(), stuck: progress.is_given_up() })
    }

    /// Asks for what begins after now, and waits for its report. `None` at the end of the process.
    pub async fn request_and_wait(&self, trigger: Trigger) -> Option<ReloadReport> {
        let (sender, receiver) = oneshot::channel();
        self.0.send((trigger, Some(sender))).ok()?;
        receiver.await.ok()
    }
}

impl Requests {
    /// Waits until somebody asks.
    ///
    /// # Errors
    /// When nobody can ask any more.
    pub fn wait(&mut self) -> Result<Askers, RecvTimeoutError> {
        let first = match self.next.take() {
            Some(first) => first,
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)?,
        };
        Ok(self.with_the_others(first))
    }

    /// Waits until somebody asks, for at most `timeout`.
    ///
    /// # Errors
    /// When nobody did, or nobody can ask any more.
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
    /// Gives the report to all who wait for one.
    pub fn answer(self, report: &ReloadReport) {
        for asker in self.askers.into_iter().flatten() {
            // A client that went away doesn't want to know.
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
