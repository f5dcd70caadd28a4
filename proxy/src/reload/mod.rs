//! The life of a reload, top to bottom: [`prepare`] makes a generation, [`Reloader`] publishes it. A rollback differs in its
//! beginning only: it takes what is [`kept`] of the generation before. Some generations nobody asks for: see [`guard`].
//!
//! Invariants: a generation is published whole or not at all; whatever fails before the publish leaves the old one serving and
//! says which stage failed; there is one reload or rollback at a time, and a burst of requests becomes one more; nothing that a
//! preparation waits for keeps this thread from answering ([`job`]).

mod changes;
mod error;
mod guard;
mod job;
mod kept;
mod policies;
mod queue;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

pub use changes::{RestartSettings, compare};
pub use error::ReloadError;
pub use queue::{Ask, ReloadHandle, Requests, queue};

use crate::clock;
use crate::config::{self, Config, Plugins};
use crate::dns;
use crate::listing::Listing;
use crate::policy::{Catalog, CodeCache, PluginError, PolicyRuntime, Source};
use crate::progress::Progress;
use crate::report::{Changes, ReloadReport};
use crate::snapshot::{Cause, Parts, Published, Snapshot};
use crate::upstream::Resources;
use guard::{Probation, Verdict};
pub(crate) use job::{Failed, Job, Patience, Stuck};
use kept::{Kept, ReplacedBy};
use queue::Current;

/// How often a generation that was replaced is looked at, until no request holds it.
const RETIRE_PERIOD: Duration = Duration::from_millis(50);

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
    progress: &Progress,
) -> Result<Snapshot, ReloadError> {
    progress.enter("list the plugin folder");
    let known = before.map(|b| b.catalog.clone()).unwrap_or_default();
    // Before the scan: what changes meanwhile is then a change for whoever watches the folder.
    let listing = listing(&config);
    let catalog = if config.policies.is_empty() {
        Catalog::default()
    } else {
        scan(&config.plugins, &known, runtime, resources, progress)?
    };
    let cause = if before.is_some() { Cause::Reload } else { Cause::Start };
    let parts = Parts { config: Arc::new(config), catalog, listing, cause, verdicts: BTreeMap::new() };
    build(conf, parts, before, runtime, resources, progress)
}

/// Reads and compiles what the plugin folder holds, as far as neither `known` nor the cache on disk has it.
fn scan(
    plugins: &Plugins,
    known: &Catalog,
    runtime: &PolicyRuntime,
    resources: &Resources,
    progress: &Progress,
) -> Result<Catalog, PluginError> {
    let cache = plugins.cache_dir.as_deref().map(|dir| CodeCache::open(dir, runtime)).transpose()?;
    let source = Source { dir: &plugins.dir, trusted_keys: plugins.trusted_keys.as_deref(), cache: cache.as_ref() };
    let catalog = Catalog::scan(runtime, &source, known, progress);
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
    parts: Parts,
    before: Option<&Snapshot>,
    runtime: &PolicyRuntime,
    resources: &Resources,
    progress: &Progress,
) -> Result<Snapshot, ReloadError> {
    let empty = BTreeMap::new();
    let loaded = before.map_or(&empty, |b| &b.policies);
    let policies = policies::load(conf, &parts, loaded, runtime, resources, progress)?;
    progress.enter("build");
    if progress.is_given_up() {
        // Nobody will publish it: no metric series for it, then.
        return Err(ReloadError::given_up(progress.stage().0));
    }
    Ok(Snapshot::assemble(parts, policies, before, resources))
}

/// Carries out reloads and rollbacks, one at a time, and what canaries and new policies call for.
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

/// What a preparation ends with.
type Prepared = Result<Snapshot, ReloadError>;

/// What a new generation is made for.
enum Step {
    Asked(Ask),
    Canaries(Vec<Verdict>),
    /// This policy was quarantined soon after it came.
    Quarantine(String),
}

/// What the reload thread remembers of earlier generations.
#[derive(Default)]
struct Memory {
    kept: Option<Arc<Kept>>,
    /// A preparation that hangs.
    stuck: Option<Stuck<Prepared>>,
    current: Current,
    probation: Option<Probation>,
    /// Generations that a request may still hold.
    retiring: Vec<Arc<Snapshot>>,
}

