//! The life of a reload: a [`GenerationBuilder`] prepares a generation, the [`Reloader`] publishes
//! it. A rollback differs only in its start: it uses the conf and the plugins of the [`previous`]
//! generation. Some generations are made without a request: see [`guard`].
//!
//! Invariants: a generation is published whole or not at all; any failure before the publish leaves
//! the old one serving and names the failed stage; there is one reload or rollback at a time, and a
//! burst of requests becomes one more; this thread always answers, whatever a preparation waits for
//! ([`job`]).

mod builder;
mod changes;
mod error;
mod guard;
mod job;
mod policies;
mod previous;
mod queue;
mod trigger;

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

pub use builder::GenerationBuilder;
pub use changes::{RestartSettings, compare};
pub use error::ReloadError;
pub use queue::{ReloadHandle, Requests, queue};
pub use trigger::Trigger;

use crate::clock;
use crate::config;
use crate::dns;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::report::{Changes, ReloadReport};
use crate::snapshot::{Published, Replaced, Snapshot};
use guard::{CanaryDecision, Probation};
pub(crate) use job::{Failed, Job, Patience, Stuck};
use previous::PreviousGeneration;
use queue::Current;

/// How often a replaced generation is checked, until no request holds it.
const RETIRE_PERIOD: Duration = Duration::from_millis(50);

/// Carries out reloads, rollbacks, and the generations that canaries and new policies cause, one at
/// a time.
pub struct Reloader {
    /// Builds generations.
    pub builder: GenerationBuilder,
    /// The settings from the start of the process, which can't change.
    pub started: RestartSettings,
    /// The published generations.
    pub published: Arc<Published>,
}

/// The result of a preparation.
type Prepared = Result<Snapshot, ReloadError>;

/// The reload thread's state across generations.
#[derive(Default)]
struct Memory {
    previous: Option<Arc<PreviousGeneration>>,
    /// A preparation that hangs.
    stuck: Option<Stuck<Prepared>>,
    current: Current,
    probation: Option<Probation>,
    /// Generations that a request may still hold.
    retiring: Vec<Arc<Snapshot>>,
}

