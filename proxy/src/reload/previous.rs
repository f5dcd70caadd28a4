//! The generation that was replaced, so that it can serve again.
//!
//! Invariants: at most one is kept; it costs its conf and its compiled modules, no instances, no
//! connections and no metrics; nothing is read again, neither files nor the environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Trigger, guard};
use crate::config::Config;
use crate::policy::Catalog;
use crate::report::Changes;
use crate::snapshot::Snapshot;
use crate::upstream::{CanaryState, Why};

/// A generation that was replaced.
pub(super) struct PreviousGeneration {
    pub(super) generation: u64,
    pub(super) config: Arc<Config>,
    pub(super) catalog: Catalog,
    canary_states: BTreeMap<String, CanaryState>,
    replaced_by: Trigger,
}

impl PreviousGeneration {
    pub(super) fn of(replaced: &Snapshot, replaced_by: Trigger) -> Self {
        PreviousGeneration {
            generation: replaced.generation,
            config: Arc::clone(&replaced.config),
            catalog: replaced.catalog.clone(),
            canary_states: guard::canary_states(replaced),
            replaced_by,
        }
    }

    /// Its canaries come back as they were, but one whose promotion is taken back doesn't run
    /// again: it would be promoted at once. `before`: the generation that serves.
    pub(super) fn canary_states_after(&self, before: &Snapshot) -> BTreeMap<String, CanaryState> {
        let now_promoted = |name: &str| {
            let canary = before.upstreams().find(|upstream| **upstream.name() == *name).and_then(|u| u.canary());
            let conf = self.config.upstreams.get(name).and_then(|upstream| upstream.canary.as_ref());
            canary.is_some_and(|canary| *canary.state() == CanaryState::Promoted && Some(canary.conf()) == conf)
        };
        let state = |(name, state): (&String, &CanaryState)| match state {
            CanaryState::Running if now_promoted(name) => Some((name.clone(), CanaryState::TakenOut(Why::RolledBack))),
            CanaryState::Running => None,
            CanaryState::TakenOut(_) | CanaryState::Promoted => Some((name.clone(), state.clone())),
        };
        self.canary_states.iter().filter_map(state).collect()
    }

    /// One line for people about a rollback to it.
    pub(super) fn message(&self, generation: u64, changes: &Changes) -> String {
        format!(
            "generation {generation}: rolled back to generation {} ({}); {}",
            self.generation,
            changes.summary(),
            self.replaced_by.undone()
        )
    }
}
