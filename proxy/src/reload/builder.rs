//! From a conf and plugins to a generation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::guard::CanaryDecision;
use super::previous::PreviousGeneration;
use super::{ReloadError, Trigger};
use crate::config::{Config, Plugins};
use crate::fingerprint::FolderFingerprint;
use crate::policy::{Catalog, CodeCache, PluginError, PolicyRuntime, Source};
use crate::progress::Progress;
use crate::snapshot::{Parts, Snapshot};
use crate::upstream::Resources;

/// What every generation of the process is made with.
pub struct GenerationBuilder {
    /// The conf file.
    pub conf: PathBuf,
    /// Compiles and instantiates policies.
    pub runtime: PolicyRuntime,
    /// What upstreams are built with.
    pub resources: Resources,
}

impl GenerationBuilder {
    /// Everything but the publish: finds and compiles plugins, checks, configures and probes the
    /// policies, and puts the generation together. The unchanged parts of `before`, the one that
    /// serves, are taken over.
    ///
    /// # Errors
    /// A [`ReloadError`], and nothing has changed.
    pub fn prepare(
        &self,
        config: Config,
        before: Option<&Snapshot>,
        progress: &Progress,
    ) -> Result<Snapshot, ReloadError> {
        progress.enter("list the plugin folder");
        let known = before.map(|before| before.catalog.clone()).unwrap_or_default();
        // Before the scan: what changes meanwhile is then a change for whoever watches the folder.
        let fingerprint = fingerprint(&config);
        let catalog =
            if config.policies.is_empty() { Catalog::default() } else { self.scan(&config.plugins, &known, progress)? };
        let cause = if before.is_some() { "reload" } else { "start" };
        let parts = Parts {
            config: Arc::new(config),
            catalog,
            fingerprint,
            cause: cause.to_owned(),
            canary_states: BTreeMap::new(),
        };
        self.build(parts, before, progress)
    }

    /// A generation that has served before, as a new one. Nothing is read again; policies that
    /// `before` doesn't have are instantiated, configured and probed.
    pub(super) fn restore(
        &self,
        previous: &PreviousGeneration,
        trigger: &Trigger,
        before: &Snapshot,
        progress: &Progress,
    ) -> Result<Snapshot, ReloadError> {
        progress.enter("list the plugin folder");
        let parts = Parts {
            config: Arc::clone(&previous.config),
            catalog: previous.catalog.clone(),
            // That of today: what came into the folder since is what the rollback is away from, and
            // no reason to reload.
            fingerprint: fingerprint(&previous.config),
            cause: trigger.cause(previous.generation),
            canary_states: previous.canary_states_after(before),
        };
        let restored = self.build(parts, Some(before), progress);
        restored.map_err(|error| ReloadError::Previous { generation: previous.generation, error: Box::new(error) })
    }

    /// The generation that serves, but for what is decided about its canaries.
    pub(super) fn decide_canaries(
        &self,
        decisions: &[CanaryDecision],
        trigger: &Trigger,
        before: &Snapshot,
        progress: &Progress,
    ) -> Result<Snapshot, ReloadError> {
        let parts = Parts {
            config: Arc::clone(&before.config),
            catalog: before.catalog.clone(),
            fingerprint: before.fingerprint.clone(),
            cause: trigger.cause(before.generation),
            canary_states: decisions.iter().map(CanaryDecision::state).collect(),
        };
        self.build(parts, Some(before), progress)
    }

    /// Reads and compiles what the plugin folder holds, as far as neither `known` nor the cache on
    /// disk has it.
    fn scan(&self, plugins: &Plugins, known: &Catalog, progress: &Progress) -> Result<Catalog, PluginError> {
        let cache = plugins.cache_dir.as_deref().map(|dir| CodeCache::open(dir, &self.runtime)).transpose()?;
        let source = Source { dir: &plugins.dir, trusted_keys: plugins.trusted_keys.as_deref(), cache: cache.as_ref() };
        let catalog = Catalog::scan(&self.runtime, &source, known, progress);
        for (result, count) in cache.iter().flat_map(CodeCache::counts) {
            self.resources.metrics.count_plugin_cache(result, count);
        }
        catalog
    }

    fn build(&self, parts: Parts, before: Option<&Snapshot>, progress: &Progress) -> Result<Snapshot, ReloadError> {
        let empty = BTreeMap::new();
        let loaded = before.map_or(&empty, |before| &before.policies);
        let policies = self.load_policies(&parts, loaded, progress)?;
        progress.enter("build");
        if progress.is_given_up() {
            // Nobody will publish it: no metric series for it, then.
            return Err(ReloadError::given_up(progress.stage().0));
        }
        Ok(Snapshot::assemble(parts, policies, before, &self.resources))
    }
}

/// What the plugin folder holds now, for a generation that has it watched.
fn fingerprint(config: &Config) -> FolderFingerprint {
    if config.plugins.watch { FolderFingerprint::read(&config.plugins.dir) } else { FolderFingerprint::default() }
}
