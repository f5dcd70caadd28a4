//! Canaries: a policy that decides a share of an upstream's requests in place of the live one,
//! until it does harm or has proved itself.
//!
//! Whether a request is the canary's depends on its seed alone, so all of its attempts are. The two
//! policies' requests are counted side by side ([`Comparison`]), in windows that begin at the same
//! time for both; what is made of the counts is `model::Rails`' business. Nothing here changes who
//! decides: [`Canary::decision`] says what should, and a new generation is built with that
//! [`CanaryState`].
//!
//! Invariant: a canary that gives no answer, or leaves out every endpoint, costs no request its
//! answer: the live policy is asked. Only an explicit refusal is obeyed as the live policy's would
//! be, and counts against the canary as a request without a good answer.

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

/// A window ends when the canary has had so many times the requests that a comparison needs: what
/// was good for long must not hide what is bad now.
const WINDOW: u64 = 20;

/// What became of a canary.
#[derive(Clone, Debug, PartialEq)]
pub enum CanaryState {
    /// It decides its share.
    Running,
    /// It decides nothing.
    TakenOut(Why),
    /// It decides everything, in place of the policy that the conf names.
    Promoted,
}

/// Why a canary was taken out.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// It broke a guard rail.
    Breach(Breach),
    /// Its promotion was rolled back.
    RolledBack,
}

impl CanaryState {
    /// How it is shown.
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

/// A canary of an upstream of one generation.
pub struct Canary {
    bound: GuardedPolicy,
    conf: CanaryConf,
    share: Share,
    state: CanaryState,
    /// The policies that the conf has for what the canary is: scoring, then retry. `None` where it
    /// isn't that, or where the built-in one is asked.
    live: [Option<GuardedPolicy>; 2],
    comparison: Arc<Comparison>,
    series: Arc<CanarySeries>,
}

/// How the two have done, over all generations that have this canary beside the same live policy.
struct Comparison {
    began: Tick,
    window: ArcSwap<Window>,
    /// Requests that the canary decided in earlier windows.
    before: AtomicU64,
    /// Its calls that gave no answer.
    faults: AtomicU64,
    live: Arc<ArmSeries>,
    canary: Arc<ArmSeries>,
}

/// The same time, for both.
#[derive(Default)]
struct Window {
    live: Arm,
    canary: Arm,
}

/// A request whose end is counted. Dropping it counts nothing: its client went away.
pub struct Watched<'a> {
    comparison: &'a Comparison,
    canary: bool,
    began: Tick,
}

/// The counts of a comparison, for those who look at it.
pub struct ComparisonCounts {
    /// Since the canary began.
    pub age: Duration,
    /// Requests that the canary decided.
    pub requests: u64,
    /// Its calls that gave no answer.
    pub faults: u64,
    /// Of the present window: the live policy.
    pub live: ArmCounts,
    /// Of the present window: the canary.
    pub canary: ArmCounts,
}

impl Canary {
    /// The canary of an upstream whose conf names `live`. What was counted and found of the same
    /// one by `before` stays, unless there is a `decision`.
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
            // It took the place of a policy that isn't there any more.
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

    /// What the conf says of it.
    pub fn conf(&self) -> &CanaryConf {
        &self.conf
    }

    /// What became of it.
    pub fn state(&self) -> &CanaryState {
        &self.state
    }

    /// Its metrics.
    pub fn series(&self) -> &CanarySeries {
        &self.series
    }

    /// How the two have done so far.
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

    /// What should become of it, if it shouldn't go on as it does. Begins a new window when the
    /// present one is full.
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

    /// The live policies of the conf, or this one in place of them where it was promoted: scoring,
    /// then retry.
    pub(super) fn or_promoted(&self, live: [Option<GuardedPolicy>; 2]) -> [Option<GuardedPolicy>; 2] {
        let kinds = self.bound.policy.kinds();
        let [scoring, retry] = live;
        let place =
            |is: bool, live| if is && self.state == CanaryState::Promoted { Some(self.bound.clone()) } else { live };
        [place(kinds.scoring, scoring), place(kinds.retry, retry)]
    }

    /// Whether the request with this seed is the canary's.
    fn has(&self, seed: u64) -> bool {
        // Turned, so that it isn't drawn like the sample of a shadow.
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

    /// Its answer; `None` when the live policy must give one.
    pub(super) fn ask<R>(&self, turn: Turn<'_>, call: impl FnOnce(&Policy) -> Result<R, Fault>) -> Option<R> {
        // Not asked, and so not in vain.
        if turn.is_over() {
            return None;
        }
        let answer = self.bound.ask(turn, call);
        if answer.is_none() {
            self.comparison.faults.fetch_add(1, Relaxed);
        }
        answer
    }

    /// Watches a request whose turn has come.
    pub(super) fn watch(&self, seed: u64) -> Option<Watched<'_>> {
        let watched = || Watched { comparison: &self.comparison, canary: self.has(seed), began: clock::now() };
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

    /// Requests that end meanwhile may be counted in neither; that are few.
    fn next_window(&self) {
        let full = self.window.swap(Arc::default());
        self.before.fetch_add(full.canary.requests(), Relaxed);
    }
}

impl Watched<'_> {
    /// The request came to its end, with a good answer or without.
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
