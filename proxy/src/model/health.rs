//! Health of an endpoint, as determined by its health check's probes.
//!
//! Trips after a number of failed probes in a row, recovers after a number of good ones; the
//! thresholds are parameters. An endpoint that was never probed is presumed healthy, unless its
//! chain must be verified first. A wrong chain doesn't depend on thresholds: one answer sets that
//! state, and another clears it. Lock-free: the only writer is the endpoint's current probe, and a
//! reader may see one field newer than another.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

/// A head this many blocks above the median of its round is false or another chain's: about three
/// hours of Ethereum, and more than any endpoint can be ahead of most others.
const IMPLAUSIBLE_LEAD: u64 = 1_000;
/// With fewer heads a false one can't be identified.
const HEADS_FOR_MEDIAN: usize = 3;
/// The stored form of a missing number.
const NONE: u64 = u64::MAX;

const UNKNOWN: u8 = 0;
const HEALTHY: u8 = 1;
const UNHEALTHY: u8 = 2;

const UNVERIFIED: u8 = 0;
const RIGHT_CHAIN: u8 = 1;
const WRONG_CHAIN: u8 = 2;

/// The reason for a failed probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeFailure {
    /// A description; never holds an address or any part of an answer.
    pub detail: &'static str,
    /// The HTTP status, if it was the reason.
    pub http_status: Option<u16>,
}

impl ProbeFailure {
    /// The chain must be verified, and hasn't been yet.
    pub const UNVERIFIED: ProbeFailure = ProbeFailure::new("its chain is not verified yet");
    /// The endpoint serves another chain.
    pub const WRONG_CHAIN: ProbeFailure = ProbeFailure::new("of another chain than chain_id says");
    /// The endpoint's head is far beyond all others.
    pub const IMPLAUSIBLE_HEAD: ProbeFailure = ProbeFailure::new("implausible head");
    /// The endpoint lacks the method of the health check.
    pub const NO_METHOD: ProbeFailure = ProbeFailure::new("it lacks the method of the health check");

    /// The proxy ran out of resources, which is independent of the endpoint.
    pub const OWN_LACK: ProbeFailure = ProbeFailure::new(super::OWN_LACK);

    /// A failure with this description.
    pub const fn new(detail: &'static str) -> Self {
        ProbeFailure { detail, http_status: None }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)?;
        self.http_status.map_or(Ok(()), |status| write!(f, " {status}"))
    }
}

/// The requirements of the conf beyond good probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthRules {
    /// The chain must be verified before the endpoint counts as healthy.
    pub verify_chain: bool,
    /// Maximum blocks behind the best endpoint.
    pub max_head_lag: Option<u32>,
}

/// The health of an endpoint under the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Not probed, or not often enough: presumed healthy.
    Unknown,
    /// The probes succeed.
    Healthy,
    /// The probes fail.
    Unhealthy,
    /// The endpoint serves another chain: never use it.
    WrongChain,
    /// The chain must be verified, and hasn't been yet.
    Unverified,
    /// The head is further behind than allowed.
    Lagging,
}

impl HealthState {
    /// Whether the endpoint may take requests.
    pub const fn is_good(self) -> bool {
        matches!(self, HealthState::Unknown | HealthState::Healthy)
    }

    /// The name on the status page.
    pub const fn label(self) -> &'static str {
        match self {
            HealthState::Unknown => "unknown",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
            HealthState::WrongChain => "wrong_chain",
            HealthState::Unverified => "unverified",
            HealthState::Lagging => "lagging",
        }
    }
}

/// The probe results of one endpoint. They survive a reload as long as the URL stays.
#[derive(Debug)]
pub struct EndpointHealth {
    verdict: AtomicU8,
    chain: AtomicU8,
    failures: AtomicU32,
    successes: AtomicU32,
    head: AtomicU64,
    lag: AtomicU64,
    failure: ArcSwap<ProbeFailure>,
}

impl Default for EndpointHealth {
    fn default() -> Self {
        EndpointHealth {
            verdict: AtomicU8::new(UNKNOWN),
            chain: AtomicU8::new(UNVERIFIED),
            failures: AtomicU32::new(0),
            successes: AtomicU32::new(0),
            head: AtomicU64::new(NONE),
            lag: AtomicU64::new(NONE),
            failure: ArcSwap::from_pointee(ProbeFailure::UNVERIFIED),
        }
    }
}

impl EndpointHealth {
    /// The same verdict for an endpoint whose configured chain changed: the chain is unverified,
    /// and the head lag unknown.
    pub fn for_another_chain(&self) -> Self {
        EndpointHealth {
            verdict: AtomicU8::new(self.verdict.load(Relaxed)),
            failure: ArcSwap::new(self.failure.load_full()),
            ..EndpointHealth::default()
        }
    }

