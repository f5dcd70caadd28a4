//! The life of a reload, top to bottom: [`prepare`] makes a generation, [`Reloader`] publishes it. A rollback differs in its
//! beginning only: it takes what is [`kept`] of the generation before.
//!
//! Invariants: a generation is published whole or not at all; whatever fails before the publish leaves the old one serving and
//! says which stage failed; there is one reload or rollback at a time, and a burst of requests becomes one more.

mod changes;
mod kept;
mod policies;
mod queue;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use changes::{RestartSettings, compare};
pub use queue::{Ask, ReloadHandle, Requests, queue};

use crate::config::{self, Config, ConfigError, Plugins};
use crate::dns;
use crate::listing::Listing;
use crate::policy::{Catalog, CodeCache, PluginError, PolicyRuntime, Source};
use crate::report::{Changes, ReloadReport};
use crate::snapshot::{Published, Snapshot};
use crate::upstream::Resources;
use kept::Kept;

/// How often a generation that was replaced is looked at, until no request holds it.
const RETIRE_PERIOD: Duration = Duration::from_millis(50);

/// Why there is no new generation. The message names the stage and the place.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The conf.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The plugin folder or a file in it.
    #[error("{0}")]
    Plugin(#[from] PluginError),
    /// A policy that the conf asks for.
    #[error("{}:{line}:{column}: policies.{policy}: {reason}", conf.display())]
    Policy {
        /// The conf file.
        conf: PathBuf,
        /// Where the conf names the policy.
        line: usize,
        /// Where the conf names the policy.
        column: usize,
        /// The policy.
        policy: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A rollback without a generation to go back to.
    #[error("there is no previous generation to roll back to: the one that serves is the first since the start")]
    NoPrevious,
    /// A generation that has served doesn't do so again.
    #[error("generation {generation} can't serve again: {error}")]
    Kept {
        /// The generation.
        generation: u64,
        /// Why not; its place is one of the conf as it was then.
        error: Box<ReloadError>,
    },
}

/// Everything but the publish: finds and compiles plugins, checks, configures and probes the policies, and puts the generation
/// together. `before` is the one that serves; its unchanged parts are taken over.
///
/// # Errors
/// A [`ReloadError`], and nothing has changed.
pub fn prepare(
    conf: &Path,
    config: Config,
    before: Option<&Snapshot>,
    runtime: &PolicyRuntime,
    resources: &Resources,
) -> Result<Snapshot, ReloadError> {
    let known = before.map(|b| b.catalog.clone()).unwrap_or_default();
    // Before the scan: what changes meanwhile is then a change for whoever watches the folder.
    let listing = listing(&config);
    let catalog = if config.policies.is_empty() {
        Catalog::default()
    } else {
        scan(&config.plugins, &known, runtime, resources)?
    };
    build(conf, Arc::new(config), catalog, listing, before, runtime, resources)
}

/// Reads and compiles what the plugin folder holds, as far as neither `known` nor the cache on disk has it.
fn scan(
    plugins: &Plugins,
    known: &Catalog,
    runtime: &PolicyRuntime,
    resources: &Resources,
) -> Result<Catalog, PluginError> {
    let cache = plugins.cache_dir.as_deref().map(|dir| CodeCache::open(dir, runtime)).transpose()?;
    let source = Source { dir: &plugins.dir, trusted_keys: plugins.trusted_keys.as_deref(), cache: cache.as_ref() };
    let catalog = Catalog::scan(runtime, &source, known);
    for (result, count) in cache.iter().flat_map(CodeCache::counts) {
        resources.metrics.count_plugin_cache(result, count);
    }
    catalog
}

/// What the plugin folder holds now, for a generation that has it watched.
fn listing(config: &Config) -> Listing {
    if config.plugins.watch { Listing::read(&config.plugins.dir) } else { Listing::default() }
}

/// From a conf and the plugins of its folder to a generation.
fn build(
    conf: &Path,
    config: Arc<Config>,
    catalog: Catalog,
    listing: Listing,
    before: Option<&Snapshot>,
    runtime: &PolicyRuntime,
    resources: &Resources,
) -> Result<Snapshot, ReloadError> {
    let empty = BTreeMap::new();
    let loaded = before.map_or(&empty, |b| &b.policies);
    let policies = policies::load(conf, &config, &catalog, loaded, runtime, resources)?;
    Ok(Snapshot::assemble(config, catalog, listing, policies, before, resources))
}

/// Carries out reloads and rollbacks, one at a time.
pub struct Reloader {
    /// The conf file.
    pub conf: PathBuf,
    /// Compiles and instantiates policies.
    pub runtime: PolicyRuntime,
    /// What upstreams are built with.
    pub resources: Resources,
    /// What the process was started with and can't change.
    pub started: RestartSettings,
    /// Where generations are published.
    pub published: Arc<Published>,
}

impl Reloader {
    /// Serves `requests` until their last sender is gone.
    pub fn run(self, mut requests: Requests) {
        let mut retiring: Vec<Arc<Snapshot>> = Vec::new();
        let mut kept = None;
        loop {
            let next = if retiring.is_empty() { requests.wait() } else { requests.wait_for(RETIRE_PERIOD) };
            match next {
                Ok(askers) => {
                    let (report, replaced) = self.carry_out(askers.ask, &mut kept);
                    retiring.extend(replaced);
                    askers.answer(&report);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Dropped here and not by its last request: closing connections and unmapping instances takes a while.
            retiring.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        }
    }

    /// One reload or rollback, and the generation that it replaced.
    fn carry_out(&self, ask: Ask, kept: &mut Option<Kept>) -> (ReloadReport, Option<Arc<Snapshot>>) {
        let began = Instant::now();
        let before = self.published.load();
        let outcome = self.next(ask, &before, kept.as_ref()).map(|next| self.publish(&before, next));
        let ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        self.resources.metrics.count_reload(outcome.is_ok());
        match outcome {
            Ok((generation, changes)) => {
                let message = match kept.as_ref().filter(|_| ask == Ask::Rollback) {
                    Some(kept) => kept.message(generation, &changes),
                    None => format!("generation {generation}: {}", changes.summary()),
                };
                tracing::info!(generation, ms, changes = %describe(&changes), "{}", done(ask));
                *kept = Some(Kept::after(kept.take(), &before, ask, &changes));
                let report =
                    ReloadReport { success: true, message, error: None, generation, changes, nothing_kept: false };
                (report, Some(before))
            }
            Err(error) => (refusal(ask, before.generation, ms, &error), None),
        }
    }

    /// The next generation.
    fn next(&self, ask: Ask, before: &Snapshot, kept: Option<&Kept>) -> Result<Snapshot, ReloadError> {
        match ask {
            Ask::Reload => {
                let config = config::load(&self.conf)?;
                prepare(&self.conf, config, Some(before), &self.runtime, &self.resources)
            }
            Ask::Rollback => {
                let kept = kept.ok_or(ReloadError::NoPrevious)?;
                kept.prepare(&self.conf, before, &self.runtime, &self.resources)
            }
        }
    }

    fn publish(&self, before: &Snapshot, next: Snapshot) -> (u64, Changes) {
        dns::resolve_new(&next);
        let changes = compare(before, &next, &self.started);
        let generation = next.generation;
        self.published.publish(next);
        (generation, changes)
    }
}

fn refusal(ask: Ask, generation: u64, ms: f64, error: &ReloadError) -> ReloadReport {
    tracing::error!(generation, ms, "{} refused, the old generation serves on: {error}", noun(ask));
    ReloadReport {
        success: false,
        message: format!("refused; generation {generation} serves on"),
        error: Some(error.to_string()),
        generation,
        changes: Changes::default(),
        nothing_kept: matches!(error, ReloadError::NoPrevious),
    }
}

fn noun(ask: Ask) -> &'static str {
    match ask {
        Ask::Reload => "reload",
        Ask::Rollback => "rollback",
    }
}

fn done(ask: Ask) -> &'static str {
    match ask {
        Ask::Reload => "reloaded",
        Ask::Rollback => "rolled back",
    }
}

fn describe(changes: &Changes) -> String {
    // Names and versions always can be written.
    serde_json::to_string(changes).unwrap_or_default()
}
