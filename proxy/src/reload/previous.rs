//! The replaced generation, kept for a rollback.
//!
//! Invariants: at most one is kept; it holds its conf, its certificates and its compiled modules,
//! but no instances, connections or metrics; a rollback reads nothing again, neither files nor the environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ReloadError, Trigger, guard};
use crate::config::Config;
use crate::policy::Catalog;
use crate::report::Changes;
use crate::snapshot::Snapshot;
use crate::tls::TlsConfigs;
use crate::upstream::{CanaryState, Why};

/// A replaced generation.
pub(super) struct PreviousGeneration {
    pub(super) generation: u64,
    pub(super) config: Arc<Config>,
    pub(super) catalog: Catalog,
    pub(super) tls: Arc<TlsConfigs>,
    canary_states: BTreeMap<String, CanaryState>,
    replaced_by: Trigger,
}

impl PreviousGeneration {
    pub(super) fn of(replaced: &Snapshot, replaced_by: Trigger) -> Self {
        PreviousGeneration {
            generation: replaced.generation,
            config: Arc::clone(&replaced.config),
            catalog: replaced.catalog.clone(),
            tls: Arc::clone(&replaced.tls),
            canary_states: guard::canary_states(replaced),
            replaced_by,
        }
    }

    /// The states of its canaries after a rollback from `before`, the serving generation. They are
    /// as before, except that a canary whose promotion is rolled back is taken out: it would be
    /// promoted again at once.
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

    /// Why it can't serve again.
    pub(super) fn error(&self, error: ReloadError) -> ReloadError {
        ReloadError::Previous { generation: self.generation, error: Box::new(error) }
    }

    /// One readable line about a rollback to it.
    pub(super) fn message(&self, generation: u64, changes: &Changes) -> String {
        format!(
            "generation {generation}: rolled back to generation {} ({}); {}",
            self.generation,
            changes.summary(),
            self.replaced_by.undone()
        )
    }
}
