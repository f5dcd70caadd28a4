//! Causes of generations without a request: canaries to take out or promote, and policies that are
//! quarantined soon after the reload that introduced them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::model::Tick;
use crate::snapshot::Snapshot;
use crate::upstream::{Canary, CanaryState, GuardedPolicy};

/// How often canaries and new policies are checked. A bad one goes on for this long.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

/// The removal or promotion of a canary.
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryDecision {
    upstream: String,
    policy: String,
    state: CanaryState,
    /// The conf keys of the policy that a promoted canary replaces.
    keys: &'static str,
}

/// The decisions that are due.
pub(super) fn decisions(serving: &Snapshot, now: Tick) -> Vec<CanaryDecision> {
    let decision = |upstream: &str, canary: &Canary| {
        let kinds = canary.policy().policy.kinds();
        Some(CanaryDecision {
            upstream: upstream.to_owned(),
            policy: canary.conf().policy.clone(),
            state: canary.decision(now)?,
            keys: match (kinds.scoring, kinds.retry) {
                (true, true) => "scoring and retry",
                (true, false) => "scoring",
                (false, _) => "retry",
            },
        })
    };
    serving.upstreams().filter_map(|upstream| decision(upstream.name(), upstream.canary()?)).collect()
}

/// Whether a canary is running.
pub(super) fn has_canary(serving: &Snapshot) -> bool {
    serving.upstreams().filter_map(|upstream| upstream.canary()).any(|canary| *canary.state() == CanaryState::Running)
}

/// The state of each canary, by upstream.
pub(super) fn canary_states(snapshot: &Snapshot) -> BTreeMap<String, CanaryState> {
    let state = |canary: &Canary| canary.state().clone();
    let all = snapshot.upstreams().map(|upstream| (upstream.name(), upstream.canary()));
    all.filter_map(|(name, canary)| Some((name.to_string(), canary.map(state)?))).collect()
}

impl CanaryDecision {
    /// The upstream and the new state, for the next generation.
    pub(super) fn state(&self) -> (String, CanaryState) {
        (self.upstream.clone(), self.state.clone())
    }

    pub(super) fn is_promotion(&self) -> bool {
        self.state == CanaryState::Promoted
    }

    /// Logs and counts the decision, after it is carried out.
    pub(super) fn announce(&self, generation: u64, metrics: &Metrics) {
        let CanaryDecision { upstream, policy, state, keys } = self;
        metrics.canary_verdict(upstream, policy, state.label());
        match state {
            CanaryState::TakenOut(why) => tracing::warn!(
                upstream,
                policy,
                generation,
                "canary is taken out: {why}; it stays out until the policy or the canary's settings change"
            ),
            CanaryState::Promoted | CanaryState::Running => tracing::warn!(
                upstream,
                policy,
                generation,
                "canary is promoted: it decides all requests now; name it as {keys} in the conf and remove the canary to make that last"
            ),
        }
    }

    /// The decision in one readable line.
    pub(super) fn text(&self) -> String {
        let CanaryDecision { upstream, policy, state, .. } = self;
        match state {
            CanaryState::TakenOut(why) => format!("canary {policy} of upstream {upstream} is taken out: {why}"),
            CanaryState::Promoted | CanaryState::Running => {
                format!("canary {policy} of upstream {upstream} is promoted")
            }
        }
    }
}

/// The policies that the last reload introduced, and how long they are watched.
pub(super) struct Probation {
    until: Tick,
    policies: Vec<GuardedPolicy>,
}

impl Probation {
    /// The probation of `after`, which a reload has made from `before`; `None` if the conf disables
    /// it or no policy is new.
    pub(super) fn begin(before: &Snapshot, after: &Snapshot, now: Tick) -> Option<Self> {
        let until = now.after(after.config.plugins.rollback_grace?);
        let is_old =
            |name: &str, bound: &GuardedPolicy| before.policies.get(name).is_some_and(|old| bound.continues(old));
        // A canary has its own guard rails, and a shadow does no harm.
        let decides = |name: &str| {
            let mut live = after.config.upstreams.values().flat_map(|u| [u.scoring.as_deref(), u.retry.as_deref()]);
            live.any(|live| live == Some(name))
        };
        let new = after.policies.iter().filter(|(name, bound)| !is_old(name, bound) && decides(name));
        let policies: Vec<GuardedPolicy> = new.map(|(_, bound)| bound.clone()).collect();
        (!policies.is_empty()).then_some(Probation { until, policies })
    }

    pub(super) fn is_over(&self, now: Tick) -> bool {
        now > self.until
    }

    /// A quarantined policy.
    pub(super) fn quarantined(&self) -> Option<&str> {
        self.policies.iter().find(|bound| bound.quarantine().is_active()).map(|bound| bound.policy.name())
    }
}
