//! The life of a reload, top to bottom: [`prepare`] makes a generation, [`Reloader`] publishes it.
//!
//! Invariants: a generation is published whole or not at all; whatever fails before the publish leaves the old one serving and
//! says which stage failed; there is one reload at a time, and a burst of requests becomes one more.

mod changes;
mod policies;
mod queue;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use changes::{RestartSettings, compare};
pub use queue::{ReloadHandle, Requests, queue};

use crate::config::{self, Config, ConfigError};
use crate::dns;
use crate::policy::{Catalog, PluginError, PolicyRuntime};
use crate::report::{Changes, ReloadReport};
use crate::snapshot::{Published, Snapshot};
use crate::upstream::Resources;

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
    let catalog = if config.policies.is_empty() {
        Catalog::default()
    } else {
        Catalog::scan(runtime, &config.plugins.dir, &known)?
    };
    let empty = BTreeMap::new();
    let loaded = before.map_or(&empty, |b| &b.policies);
    let policies = policies::load(conf, &config, &catalog, loaded, runtime, resources)?;
    Ok(Snapshot::assemble(config, catalog, policies, before, resources))
}

/// Carries out reloads, one at a time.
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
    pub fn run(self, requests: &Requests) {
        let mut retiring: Vec<Arc<Snapshot>> = Vec::new();
        loop {
            let next = if retiring.is_empty() { requests.wait() } else { requests.wait_for(RETIRE_PERIOD) };
            match next {
                Ok(askers) => {
                    let (report, replaced) = self.reload();
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

    /// One reload, and the generation that it replaced.
    fn reload(&self) -> (ReloadReport, Option<Arc<Snapshot>>) {
        let began = Instant::now();
        let before = self.published.load();
        let outcome = self.attempt(&before);
        let ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        self.resources.metrics.count_reload(outcome.is_ok());
        match outcome {
            Ok((generation, changes)) => {
                let message = format!("generation {generation}: {}", changes.summary());
                tracing::info!(generation, ms, changes = %describe(&changes), "reloaded");
                (ReloadReport { success: true, message, error: None, generation, changes }, Some(before))
            }
            Err(error) => {
                let generation = before.generation;
                tracing::error!(generation, ms, "reload refused, the old generation serves on: {error}");
                let message = format!("refused; generation {generation} serves on");
                let error = Some(error.to_string());
                (ReloadReport { success: false, message, error, generation, changes: Changes::default() }, None)
            }
        }
    }

    /// Read, check, build, publish.
    fn attempt(&self, before: &Snapshot) -> Result<(u64, Changes), ReloadError> {
        let config = config::load(&self.conf)?;
        let snapshot = prepare(&self.conf, config, Some(before), &self.runtime, &self.resources)?;
        dns::resolve_new(&snapshot);
        let changes = compare(before, &snapshot, &self.started);
        let generation = snapshot.generation;
        self.published.publish(snapshot);
        Ok((generation, changes))
    }
}

fn describe(changes: &Changes) -> String {
    // Names and versions always can be written.
    serde_json::to_string(changes).unwrap_or_default()
}