impl Reloader {
    /// Serves `requests` until all handles are gone.
    pub fn run(self, mut requests: Requests) {
        let this = Arc::new(self);
        let mut memory = Memory { current: requests.current.clone(), ..Memory::default() };
        loop {
            memory.look_after_stuck();
            this.metrics().reload_stuck.set(i64::from(memory.stuck.is_some()));
            let next = match this.period(&memory) {
                Some(period) => requests.wait_for(period),
                None => requests.wait(),
            };
            match next {
                Ok(askers) => {
                    let report = this.carry_out(&askers.trigger, &mut memory);
                    askers.answer(&report);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Generations without a request wait until the next preparation is possible.
            if memory.stuck.is_none()
                && let Some(trigger) = this.due(&mut memory)
            {
                this.carry_out(&trigger, &mut memory);
            }
            // Dropped here, not by its last request: closing connections and unmapping instances
            // takes a while.
            memory.retiring.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        }
    }

    /// The longest wait for a request; `None` if no other work is due.
    fn period(&self, memory: &Memory) -> Option<Duration> {
        let retiring = (!memory.retiring.is_empty() || memory.stuck.is_some()).then_some(RETIRE_PERIOD);
        let guarded = memory.probation.is_some() || guard::has_canary(&self.published.load());
        retiring.or(guarded.then_some(guard::PERIOD))
    }

    /// The trigger that the serving generation itself causes.
    fn due(&self, memory: &mut Memory) -> Option<Trigger> {
        let (serving, now) = (self.published.load(), clock::now());
        let decisions = guard::decisions(&serving, now);
        if !decisions.is_empty() {
            return Some(Trigger::Canaries(decisions));
        }
        // A quarantine within the grace counts, even if it is noticed a little later.
        let quarantined = memory.probation.as_ref()?.quarantined().map(str::to_owned);
        memory.probation.take_if(|probation| quarantined.is_some() || probation.is_over(now));
        quarantined.map(Trigger::Quarantine)
    }

    /// Prepares a generation and publishes it, or reports why not.
    fn carry_out(self: &Arc<Self>, trigger: &Trigger, memory: &mut Memory) -> ReloadReport {
        let began = Instant::now();
        let before = self.published.load();
        let outcome = self.prepared(trigger, &before, memory).map(|next| self.published.publish(next));
        let ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        self.metrics().reload_stuck.set(i64::from(memory.stuck.is_some()));
        if trigger.is_asked_for() {
            self.metrics().count_reload(outcome.is_ok());
        }
        match outcome {
            Ok(replaced) => self.report(trigger, replaced, ms, memory),
            Err(error) => refusal(trigger, before.generation, ms, &error),
        }
    }

    fn report(&self, trigger: &Trigger, replaced: Replaced, ms: f64, memory: &mut Memory) -> ReloadReport {
        let after = Arc::clone(&replaced.after);
        let changes = compare(&replaced.before, &after, &self.started);
        let message = message(trigger, &after, &changes, memory.previous.as_deref());
        let warnings = after.warnings(clock::wall_secs());
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        tracing::info!(generation = after.generation, ms, changes = %describe(&changes), "{}", trigger.done());
        self.announce(trigger, &after);
        memory.learn(trigger, replaced, &changes);
        ReloadReport {
            success: true,
            message,
            generation: after.generation,
            warnings,
            changes,
            ..ReloadReport::default()
        }
    }

    /// Prepares the next generation, unless a preparation hangs.
    fn prepared(self: &Arc<Self>, trigger: &Trigger, before: &Arc<Snapshot>, memory: &mut Memory) -> Prepared {
        if let Some(stuck) = &memory.stuck {
            return Err(ReloadError::still_stuck(stuck));
        }
        let (this, trigger, before) = (Arc::clone(self), trigger.clone(), Arc::clone(before));
        let (previous, progress) = (memory.previous.clone(), Progress::default());
        memory.current.set(Some(progress.clone()));
        let work = move |progress: &Progress| {
            let next = this.next(&trigger, &before, previous.as_deref(), progress)?;
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

    /// Builds the next generation.
    fn next(
        &self,
        trigger: &Trigger,
        before: &Snapshot,
        previous: Option<&PreviousGeneration>,
        progress: &Progress,
    ) -> Prepared {
        match trigger {
            Trigger::Reload => {
                progress.enter("read the conf and the files that it names");
                self.builder.prepare(config::load(&self.builder.conf)?, Some(before), progress)
            }
            Trigger::Rollback | Trigger::Quarantine(_) => {
                let previous = previous.ok_or(ReloadError::NoPrevious)?;
                self.builder.restore(previous, trigger, before, progress)
            }
            Trigger::Canaries(decisions) => self.builder.decide_canaries(decisions, trigger, before, progress),
        }
    }

    /// Logs and counts a generation without a request.
    fn announce(&self, trigger: &Trigger, after: &Snapshot) {
        match trigger {
            Trigger::Reload | Trigger::Rollback => {}
            Trigger::Canaries(decisions) => {
                decisions.iter().for_each(|decision| decision.announce(after.generation, self.metrics()));
            }
            Trigger::Quarantine(_) => {
                self.metrics().automatic_rollbacks.inc();
                tracing::warn!(generation = after.generation, "{}", after.cause);
            }
        }
    }

    fn metrics(&self) -> &Metrics {
        &self.builder.resources.metrics
    }
}

impl Memory {
    /// Clears a preparation that hung and has ended.
    fn look_after_stuck(&mut self) {
        if self.stuck.take_if(|stuck| stuck.is_over()).is_some() {
            self.current.set(None);
        }
    }

    fn learn(&mut self, trigger: &Trigger, replaced: Replaced, changes: &Changes) {
        let Replaced { before, after } = replaced;
        match trigger {
            // A rollback must lead to a different generation.
            Trigger::Reload if !changes.is_any() => {}
            // A decision that only took canaries out is nothing to roll back to.
            Trigger::Canaries(decisions) if !decisions.iter().any(CanaryDecision::is_promotion) => {}
            _ => self.previous = Some(Arc::new(PreviousGeneration::of(&before, trigger.clone()))),
        }
        match trigger {
            Trigger::Reload if changes.is_any() => {
                self.probation = Probation::begin(&before, &after, clock::now());
            }
            Trigger::Rollback | Trigger::Quarantine(_) => self.probation = None,
            Trigger::Reload | Trigger::Canaries(_) => {}
        }
        self.retiring.push(before);
    }
}

/// One readable line about a published generation.
fn message(trigger: &Trigger, after: &Snapshot, changes: &Changes, previous: Option<&PreviousGeneration>) -> String {
    match (trigger, previous) {
        (Trigger::Rollback, Some(previous)) => previous.message(after.generation, changes),
        (Trigger::Reload | Trigger::Rollback, _) => format!("generation {}: {}", after.generation, changes.summary()),
        (Trigger::Canaries(_) | Trigger::Quarantine(_), _) => {
            format!("generation {}: {}", after.generation, after.cause)
        }
    }
}

fn refusal(trigger: &Trigger, generation: u64, ms: f64, error: &ReloadError) -> ReloadReport {
    tracing::error!(generation, ms, "{} refused, the old generation serves on: {error}", trigger.noun());
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
    // Names and versions always serialize.
    serde_json::to_string(changes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
