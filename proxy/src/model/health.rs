//! Whether an endpoint is fit to serve, as the probes of its health check found it.
//!
//! Trips after so many failed probes in a row, recovers after so many good ones; the thresholds are
//! parameters. An endpoint that was never probed is presumed healthy, unless its chain must be
//! verified first. The wrong chain is not a matter of thresholds: one answer is enough, and another
//! one clears it. Lock-free: the one writer is the endpoint's current probe, and a reader may see
//! one field newer than another.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

/// A head so many blocks above the median of its round is a lie or another chain's: about three
/// hours of Ethereum, and more than any endpoint can be ahead of most others.
const IMPLAUSIBLE_LEAD: u64 = 1_000;
/// With fewer heads nobody can tell who lies.
const HEADS_FOR_MEDIAN: usize = 3;
/// Stands for no number, where a number may be.
const NONE: u64 = u64::MAX;

const UNKNOWN: u8 = 0;
const HEALTHY: u8 = 1;
const UNHEALTHY: u8 = 2;

const UNVERIFIED: u8 = 0;
const RIGHT_CHAIN: u8 = 1;
const WRONG_CHAIN: u8 = 2;

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeFailure {
    /// In words; never holds an address or any part of an answer.
    pub detail: &'static str,
    /// The HTTP status, where that was wrong.
    pub http_status: Option<u16>,
}

impl ProbeFailure {
    /// The chain must be verified, and wasn't yet.
    pub const UNVERIFIED: ProbeFailure = ProbeFailure::new("its chain is not verified yet");
    /// It answers for another chain.
    pub const WRONG_CHAIN: ProbeFailure = ProbeFailure::new("of another chain than chain_id says");
    /// Its head is far beyond all others'.
    pub const IMPLAUSIBLE_HEAD: ProbeFailure = ProbeFailure::new("implausible head");
    /// It lacks the method that it was asked for.
    pub const NO_METHOD: ProbeFailure = ProbeFailure::new("it lacks the method of the health check");

    /// The proxy couldn't ask: it says nothing about the endpoint.
    pub const OWN_LACK: ProbeFailure = ProbeFailure::new(super::OWN_LACK);

    /// A failure in these words.
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

/// What the conf asks of an endpoint beyond good probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthRules {
    /// Its chain must be verified before it counts as healthy.
    pub verify_chain: bool,
    /// It may be no more blocks behind the best one.
    pub max_head_lag: Option<u32>,
}

/// What an endpoint's health amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Not probed, or not often enough to tell: presumed healthy.
    Unknown,
    /// Its probes are good.
    Healthy,
    /// Its probes fail.
    Unhealthy,
    /// Of another chain: never to be used.
    WrongChain,
    /// Its chain must be verified, and wasn't yet.
    Unverified,
    /// Further behind than it may be.
    Lagging,
}

impl HealthState {
    /// Whether it may take requests.
    pub const fn is_good(self) -> bool {
        matches!(self, HealthState::Unknown | HealthState::Healthy)
    }

    /// For the status page.
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

/// What the probes of one endpoint found. It is carried over a reload as long as the URL stays.
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
    /// The same verdict for an endpoint that must be of another chain than before: that is to be
    /// verified, and how far its head is behind isn't known.
    pub fn for_another_chain(&self) -> Self {
        EndpointHealth {
            verdict: AtomicU8::new(self.verdict.load(Relaxed)),
            failure: ArcSwap::new(self.failure.load_full()),
            ..EndpointHealth::default()
        }
    }

    /// What it amounts to under `rules`.
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

    /// Why the last failed probe did; before any, that nothing is verified yet.
    pub fn failure(&self) -> ProbeFailure {
        **self.failure.load()
    }

    /// Whether any probe has ended.
    pub fn is_probed(&self) -> bool {
        let counted = self.failures.load(Relaxed) > 0 || self.successes.load(Relaxed) > 0;
        counted || self.chain.load(Relaxed) != UNVERIFIED
    }

    /// Whether its chain was verified, and was the right one.
    pub fn is_verified(&self) -> bool {
        self.chain.load(Relaxed) == RIGHT_CHAIN
    }

    /// The last head that it told.
    pub fn head(&self) -> Option<u64> {
        known(&self.head)
    }

    /// How many blocks it is behind the best of its pool; `None` while not known.
    pub fn head_lag(&self) -> Option<u64> {
        known(&self.lag)
    }

    /// A probe was good. So many in a row make an unhealthy endpoint healthy.
    pub fn pass(&self, healthy_threshold: u32) {
        self.failures.store(0, Relaxed);
        if count(&self.successes) >= healthy_threshold || self.verdict.load(Relaxed) != UNHEALTHY {
            self.verdict.store(HEALTHY, Relaxed);
        }
    }

    /// A probe failed. So many in a row make an endpoint unhealthy; until then its last head lag
    /// counts.
    pub fn fail(&self, failure: ProbeFailure, unhealthy_threshold: u32) {
        // First the reason, so that whoever sees the verdict sees why.
        if self.failure() != failure {
            self.failure.store(failure.into());
        }
        self.successes.store(0, Relaxed);
        if count(&self.failures) >= unhealthy_threshold {
            self.verdict.store(UNHEALTHY, Relaxed);
            self.lag.store(NONE, Relaxed);
        }
    }

    /// It told which chain it is of. How far it is behind on a wrong one means nothing.
    pub fn told_chain(&self, is_right: bool) {
        if !is_right {
            self.told_head(None, None);
        }
        self.chain.store(if is_right { RIGHT_CHAIN } else { WRONG_CHAIN }, Relaxed);
    }

    /// It told its head, `lag` blocks behind the best; without either when its probes don't tell.
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

/// Counts one more; there is one writer.
fn count(counter: &AtomicU32) -> u32 {
    let count = counter.load(Relaxed).saturating_add(1);
    counter.store(count, Relaxed);
    count
}

/// How far a head is behind those of its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLag {
    /// So many blocks behind the best.
    Behind(u64),
    /// Beyond belief.
    Implausible,
}

/// Compares the heads of one round; an endpoint without a head has none.
///
/// The best is the highest that can be believed. Of three heads and more, one that is more than
/// 1,000 blocks above the median isn't: a single endpoint that lies must not make all others look
/// late.
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