    /// The health under `rules`.
    pub fn state(&self, rules: HealthRules) -> HealthState {
        let chain = if rules.verify_chain { self.chain.load(Relaxed) } else { RIGHT_CHAIN };
        match (chain, self.verdict.load(Relaxed)) {
            (WRONG_CHAIN, _) => HealthState::WrongChain,
            (_, UNHEALTHY) => HealthState::Unhealthy,
            (UNVERIFIED, _) => HealthState::Unverified,
            _ if self.is_lagging(rules) => HealthState::Lagging,
            (_, HEALTHY) => HealthState::Healthy,
            _ => HealthState::Unknown,
        }
    }

    /// The failure of the last failed probe; before any, [`ProbeFailure::UNVERIFIED`].
    pub fn failure(&self) -> ProbeFailure {
        **self.failure.load()
    }

    /// Whether any probe has ended.
    pub fn is_probed(&self) -> bool {
        let counted = self.failures.load(Relaxed) > 0 || self.successes.load(Relaxed) > 0;
        counted || self.chain.load(Relaxed) != UNVERIFIED
    }

    /// Whether the last chain check found the right chain.
    pub fn is_verified(&self) -> bool {
        self.chain.load(Relaxed) == RIGHT_CHAIN
    }

    /// The last head that a probe returned.
    pub fn head(&self) -> Option<u64> {
        known(&self.head)
    }

    /// Blocks behind the best endpoint of the pool; `None` if unknown.
    pub fn head_lag(&self) -> Option<u64> {
        known(&self.lag)
    }

    /// Records a good probe. `healthy_threshold` in a row make an unhealthy endpoint healthy.
    pub fn pass(&self, healthy_threshold: u32) {
        self.failures.store(0, Relaxed);
        if count(&self.successes) >= healthy_threshold || self.verdict.load(Relaxed) != UNHEALTHY {
            self.verdict.store(HEALTHY, Relaxed);
        }
    }

    /// Records a failed probe. `unhealthy_threshold` in a row make the endpoint unhealthy; until
    /// then its last head lag counts.
    pub fn fail(&self, failure: ProbeFailure, unhealthy_threshold: u32) {
        // The reason first: a reader of the verdict then sees it.
        if self.failure() != failure {
            self.failure.store(failure.into());
        }
        self.successes.store(0, Relaxed);
        if count(&self.failures) >= unhealthy_threshold {
            self.verdict.store(UNHEALTHY, Relaxed);
            self.lag.store(NONE, Relaxed);
        }
    }

    /// Records a chain check. The head lag on a wrong chain means nothing.
    pub fn told_chain(&self, is_right: bool) {
        if !is_right {
            self.told_head(None, None);
        }
        self.chain.store(if is_right { RIGHT_CHAIN } else { WRONG_CHAIN }, Relaxed);
    }

    /// Records a head and its `lag` behind the best, or neither if the probes return no head.
    pub fn told_head(&self, head: Option<u64>, lag: Option<u64>) {
        self.head.store(head.unwrap_or(NONE), Relaxed);
        self.lag.store(lag.unwrap_or(NONE), Relaxed);
    }

    fn is_lagging(&self, rules: HealthRules) -> bool {
        rules.max_head_lag.is_some_and(|max| self.head_lag().is_some_and(|lag| lag > u64::from(max)))
    }
}

fn known(number: &AtomicU64) -> Option<u64> {
    Some(number.load(Relaxed)).filter(|&number| number != NONE)
}

/// Increments a counter that has one writer.
fn count(counter: &AtomicU32) -> u32 {
    let count = counter.load(Relaxed).saturating_add(1);
    counter.store(count, Relaxed);
    count
}

/// The lag of a head behind the others of its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLag {
    /// Blocks behind the best.
    Behind(u64),
    /// Too far ahead to be true.
    Implausible,
}

