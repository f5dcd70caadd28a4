//! Builds generations from a conf and plugins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::guard::CanaryDecision;
use super::previous::PreviousGeneration;
use super::{ReloadError, Trigger};
use crate::clock;
use crate::config::{Config, Plugins};
use crate::fingerprint::FolderFingerprint;
use crate::policy::{Catalog, CodeCache, PluginError, PolicyRuntime, Source};
use crate::progress::Progress;
use crate::snapshot::{Parts, Snapshot};
use crate::tls::{TlsConfigs, TlsError};
use crate::upstream::Resources;

/// The resources that all generations of the process share.
pub struct GenerationBuilder {
    /// The conf file.
    pub conf: PathBuf,
    /// Compiles and instantiates policies.
    pub runtime: PolicyRuntime,
    /// Shared resources of upstreams.
    pub resources: Resources,
}

impl GenerationBuilder {
    /// Prepares a generation up to its publish: reads certificates, finds and compiles plugins, then checks, configures
    /// and probes the policies. Unchanged parts of `before`, the serving generation, are reused.
    ///
    /// # Errors
    /// A [`ReloadError`]; nothing has changed then.
    pub fn prepare(
        &self,
        config: Config,
        before: Option<&Snapshot>,
        progress: &Progress,
    ) -> Result<Snapshot, ReloadError> {
        progress.enter("read the certificates");
        let tls = TlsConfigs::prepare(&config, before.map(|before| &*before.tls), clock::wall_secs());
        let tls = Arc::new(tls.map_err(|error| self.tls_error(error))?);
        progress.enter("list the plugin folder");
        let known = before.map(|before| before.catalog.clone()).unwrap_or_default();
        // Read before the scan, so that the folder's watcher notices changes during the scan.
        let fingerprint = fingerprint(&config);
        let catalog =
            if config.policies.is_empty() { Catalog::default() } else { self.scan(&config.plugins, &known, progress)? };
        let cause = before.map_or_else(|| "start".to_owned(), |before| Trigger::Reload.cause(before.generation));
        let parts =
            Parts { config: Arc::new(config), catalog, fingerprint, cause, tls, canary_states: BTreeMap::new() };
        self.build(parts, before, progress)
    }

    /// Prepares an earlier generation as a new one. No file is read; policies that `before` lacks
    /// are instantiated, configured and probed.
    pub(super) fn restore(
        &self,
        previous: &PreviousGeneration,
        trigger: &Trigger,
        before: &Snapshot,
        progress: &Progress,
    ) -> Result<Snapshot, ReloadError> {
        previous.tls.check_dates(clock::wall_secs()).map_err(|error| previous.error(self.tls_error(error)))?;
        progress.enter("list the plugin folder");
        let parts = Parts {
            config: Arc::clone(&previous.config),
            catalog: previous.catalog.clone(),
            // The folder's current state: files that were added since belong to the generation that
            // is rolled back, and are no reason to reload.
            fingerprint: fingerprint(&previous.config),
            cause: trigger.cause(previous.generation),
            tls: Arc::clone(&previous.tls),
            canary_states: previous.canary_states_after(before),
        };
        let restored = self.build(parts, Some(before), progress);
        restored.map_err(|error| previous.error(error))
    }

    /// Prepares the serving generation again with decided canaries.
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
            tls: Arc::clone(&before.tls),
            canary_states: decisions.iter().map(CanaryDecision::state).collect(),
        };
        self.build(parts, Some(before), progress)
    }

    fn tls_error(&self, error: TlsError) -> ReloadError {
        ReloadError::Tls { conf: self.conf.clone(), error: Box::new(error) }
    }

    /// Compiles the modules of the plugin folder, except those that `known` or the cache on disk
    /// has.
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
            // It will never be published, so it must not create metric series.
            return Err(ReloadError::given_up(progress.stage().0));
        }
        Ok(Snapshot::assemble(parts, policies, before, &self.resources))
    }
}

/// The current state of the plugin folder, if the conf watches it.
fn fingerprint(config: &Config) -> FolderFingerprint {
    if config.plugins.watch { FolderFingerprint::read(&config.plugins.dir) } else { FolderFingerprint::default() }
}