impl Reloader {
    /// Serves `requests` until their last sender is gone.
    pub fn run(self, mut requests: Requests) {
        let this = Arc::new(self);
        let mut memory = Memory { current: requests.current.clone(), ..Memory::default() };
        loop {
            memory.look_after_stuck();
            this.resources.metrics.reload_stuck.set(i64::from(memory.stuck.is_some()));
            let next = match this.period(&memory) {
                Some(period) => requests.wait_for(period),
                None => requests.wait(),
            };
            match next {
                Ok(askers) => {
                    let report = this.carry_out(&Arc::new(Step::Asked(askers.ask)), &mut memory);
                    askers.answer(&report);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What nobody asked for can wait until something can be prepared again.
            if memory.stuck.is_none()
                && let Some(step) = this.due(&mut memory)
            {
                this.carry_out(&Arc::new(step), &mut memory);
            }
            // Dropped here and not by its last request: closing connections and unmapping instances takes a while.
            memory.retiring.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        }
    }

    /// How long nobody needs to look at anything, if nobody asks.
    fn period(&self, memory: &Memory) -> Option<Duration> {
        let retiring = (!memory.retiring.is_empty() || memory.stuck.is_some()).then_some(RETIRE_PERIOD);
        let guarded = memory.probation.is_some() || guard::has_canary(&self.published.load());
        retiring.or(guarded.then_some(guard::PERIOD))
    }

    /// What the serving generation calls for by itself.
    fn due(&self, memory: &mut Memory) -> Option<Step> {
        let (serving, now) = (self.published.load(), clock::now());
        let verdicts = guard::verdicts(&serving, now);
        if !verdicts.is_empty() {
            return Some(Step::Canaries(verdicts));
        }
        // One that was quarantined in time counts, also when it is seen a little later.
        let quarantined = memory.probation.as_ref()?.quarantined().map(str::to_owned);
        memory.probation.take_if(|probation| quarantined.is_some() || probation.is_over(now));
        quarantined.map(Step::Quarantine)
    }

    /// Makes a generation and publishes it, or says why there is none.
    fn carry_out(self: &Arc<Self>, step: &Arc<Step>, memory: &mut Memory) -> ReloadReport {
        let began = Instant::now();
        let before = self.published.load();
        let outcome = self.prepared(step, &before, memory);
        let outcome = outcome.map(|next| {
            let changes = self.publish(&before, next);
            (self.published.load(), changes)
        });
        let ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        self.resources.metrics.reload_stuck.set(i64::from(memory.stuck.is_some()));
        if let Step::Asked(_) = **step {
            self.resources.metrics.count_reload(outcome.is_ok());
        }
        match outcome {
            Ok((after, changes)) => {
                let message = message(step, &after, &changes, memory.kept.as_deref());
                let warnings = after.catalog.warnings();
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!(generation = after.generation, ms, changes = %describe(&changes), "{}", step.done());
                self.announce(step, &after);
                memory.learn(step, before, &after, &changes);
                ReloadReport {
                    success: true,
                    message,
                    error: None,
                    generation: after.generation,
                    warnings,
                    changes,
                    nothing_kept: false,
                    stuck: false,
                }
            }
            Err(error) => refusal(step, before.generation, ms, &error),
        }
    }

    /// Has the next generation prepared, unless a preparation hangs.
    fn prepared(self: &Arc<Self>, step: &Arc<Step>, before: &Arc<Snapshot>, memory: &mut Memory) -> Prepared {
        if let Some(stuck) = &memory.stuck {
            return Err(ReloadError::still_stuck(stuck));
        }
        let (this, step, before) = (Arc::clone(self), Arc::clone(step), Arc::clone(before));
        let (kept, progress) = (memory.kept.clone(), Progress::default());
        memory.current.set(Some(progress.clone()));
        let work = move |progress: &Progress| {
            let next = this.next(&step, &before, kept.as_deref(), progress)?;
            progress.enter("look up new names");
            dns::resolve_new(&next);
            Ok(next)
        };
        let outcome = match Job::start(progress, work) {
            Ok(job) => job.wait(Patience::RELOAD),
            Err(error) => Ok(Err(ReloadError::no_thread(&error))),
        };
        match outcome {
            Ok(prepared) => {
                memory.current.set(None);
                prepared
            }
            Err(Failed::Panicked(stage)) => {
                memory.current.set(None);
                Err(ReloadError::panicked(stage))
            }
            Err(Failed::Hangs(stuck)) => {
                let error = ReloadError::given_up(stuck.stage.clone());
                memory.stuck = Some(stuck);
                Err(error)
            }
        }
    }

    /// The next generation.
    fn next(&self, step: &Step, before: &Snapshot, kept: Option<&Kept>, progress: &Progress) -> Prepared {
        let Reloader { conf, runtime, resources, .. } = self;
        match step {
            Step::Asked(Ask::Reload) => {
                progress.enter("read the conf and the files that it names");
                prepare(conf, config::load(conf)?, Some(before), runtime, resources, progress)
            }
            Step::Asked(Ask::Rollback) => {
                let kept = kept.ok_or(ReloadError::NoPrevious)?;
                kept.prepare(conf, kept.asked_for(), before, runtime, resources, progress)
            }
            Step::Quarantine(policy) => {
                let kept = kept.ok_or(ReloadError::NoPrevious)?;
                kept.prepare(conf, kept.because_of(policy), before, runtime, resources, progress)
            }
            Step::Canaries(verdicts) => {
                let parts = Parts {
                    config: Arc::clone(&before.config),
                    catalog: before.catalog.clone(),
                    listing: before.listing.clone(),
                    cause: Cause::Canaries(verdicts.iter().map(Verdict::text).collect()),
                    verdicts: verdicts.iter().map(Verdict::standing).collect(),
                };
                build(conf, parts, Some(before), runtime, resources, progress)
            }
        }
    }

    fn publish(&self, before: &Snapshot, next: Snapshot) -> Changes {
        let changes = compare(before, &next, &self.started);
        self.published.publish(next);
        changes
    }

    /// Tells of what nobody asked for.
    fn announce(&self, step: &Step, after: &Snapshot) {
        match step {
            Step::Asked(_) => {}
            Step::Canaries(verdicts) => {
                verdicts.iter().for_each(|verdict| verdict.announce(after.generation, &self.resources.metrics));
            }
            Step::Quarantine(_) => {
                self.resources.metrics.automatic_rollbacks.inc();
                tracing::warn!(generation = after.generation, "{}", after.cause);
            }
        }
    }
}

impl Memory {
    /// Forgets a preparation that hung and has ended.
    fn look_after_stuck(&mut self) {
        if self.stuck.take_if(|stuck| stuck.is_over()).is_some() {
            self.current.set(None);
        }
    }

    fn learn(&mut self, step: &Step, before: Arc<Snapshot>, after: &Snapshot, changes: &Changes) {
        match step {
            // Who rolls back wants what was different.
            Step::Asked(Ask::Reload) if !changes.is_any() => {}
            // Nor does one without a canary that did harm.
            Step::Canaries(verdicts) if !verdicts.iter().any(Verdict::is_promotion) => {}
            _ => self.kept = Some(Arc::new(Kept::of(&before, step.replaced_by()))),
        }
        match step {
            Step::Asked(Ask::Reload) if changes.is_any() => {
                self.probation = Probation::begin(&before, after, clock::now());
            }
            Step::Asked(Ask::Rollback) | Step::Quarantine(_) => self.probation = None,
            Step::Asked(Ask::Reload) | Step::Canaries(_) => {}
        }
        self.retiring.push(before);
    }
}

impl Step {
    fn noun(&self) -> &'static str {
        match self {
            Step::Asked(Ask::Reload) => "reload",
            Step::Asked(Ask::Rollback) | Step::Quarantine(_) => "rollback",
            Step::Canaries(_) => "change of a canary",
        }
    }

    fn done(&self) -> &'static str {
        match self {
            Step::Asked(Ask::Reload) => "reloaded",
            Step::Asked(Ask::Rollback) | Step::Quarantine(_) => "rolled back",
            Step::Canaries(_) => "canaries changed",
        }
    }

