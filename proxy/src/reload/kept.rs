//! What is kept of the generation that was replaced, so that it can serve again.
//!
//! Invariants: at most one generation is kept; it costs its conf and its compiled modules, no instances, no connections and no
//! metrics; nothing is read again, neither files nor the environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{ReloadError, build, guard, listing};
use crate::config::Config;
use crate::policy::{Catalog, PolicyRuntime};
use crate::progress::Progress;
use crate::report::Changes;
use crate::snapshot::{Cause, Parts, Snapshot};
use crate::upstream::{CanaryState, Resources, Why};

/// A generation that was replaced.
pub(super) struct Kept {
    generation: u64,
    config: Arc<Config>,
    catalog: Catalog,
    standings: BTreeMap<String, CanaryState>,
    replaced_by: ReplacedBy,
}

/// What replaced a generation that is kept.
#[derive(Clone, Copy)]
pub(super) enum ReplacedBy {
    Reload,
    Rollback,
    /// A canary took the live policy's place.
    Promotion,
}

impl Kept {
    /// What is to be kept of a generation.
    pub(super) fn of(replaced: &Snapshot, replaced_by: ReplacedBy) -> Kept {
        Kept {
            generation: replaced.generation,
            config: Arc::clone(&replaced.config),
            catalog: replaced.catalog.clone(),
            standings: guard::standings(replaced),
            replaced_by,
        }
    }

    /// The cause of a rollback that somebody wants.
    pub(super) fn asked_for(&self) -> Cause {
        Cause::Rollback { to: self.generation }
    }

    /// The cause of a rollback that a policy's quarantine makes necessary.
    pub(super) fn because_of(&self, policy: &str) -> Cause {
        Cause::Quarantine { policy: policy.to_owned(), to: self.generation }
    }

    /// The same conf and modules as a new generation. Policies that `before` doesn't have are instantiated, configured and probed.
    pub(super) fn prepare(
        &self,
        conf: &Path,
        cause: Cause,
        before: &Snapshot,
        runtime: &PolicyRuntime,
        resources: &Resources,
        progress: &Progress,
    ) -> Result<Snapshot, ReloadError> {
        progress.enter("list the plugin folder");
        let parts = Parts {
            config: Arc::clone(&self.config),
            catalog: self.catalog.clone(),
            // That of today: what came into the folder since is what the rollback is away from, and no reason to reload.
            listing: listing(&self.config),
            cause,
            verdicts: self.verdicts(before),
        };
        build(conf, parts, Some(before), runtime, resources, progress)
            .map_err(|error| ReloadError::Kept { generation: self.generation, error: Box::new(error) })
    }

    /// Canaries come back as they were, but one whose promotion is taken back doesn't run again: it would be promoted at once.
    fn verdicts(&self, before: &Snapshot) -> BTreeMap<String, CanaryState> {
        let now_promoted = |name: &str| {
            let canary = before.upstreams().find(|upstream| **upstream.name() == *name).and_then(|u| u.canary());
            let conf = self.config.upstreams.get(name).and_then(|upstream| upstream.canary.as_ref());
            canary.is_some_and(|canary| *canary.state() == CanaryState::Promoted && Some(canary.conf()) == conf)
        };
        let verdict = |(name, standing): (&String, &CanaryState)| match standing {
            CanaryState::Running if now_promoted(name) => Some((name.clone(), CanaryState::TakenOut(Why::RolledBack))),
            CanaryState::Running => None,
            CanaryState::TakenOut(_) | CanaryState::Promoted => Some((name.clone(), standing.clone())),
        };
        self.standings.iter().filter_map(verdict).collect()
    }

    /// One line for people.
    pub(super) fn message(&self, generation: u64, changes: &Changes) -> String {
        let disk = match self.replaced_by {
            ReplacedBy::Reload => "the conf on disk is still the newer one; a reload takes it again",
            ReplacedBy::Rollback => "this undoes a rollback; a reload takes the conf on disk",
            ReplacedBy::Promotion => {
                "this undoes a promotion; the canary is out until its policy or its settings change"
            }
        };
        format!(
            "generation {generation}: rolled back to generation {} ({}); {disk}",
            self.generation,
            changes.summary()
        )
    }
}
