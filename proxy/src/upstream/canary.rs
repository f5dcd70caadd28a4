//! Canaries: a policy that decides a share of an upstream's requests in place of the live one,
//! until it does harm or has proved itself.
//!
//! A request's seed alone assigns it to the canary, with all of its attempts. The requests of both
//! policies are counted side by side ([`Comparison`]), in windows that begin at the same time for
//! both; `model::Rails` evaluates the counts. This module doesn't change which policy decides:
//! [`Canary::decision`] returns the new [`CanaryState`], and a new generation is built with it.
//!
//! Invariant: if a canary gives no answer, or leaves out every endpoint, the live policy is asked,
//! so no request fails for it. Only an explicit refusal takes effect as the live policy's would,
//! and counts against the canary as a request without a good answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::guarded_policy::Turn;
use super::{GuardedPolicy, Resources, Upstream};
use crate::clock;
use crate::config::{CanaryConf, NATIVE};
use crate::metrics::{ArmLabels, ArmSeries, CanarySeries};
use crate::model::{Arm, ArmCounts, Breach, Share, Tick};
use crate::policy::{Fault, Policy};

/// A window ends when the canary has decided this multiple of the requests that a comparison needs:
/// a long good past must not hide a present failure.
const WINDOW: u64 = 20;

/// The state of a canary.
#[derive(Clone, Debug, PartialEq)]
pub enum CanaryState {
    /// The canary decides its share.
    Running,
    /// The canary decides nothing.
    TakenOut(Why),
    /// The canary decides everything, in place of the policy that the conf names.
    Promoted,
}

/// The reason for taking out a canary.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// The canary broke a guard rail.
    Breach(Breach),
    /// The canary's promotion was rolled back.
    RolledBack,
}

impl CanaryState {
    /// The displayed name of the state.
    pub fn label(&self) -> &'static str {
        match self {
            CanaryState::Running => "running",
            CanaryState::TakenOut(_) => "taken_out",
            CanaryState::Promoted => "promoted",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Breach(breach) => breach.fmt(f),
            Why::RolledBack => f.write_str("its promotion was rolled back"),
        }
    }
}

/// The canary of an upstream in one generation.
pub struct Canary {
    bound: GuardedPolicy,
    conf: CanaryConf,
    share: Share,
    state: CanaryState,
    /// The conf's policies of the canary's kinds: scoring, then retry. `None` for a kind that the
    /// canary isn't of, or where the built-in policy decides.
    live: [Option<GuardedPolicy>; 2],
    comparison: Arc<Comparison>,
    series: Arc<CanarySeries>,
}

/// The counts of both policies, over all generations that have this canary beside the same live
/// policy.
struct Comparison {
    began: Tick,
    window: ArcSwap<Window>,
    /// The number of requests that the canary decided in earlier windows.
    before: AtomicU64,
    /// The number of its calls without an answer.
    faults: AtomicU64,
    live: Arc<ArmSeries>,
    canary: Arc<ArmSeries>,
}

/// The counts of one period.
#[derive(Default)]
struct Window {
    live: Arm,
    canary: Arm,
}

/// A request whose end will be counted. Dropping it counts nothing: its client went away.
pub struct Watched<'a> {
    comparison: &'a Comparison,
    canary: bool,
    began: Tick,
}

/// A snapshot of a comparison.
pub struct ComparisonCounts {
    /// Time since the canary began.
    pub age: Duration,
    /// The number of requests that the canary decided.
    pub requests: u64,
    /// The number of its calls without an answer.
    pub faults: u64,
    /// The live policy's counts in the current window.
    pub live: ArmCounts,
    /// The canary's counts in the current window.
    pub canary: ArmCounts,
}

impl Canary {
    /// The canary of an upstream whose conf names `live`. Counts and state of the same canary in
    /// `before` are kept, unless there is a `decision`.
    pub(super) fn build(
        upstream: &str,
        conf: &CanaryConf,
        bound: GuardedPolicy,
        live: [Option<GuardedPolicy>; 2],
        before: Option<&Upstream>,
        decision: Option<CanaryState>,
        resources: &Resources,
    ) -> Self {
        let kinds = bound.policy.kinds();
        let [scoring, retry] = live;
        let live = [scoring.filter(|_| kinds.scoring), retry.filter(|_| kinds.retry)];
        let known = before.and_then(Upstream::canary).filter(|old| old.is_same(conf, &bound));
        let same_live = known.filter(|old| are_alike(&old.live, &live));
        let state = decision.or_else(|| match known.map(|old| &old.state) {
            // It replaced a policy that no longer exists.
            Some(CanaryState::Promoted) if same_live.is_none() => None,
            state => state.cloned(),
        });
        let state = state.unwrap_or(CanaryState::Running);
        let comparison = match same_live {
            Some(old) => Arc::clone(&old.comparison),
            None => Arc::new(Comparison::begin(upstream, &bound, &live, resources)),
        };
        let series = resources.metrics.canary(upstream, bound.policy.name());
        Canary { conf: conf.clone(), share: Share::new(conf.percent / 100.0), bound, state, live, comparison, series }
    }

    /// The policy.
    pub fn policy(&self) -> &GuardedPolicy {
        &self.bound
    }

    /// Its settings in the conf.
    pub fn conf(&self) -> &CanaryConf {
        &self.conf
    }

