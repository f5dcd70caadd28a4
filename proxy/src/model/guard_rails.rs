//! A comparison of a policy that decides a share of the requests with the live one.
//!
//! Two [`Arm`]s count over the same time, so that events at the endpoints affect both. [`Rails`]
//! compare them. A difference counts only if chance hardly explains it: the compared value is the
//! lower end of a confidence interval ([`CONFIDENCE`]). So a few unlucky requests don't end a
//! trial, however often it is checked.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::{LatencyBuckets, LatencyCounts};

/// Standard deviations below the observed value: chance alone deviates as far in one of 740 checks.
const CONFIDENCE: f64 = 3.0;
/// The share of requests that may be slower than the compared percentile.
const SLOWEST: f64 = 0.01;

/// Counters of the requests that one of the two policies decides.
#[derive(Debug, Default)]
pub struct Arm {
    requests: AtomicU64,
    failed: AtomicU64,
    attempts: AtomicU64,
    attempts_squared: AtomicU64,
    latencies: LatencyBuckets,
}

/// A snapshot of an [`Arm`].
#[derive(Clone, Debug)]
pub struct ArmCounts {
    /// Number of requests that ended.
    pub requests: u64,
    /// Number of requests without a good answer.
    pub failed: u64,
    /// Number of attempts of all requests.
    pub attempts: u64,
    attempts_squared: u64,
    latencies: LatencyCounts,
}

/// The limits for the newer policy, compared with the live one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rails {
    /// Number of requests of each policy before a comparison.
    pub min_requests: u64,
    /// Maximum calls without an answer in the whole trial.
    pub max_faults: u64,
    /// Maximum increase in the share of failed requests.
    pub max_error_rate_increase: f64,
    /// Maximum increase in mean attempts per request.
    pub max_attempts_increase: f64,
    /// Maximum ratio of the 99th percentiles.
    pub max_p99_ratio: f64,
}

/// A guard rail that was broken.
#[derive(Clone, Debug, PartialEq)]
pub enum Breach {
    /// Too many calls faulted.
    Faults(u64),
    /// Too many requests failed: the newer policy's share and the live policy's.
    ErrorRate(f64, f64),
    /// Requests took too many attempts: the newer policy's mean and the live policy's.
    Attempts(f64, f64),
    /// Requests took too long: the newer policy's 99th percentile in milliseconds and the live
    /// policy's.
    Latency(f32, f32),
}

impl Arm {
    /// Records the end of a request.
    pub fn record(&self, good: bool, attempts: u32, latency: Duration) {
        let attempts = u64::from(attempts);
        self.requests.fetch_add(1, Relaxed);
        self.failed.fetch_add(u64::from(!good), Relaxed);
        self.attempts.fetch_add(attempts, Relaxed);
        self.attempts_squared.fetch_add(attempts * attempts, Relaxed);
        self.latencies.record(latency);
    }

    /// Number of requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// A snapshot of the counters.
    pub fn counts(&self) -> ArmCounts {
        ArmCounts {
            requests: self.requests.load(Relaxed),
            failed: self.failed.load(Relaxed),
            attempts: self.attempts.load(Relaxed),
            attempts_squared: self.attempts_squared.load(Relaxed),
            latencies: self.latencies.counts(),
        }
    }
}

impl ArmCounts {
    /// The share of requests that failed, 0 to 1; NaN before the first.
    pub fn error_rate(&self) -> f64 {
        self.failed as f64 / self.requests as f64
    }

    /// The mean number of attempts per request; NaN before the first.
    pub fn mean_attempts(&self) -> f64 {
        self.attempts as f64 / self.requests as f64
    }

    /// The 99th percentile in milliseconds; NaN before the first request.
    pub fn p99_ms(&self) -> f32 {
        let [p99] = self.latencies.quantiles_ms([0.99]);
        p99
    }

    /// The squared standard error of the mean number of attempts.
    fn attempts_error_squared(&self) -> f64 {
        let mean = self.mean_attempts();
        let variance = self.attempts_squared as f64 / self.requests as f64 - mean * mean;
        variance.max(0.0) / self.requests as f64
    }
}

impl Rails {
    /// The rail that the canary breaks, if any. `faults`: the number of its calls without an answer
    /// in the whole trial.
    pub fn breach(&self, live: &ArmCounts, canary: &ArmCounts, faults: u64) -> Option<Breach> {
        if faults > self.max_faults {
            return Some(Breach::Faults(faults));
        }
        if live.requests < self.min_requests.max(1) || canary.requests < self.min_requests.max(1) {
            return None;
        }
        self.error_rate(live, canary).or_else(|| self.attempts(live, canary)).or_else(|| self.latency(live, canary))
    }

    fn error_rate(&self, live: &ArmCounts, canary: &ArmCounts) -> Option<Breach> {
        let surely = at_least(canary.failed as f64, canary.requests as f64);
        let most = live.error_rate() + self.max_error_rate_increase;
        (surely > most).then(|| Breach::ErrorRate(canary.error_rate(), live.error_rate()))
    }

    /// Compares the difference of two means, less its standard error (Welch).
    fn attempts(&self, live: &ArmCounts, canary: &ArmCounts) -> Option<Breach> {
        let (ours, theirs) = (canary.mean_attempts(), live.mean_attempts());
        let error = (canary.attempts_error_squared() + live.attempts_error_squared()).sqrt();
        let surely = ours - theirs - CONFIDENCE * error;
        (surely > self.max_attempts_increase).then_some(Breach::Attempts(ours, theirs))
    }