    fn replaced_by(&self) -> ReplacedBy {
        match self {
            Step::Asked(Ask::Reload) => ReplacedBy::Reload,
            Step::Asked(Ask::Rollback) | Step::Quarantine(_) => ReplacedBy::Rollback,
            Step::Canaries(_) => ReplacedBy::Promotion,
        }
    }
}

/// One line for people about a generation that was published.
fn message(step: &Step, after: &Snapshot, changes: &Changes, kept: Option<&Kept>) -> String {
    match (step, kept) {
        (Step::Asked(Ask::Rollback), Some(kept)) => kept.message(after.generation, changes),
        (Step::Asked(_), _) => format!("generation {}: {}", after.generation, changes.summary()),
        (Step::Canaries(_) | Step::Quarantine(_), _) => format!("generation {}: {}", after.generation, after.cause),
    }
}

fn refusal(step: &Step, generation: u64, ms: f64, error: &ReloadError) -> ReloadReport {
    tracing::error!(generation, ms, "{} refused, the old generation serves on: {error}", step.noun());
    ReloadReport {
        success: false,
        message: format!("refused; generation {generation} serves on"),
        error: Some(error.to_string()),
        generation,
        nothing_kept: matches!(error, ReloadError::NoPrevious),
        stuck: matches!(error, ReloadError::Stuck { .. }),
        ..ReloadReport::default()
    }
}

fn describe(changes: &Changes) -> String {
    // Names and versions always can be written.
    serde_json::to_string(changes).unwrap_or_default()
}