    /// The present state.
    pub fn state(&self) -> &CanaryState {
        &self.state
    }

    /// Its metrics.
    pub fn series(&self) -> &CanarySeries {
        &self.series
    }

    /// A snapshot of the comparison.
    pub fn counts(&self, now: Tick) -> ComparisonCounts {
        let Comparison { began, window, before, faults, .. } = &*self.comparison;
        let window = window.load();
        ComparisonCounts {
            age: now.since(*began),
            requests: before.load(Relaxed) + window.canary.requests(),
            faults: faults.load(Relaxed),
            live: window.live.counts(),
            canary: window.canary.counts(),
        }
    }

    /// The new state, if it should change. Starts a new window when the current one is full.
    pub fn decision(&self, now: Tick) -> Option<CanaryState> {
        if self.state != CanaryState::Running {
            return None;
        }
        let counts = self.counts(now);
        let rails = &self.conf.rails;
        if let Some(breach) = rails.breach(&counts.live, &counts.canary, counts.faults) {
            return Some(CanaryState::TakenOut(Why::Breach(breach)));
        }
        if counts.canary.requests >= WINDOW * rails.min_requests {
            self.comparison.next_window();
        }
        let proved = counts.requests >= rails.min_requests;
        let long_enough = self.conf.promote_after.is_some_and(|after| counts.age >= after);
        (proved && long_enough).then_some(CanaryState::Promoted)
    }

    /// The live policies of the conf, replaced by this one where it was promoted: scoring, then
    /// retry.
    pub(super) fn or_promoted(&self, live: [Option<GuardedPolicy>; 2]) -> [Option<GuardedPolicy>; 2] {
        let kinds = self.bound.policy.kinds();
        let [scoring, retry] = live;
        let place =
            |is: bool, live| if is && self.state == CanaryState::Promoted { Some(self.bound.clone()) } else { live };
        [place(kinds.scoring, scoring), place(kinds.retry, retry)]
    }

    /// Whether the canary decides the request with this seed.
    fn has(&self, seed: u64) -> bool {
        // Rotated, so that the sample is independent of a shadow's.
        self.state == CanaryState::Running && self.share.holds(seed.rotate_left(32))
    }

    /// Whether it scores for the request with this seed.
    pub(super) fn scores(&self, seed: u64) -> bool {
        self.bound.policy.kinds().scoring && self.has(seed)
    }

    /// Whether it decides about retries of the request with this seed.
    pub(super) fn decides(&self, seed: u64) -> bool {
        self.bound.policy.kinds().retry && self.has(seed)
    }

    /// The canary's answer; `None` when the live policy must give one.
    pub(super) fn ask<R>(&self, turn: Turn<'_>, call: impl FnOnce(&Policy) -> Result<R, Fault>) -> Option<R> {
        // Not called, so this isn't a fault.
        if turn.is_over() {
            return None;
        }
        let answer = self.bound.ask(turn, call);
        if answer.is_none() {
            self.comparison.faults.fetch_add(1, Relaxed);
        }
        answer
    }

    /// Watches a request that was admitted at `began`.
    pub(super) fn watch(&self, seed: u64, began: Tick) -> Option<Watched<'_>> {
        let watched = || Watched { comparison: &self.comparison, canary: self.has(seed), began };
        (self.state == CanaryState::Running).then(watched)
    }

    fn is_same(&self, conf: &CanaryConf, bound: &GuardedPolicy) -> bool {
        self.conf == *conf && self.bound.policy.is_alike(&bound.policy)
    }
}

fn are_alike(old: &[Option<GuardedPolicy>; 2], new: &[Option<GuardedPolicy>; 2]) -> bool {
    old.iter().zip(new).all(|pair| match pair {
        (Some(old), Some(new)) => old.policy.is_alike(&new.policy),
        (None, None) => true,
        _ => false,
    })
}

impl Comparison {
    fn begin(upstream: &str, canary: &GuardedPolicy, live: &[Option<GuardedPolicy>; 2], resources: &Resources) -> Self {
        let arm = |arm, policy: Option<&GuardedPolicy>| {
            resources.metrics.canary_arm(&ArmLabels {
                upstream: upstream.to_owned(),
                arm,
                policy: policy.map_or(NATIVE, |bound| bound.policy.name()).to_owned(),
                version: policy.map_or(String::new(), |bound| bound.policy.identity().version.to_string()),
            })
        };
        Comparison {
            began: clock::now(),
            window: ArcSwap::default(),
            before: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            live: arm("live", live.iter().flatten().next()),
            canary: arm("canary", Some(canary)),
        }
    }

    /// A few requests that end meanwhile may be counted in neither window.
    fn next_window(&self) {
        let full = self.window.swap(Arc::default());
        self.before.fetch_add(full.canary.requests(), Relaxed);
    }
}

impl Watched<'_> {
    /// Counts the end of the request, with a good answer or without.
    pub fn end(self, good: bool, attempts: u32) {
        let latency = clock::now().since(self.began);
        let window = self.comparison.window.load();
        let (arm, series) =
            if self.canary { (&window.canary, &self.comparison.canary) } else { (&window.live, &self.comparison.live) };
        arm.record(good, attempts, latency);
        if good { &series.good } else { &series.failed }.inc();
        series.attempts.inc_by(attempts.into());
        series.duration.observe(latency.as_secs_f64());
    }
}
