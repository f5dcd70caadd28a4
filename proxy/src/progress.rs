//! What a preparation of a generation is doing: written by the thread that prepares, read by those
//! who wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The stage that a preparation is in.
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
    /// Another stage begins; the one before has ended.
    pub fn enter(&self, stage: impl Into<String>) {
        let mut state = self.state();
        state.stage = stage.into();
        state.since = Instant::now();
    }

    /// The stage, and for how long it has lasted.
    pub fn stage(&self) -> (String, Duration) {
        let state = self.state();
        (state.stage.clone(), state.since.elapsed())
    }

    /// Nobody waits for the result any more.
    pub fn give_up(&self) {
        self.state().given_up = true;
    }

    /// Whether somebody still waits for the result.
    pub fn is_given_up(&self) -> bool {
        self.state().given_up
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment or two: a panic leaves a state that can be read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
