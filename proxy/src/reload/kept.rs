//! What is kept of the generation that was replaced, so that it can serve again.
//!
//! Invariants: at most one generation is kept; it costs its conf and its compiled modules, no instances, no connections and no
//! metrics; nothing is read again, neither files nor the environment.

use std::path::Path;
use std::sync::Arc;

use super::{Ask, ReloadError, build, listing};
use crate::config::Config;
use crate::policy::{Catalog, PolicyRuntime};
use crate::report::Changes;
use crate::snapshot::Snapshot;
use crate::upstream::Resources;

/// A generation that was replaced.
pub(super) struct Kept {
    generation: u64,
    config: Arc<Config>,
    catalog: Catalog,
    replaced_by: Ask,
}

impl Kept {
    /// What is to be kept after `replaced` was replaced by something that `ask` asked for. A reload that changed nothing doesn't
    /// take the place of what there is: who rolls back wants what was different.
    pub(super) fn after(kept: Option<Kept>, replaced: &Snapshot, ask: Ask, changes: &Changes) -> Kept {
        match kept {
            Some(kept) if ask == Ask::Reload && !changes.is_any() => kept,
            _ => Kept {
                generation: replaced.generation,
                config: Arc::clone(&replaced.config),
                catalog: replaced.catalog.clone(),
                replaced_by: ask,
            },
        }
    }

    /// The same conf and modules as a new generation. Policies that `before` doesn't have are instantiated, configured and probed.
    pub(super) fn prepare(
        &self,
        conf: &Path,
        before: &Snapshot,
        runtime: &PolicyRuntime,
        resources: &Resources,
    ) -> Result<Snapshot, ReloadError> {
        let (config, catalog) = (Arc::clone(&self.config), self.catalog.clone());
        // That of today: what came into the folder since is what the rollback is away from, and no reason to reload.
        let listing = listing(&config);
        build(conf, config, catalog, listing, Some(before), runtime, resources)
            .map_err(|error| ReloadError::Kept { generation: self.generation, error: Box::new(error) })
    }

    /// One line for people.
    pub(super) fn message(&self, generation: u64, changes: &Changes) -> String {
        let disk = match self.replaced_by {
            Ask::Reload => "the conf on disk is still the newer one; a reload takes it again",
            Ask::Rollback => "this undoes a rollback; a reload takes the conf on disk",
        };
        format!(
            "generation {generation}: rolled back to generation {} ({}); {disk}",
            self.generation,
            changes.summary()
        )
    }
}