    /// Compares the share of requests above the percentile: unlike a percentile, a share has a
    /// known error.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a latency, whose buckets are wider than the narrower type is inexact"
    )]
    fn latency(&self, live: &ArmCounts, canary: &ArmCounts) -> Option<Breach> {
        let longest = (f64::from(live.p99_ms()) * self.max_p99_ratio) as f32;
        let surely = at_least(canary.latencies.above(longest), canary.requests as f64);
        (surely > SLOWEST).then(|| Breach::Latency(canary.p99_ms(), live.p99_ms()))
    }
}

/// The lower bound of the share of `such` in `all` (Wilson's score interval).
fn at_least(such: f64, all: f64) -> f64 {
    let z = CONFIDENCE;
    let share = (such / all).min(1.0);
    let middle = share + z * z / (2.0 * all);
    let spread = z * (share * (1.0 - share) / all + z * z / (4.0 * all * all)).sqrt();
    (middle - spread) / (1.0 + z * z / all)
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::Faults(1) => write!(f, "a call gave no answer"),
            Breach::Faults(faults) => write!(f, "{faults} calls gave no answer"),
            Breach::ErrorRate(canary, live) => {
                write!(f, "{:.2} % of its requests failed, of the live policy's {:.2} %", canary * 1e2, live * 1e2)
            }
            Breach::Attempts(canary, live) => {
                write!(f, "its requests took {canary:.2} attempts in the mean, the live policy's {live:.2}")
            }
            Breach::Latency(canary, live) => {
                write!(f, "its 99th percentile was {canary:.1} ms, the live policy's {live:.1} ms")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAILS: Rails = Rails {
        min_requests: 100,
        max_faults: 5,
        max_error_rate_increase: 0.01,
        max_attempts_increase: 0.1,
        max_p99_ratio: 1.5,
    };

    /// `requests`, of which every `n`-th has the values of `odd`: good, attempts, milliseconds.
    fn arm(requests: u64, n: u64, odd: (bool, u32, u64)) -> ArmCounts {
        let arm = Arm::default();
        for request in 1..=requests {
            let (good, attempts, ms) = if request.is_multiple_of(n) { odd } else { (true, 1, 10 + request % 10) };
            arm.record(good, attempts, Duration::from_millis(ms));
        }
        arm.counts()
    }

    fn good(requests: u64) -> ArmCounts {
        arm(requests, u64::MAX, (true, 1, 0))
    }

    #[test]
    fn who_does_as_well_breaks_nothing() {
        for requests in [100, 1_000, 20_000] {
            assert_eq!(RAILS.breach(&good(20 * requests), &good(requests), RAILS.max_faults), None);
        }
    }

    #[test]
    fn faults_count_from_the_first_request_and_the_rest_from_the_minimum() {
        let bad = |requests| arm(requests, 1, (false, 1, 10));
        assert_eq!(RAILS.breach(&good(0), &good(0), 6), Some(Breach::Faults(6)));
        assert_eq!(RAILS.breach(&good(1_000), &bad(99), 0), None);
        assert_eq!(RAILS.breach(&good(99), &bad(100), 0), None, "there is nothing to compare with");
        assert_eq!(RAILS.breach(&good(1_000), &bad(100), 0), Some(Breach::ErrorRate(1.0, 0.0)));
    }

    #[test]
    fn a_few_unlucky_requests_are_no_breach_and_more_of_them_are() {
        let failing = |requests, n| arm(requests, n, (false, 1, 10));
        assert_eq!(RAILS.breach(&good(2_000), &failing(100, 50), 0), None, "two of a hundred may be chance");
        assert_eq!(RAILS.breach(&good(2_000), &failing(100, 10), 0), Some(Breach::ErrorRate(0.1, 0.0)));
        assert_eq!(RAILS.breach(&good(90_000), &failing(5_000, 50), 0), Some(Breach::ErrorRate(0.02, 0.0)));
        assert_eq!(RAILS.breach(&failing(9_000, 50), &failing(5_000, 50), 0), None, "the pool fails for both");
    }

    #[test]
    fn more_attempts_are_a_breach() {
        let retried = |requests, n| arm(requests, n, (true, 2, 10));
        assert_eq!(RAILS.breach(&good(2_000), &retried(100, 10), 0), None, "0.1 is allowed");
        assert_eq!(RAILS.breach(&good(2_000), &retried(100, 2), 0), Some(Breach::Attempts(1.5, 1.0)));
        assert_eq!(RAILS.breach(&retried(2_000, 2), &retried(100, 2), 0), None);
    }

    #[test]
    fn a_longer_tail_is_a_breach() {
        let slow = |requests, n, ms| arm(requests, n, (true, 1, ms));
        assert_eq!(RAILS.breach(&good(2_000), &slow(1_000, 10, 25), 0), None, "within the ratio");
        assert_eq!(RAILS.breach(&good(2_000), &slow(100, 50, 60), 0), None, "two of a hundred may be chance");
        let breach = RAILS.breach(&good(2_000), &slow(1_000, 10, 60), 0);
        assert!(matches!(breach, Some(Breach::Latency(canary, live)) if canary > 50.0 && live < 22.0), "{breach:?}");
    }

    #[test]
    fn a_share_is_at_least_wilsons_lower_bound() {
        // By hand, z = 3: (0.1 + 0.045 - 3 sqrt(0.0009 + 0.000225)) / 1.09.
        assert!((at_least(10.0, 100.0) - 0.040_71).abs() < 1e-4, "{}", at_least(10.0, 100.0));
        assert!(at_least(0.0, 100.0).abs() < 1e-12);
        assert!(at_least(100.0, 100.0) > 0.9);
    }
}
