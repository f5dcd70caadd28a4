//! The progress of a generation's preparation: written by the preparing thread, read by those who
//! wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The current stage of a preparation.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    stage: String,
    since: Instant,
    given_up: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Progress(Arc::new(Mutex::new(State { stage: "begin".into(), since: Instant::now(), given_up: false })))
    }
}

impl Progress {
    /// Begins the next stage and ends the one before.
    pub fn enter(&self, stage: impl Into<String>) {
        let mut state = self.state();
        state.stage = stage.into();
        state.since = Instant::now();
    }

    /// The stage, and how long it has lasted.
    pub fn stage(&self) -> (String, Duration) {
        let state = self.state();
        (state.stage.clone(), state.since.elapsed())
    }

    /// Marks the result as no longer wanted.
    pub fn give_up(&self) {
        self.state().given_up = true;
    }

    /// Whether the result is no longer wanted.
    pub fn is_given_up(&self) -> bool {
        self.state().given_up
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one or two assignments: a panic leaves a readable state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
