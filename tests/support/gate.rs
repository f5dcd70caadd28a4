//! A gate that holds answers until the test opens it.

use tokio::sync::watch;

/// A gate, closed at first. Its clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate(watch::Sender::new(false))
    }

    /// Lets all through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(super) async fn passed(&self) {
        // The sender is `self`: it can't go away meanwhile.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
