//! The single-slot queue of reloads: whoever asks while one is under way gets the next one, together with all others who ask.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::report::ReloadReport;

/// Somebody who asked for a reload; a signal does not wait for the answer.
type Asker = Option<oneshot::Sender<ReloadReport>>;

/// Asks for reloads.
#[derive(Clone)]
pub struct ReloadHandle(Sender<Asker>);

/// What has been asked for.
pub struct Requests(Receiver<Asker>);

/// All who asked before a reload began.
pub struct Askers(Vec<Asker>);

/// A queue of reloads.
pub fn queue() -> (ReloadHandle, Requests) {
    let (sender, receiver) = channel();
    (ReloadHandle(sender), Requests(receiver))
}

impl ReloadHandle {
    /// Asks for a reload without waiting.
    pub fn request(&self) {
        // Nobody reloads at the end of the process.
        let _ = self.0.send(None);
    }

    /// Asks for a reload that begins after now, and waits for its report. `None` at the end of the process.
    pub async fn request_and_wait(&self) -> Option<ReloadReport> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Some(sender)).ok()?;
        receiver.await.ok()
    }
}

impl Requests {
    /// Waits until somebody asks.
    ///
    /// # Errors
    /// When nobody can ask any more.
    pub fn wait(&self) -> Result<Askers, RecvTimeoutError> {
        let first = self.0.recv().map_err(|_| RecvTimeoutError::Disconnected)?;
        Ok(self.with_the_others(first))
    }

    /// Waits until somebody asks, for at most `timeout`.
    ///
    /// # Errors
    /// When nobody did, or nobody can ask any more.
    pub fn wait_for(&self, timeout: Duration) -> Result<Askers, RecvTimeoutError> {
        let first = self.0.recv_timeout(timeout)?;
        Ok(self.with_the_others(first))
    }

    fn with_the_others(&self, first: Asker) -> Askers {
        Askers(std::iter::once(first).chain(self.0.try_iter()).collect())
    }
}

impl Askers {
    /// Gives the report to all who wait for one.
    pub fn answer(self, report: &ReloadReport) {
        for asker in self.0.into_iter().flatten() {
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
        let (handle, requests) = queue();
        for _ in 0..10 {
            handle.request();
        }
        assert_eq!(requests.wait().unwrap().0.len(), 10);
        assert!(matches!(requests.wait_for(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
        drop(handle);
        assert!(matches!(requests.wait(), Err(RecvTimeoutError::Disconnected)));
    }
}