/// Compares the heads of one round. An endpoint without a head has no lag.
///
/// The best is the highest plausible head. Of three or more heads, one that is more than 1,000
/// blocks above the median isn't plausible: a single false head must not make all other endpoints
/// look late.
pub fn compare_heads(heads: &[Option<u64>]) -> Vec<Option<HeadLag>> {
    let mut sorted: Vec<u64> = heads.iter().flatten().copied().collect();
    sorted.sort_unstable();
    let median = if sorted.len() < HEADS_FOR_MEDIAN { None } else { sorted.get((sorted.len() - 1) / 2) };
    let limit = median.map_or(u64::MAX, |median| median.saturating_add(IMPLAUSIBLE_LEAD));
    let best = sorted.iter().rev().copied().find(|&head| head <= limit).unwrap_or(0);
    let lag = |head: u64| match best.checked_sub(head) {
        Some(lag) => HeadLag::Behind(lag),
        None => HeadLag::Implausible,
    };
    heads.iter().map(|head| head.map(lag)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: ProbeFailure = ProbeFailure::new("connection refused");
    const PLAIN: HealthRules = HealthRules { verify_chain: false, max_head_lag: None };
    const STRICT: HealthRules = HealthRules { verify_chain: true, max_head_lag: Some(5) };

    #[test]
    fn thresholds_count_probes_in_a_row() {
        let health = EndpointHealth::default();
        assert_eq!((health.state(PLAIN), health.is_probed()), (HealthState::Unknown, false));
        health.fail(DOWN, 2);
        assert_eq!((health.state(PLAIN), health.is_probed()), (HealthState::Unknown, true));
        health.pass(3);
        assert_eq!(health.state(PLAIN), HealthState::Healthy, "nothing has to be made good");
        health.fail(DOWN, 2);
        assert_eq!(health.state(PLAIN), HealthState::Healthy);
        health.fail(DOWN, 2);
        assert_eq!((health.state(PLAIN), health.failure()), (HealthState::Unhealthy, DOWN));
        for _ in 0..2 {
            health.pass(3);
            assert_eq!(health.state(PLAIN), HealthState::Unhealthy);
        }
        health.pass(3);
        assert_eq!(health.state(PLAIN), HealthState::Healthy);
    }

    #[test]
    fn a_failure_between_good_probes_begins_the_count_anew() {
        let health = EndpointHealth::default();
        health.fail(DOWN, 1);
        health.pass(2);
        health.fail(DOWN, 1);
        health.pass(2);
        assert_eq!(health.state(PLAIN), HealthState::Unhealthy);
    }

    #[test]
    fn a_chain_is_verified_first_and_a_wrong_one_beats_everything() {
        let health = EndpointHealth::default();
        assert_eq!(health.state(STRICT), HealthState::Unverified);
        assert_eq!(health.failure(), ProbeFailure::UNVERIFIED);
        health.pass(1);
        assert_eq!(health.state(STRICT), HealthState::Unverified);
        health.told_chain(true);
        assert_eq!(health.state(STRICT), HealthState::Healthy);
        health.told_head(Some(7), Some(0));
        health.told_chain(false);
        health.fail(DOWN, 1);
        assert_eq!((health.state(STRICT), health.head_lag()), (HealthState::WrongChain, None));
        assert_eq!(health.state(PLAIN), HealthState::Unhealthy, "nobody asks for the chain any more");
        health.told_chain(true);
        assert_eq!(health.state(STRICT), HealthState::Unhealthy);
    }

    #[test]
    fn another_chain_is_to_be_verified_and_the_verdict_stays() {
        let health = EndpointHealth::default();
        health.told_chain(true);
        health.told_head(Some(7), Some(0));
        health.fail(DOWN, 1);
        let other = health.for_another_chain();
        assert_eq!((other.is_verified(), other.is_probed(), other.head()), (false, false, None));
        assert_eq!((other.state(PLAIN), other.failure()), (HealthState::Unhealthy, DOWN));
    }

    #[test]
    fn lag_counts_until_the_endpoint_is_unhealthy() {
        let health = EndpointHealth::default();
        health.told_chain(true);
        health.told_head(Some(100), Some(6));
        health.pass(1);
        assert_eq!(health.state(STRICT), HealthState::Lagging);
        assert_eq!(health.state(PLAIN), HealthState::Healthy);
        health.fail(DOWN, 2);
        assert_eq!(health.state(STRICT), HealthState::Lagging, "one failed probe doesn't bring it back");
        health.fail(DOWN, 2);
        assert_eq!((health.head(), health.head_lag()), (Some(100), None));
        health.told_head(Some(100), Some(5));
        health.pass(1);
        assert_eq!(health.state(STRICT), HealthState::Healthy);
    }

    #[test]
    fn heads_are_compared_to_the_best_that_can_be_believed() {
        use HeadLag::{Behind, Implausible};
        for (heads, expected) in [
            (vec![], vec![]),
            (vec![None], vec![None]),
            (vec![Some(5), None, Some(9)], vec![Some(Behind(4)), None, Some(Behind(0))]),
            (vec![Some(5), Some(9_000)], vec![Some(Behind(8_995)), Some(Behind(0))]),
            (vec![Some(5), Some(6), Some(1_007)], vec![Some(Behind(1)), Some(Behind(0)), Some(Implausible)]),
            (vec![Some(5), Some(6), Some(1_006)], vec![Some(Behind(1_001)), Some(Behind(1_000)), Some(Behind(0))]),
            (
                vec![Some(u64::MAX - 1), Some(6), Some(9_000), Some(6)],
                vec![Some(Implausible), Some(Behind(0)), Some(Implausible), Some(Behind(0))],
            ),
        ] {
            assert_eq!(compare_heads(&heads), expected, "{heads:?}");
        }
    }

    #[test]
    fn a_failure_prints_with_its_status() {
        let failure = ProbeFailure { detail: "HTTP status", http_status: Some(503) };
        assert_eq!((failure.to_string(), DOWN.to_string()), ("HTTP status 503".into(), "connection refused".into()));
    }
}
