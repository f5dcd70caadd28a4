//! A gate that holds answers until the test opens it.

use tokio::sync::watch;

/// A gate, initially closed. Clones share its state.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate(watch::Sender::new(false))
    }

    /// Opens the gate permanently.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(crate) async fn passed(&self) {
        // The sender is `self`, so it outlives the wait.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
