//! The live state of one endpoint: what its attempts taught us. It is carried over a reload as long as the URL stays.
//!
//! Every field is an atomic of its own, read on each decision and written when an attempt settles. There is no lock, and
//! a reader may see one field newer than another: a score is an estimate, and each field is right by itself.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::time::millis_f32;
use super::{Cooldown, LatencyHistogram, Tick};

/// Weight of a new failure's penalty (azoth-balancer): four failures in a row reach 99.8 % of it.
const PENALTY_RISE: f32 = 0.8;
/// What a success leaves of the penalty (azoth-balancer).
const PENALTY_DECAY: f32 = 0.5;
/// Below this a penalty is no longer worth telling from zero, in milliseconds.
const PENALTY_FLOOR_MS: f32 = 0.5;
/// Weight of a new sample in the success rate: the last 20 attempts or so count.
const SUCCESS_SMOOTHING: f32 = 0.05;
/// Time constant of the peak estimate's fall (Finagle's and Linkerd's default).
const PEAK_DECAY: Duration = Duration::from_secs(10);

/// What the attempts at an endpoint taught us.
#[derive(Debug)]
pub struct EndpointStats {
    latency: AtomicF32,
    peak: AtomicF32,
    peak_at: AtomicU64,
    penalty: AtomicF32,
    success_rate: AtomicF32,
    consecutive_failures: AtomicU32,
    in_flight: AtomicU32,
    last_selected: AtomicU64,
    histogram: LatencyHistogram,
    /// The endpoint's cooldown.
    pub cooldown: Cooldown,
}

impl EndpointStats {
    /// A new endpoint: it starts at `latency`, the upstream's timeout, and is presumed healthy.
    pub fn new(latency: Duration) -> Self {
        EndpointStats {
            latency: AtomicF32::new(millis_f32(latency)),
            peak: AtomicF32::new(millis_f32(latency)),
            peak_at: AtomicU64::new(0),
            penalty: AtomicF32::new(0.0),
            success_rate: AtomicF32::new(1.0),
            consecutive_failures: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            last_selected: AtomicU64::new(0),
            histogram: LatencyHistogram::default(),
            cooldown: Cooldown::default(),
        }
    }

    /// The endpoint was selected for an attempt. Each call is paired with one [`EndpointStats::finish`].
    pub fn begin(&self, now: Tick) {
        self.in_flight.fetch_add(1, Relaxed);
        self.last_selected.store(now.as_nanos().max(1), Relaxed);
    }

    /// The attempt ended, however it did.
    pub fn finish(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Takes a latency sample into all estimates; `smoothing` is the EWMA's weight of a new sample, 0 to 1.
    pub fn record_latency(&self, latency: Duration, smoothing: f32, now: Tick) {
        let ms = millis_f32(latency);
        // The first sample replaces the presumed latency instead of being blended into it.
        if self.peak_at.load(Relaxed) == 0 {
            self.latency.store(ms);
            self.peak.store(ms);
        } else {
            self.latency.update(|old| old + smoothing * (ms - old));
            self.record_peak(ms, now);
        }
        self.peak_at.store(now.as_nanos().max(1), Relaxed);
        self.histogram.record(latency);
    }

    /// An attempt that is still under way has taken this long: the peak estimate is at least that. The other estimates wait
    /// for the end of the attempt.
    pub fn at_least(&self, waited: Duration) {
        let ms = millis_f32(waited);
        // A latency that is only presumed is not to be taken for a measured one.
        if self.peak_at.load(Relaxed) != 0 {
            self.peak.update(|peak| peak.max(ms));
        }
    }

    /// An attempt that began at `started` succeeded.
    pub fn succeed(&self, started: Tick) {
        self.success_rate.update(|rate| rate + SUCCESS_SMOOTHING * (1.0 - rate));
        if self.consecutive_failures.load(Relaxed) != 0 {
            self.consecutive_failures.store(0, Relaxed);
        }
        self.penalty.update(|penalty| if penalty < PENALTY_FLOOR_MS { 0.0 } else { penalty * PENALTY_DECAY });
        self.cooldown.succeed(started);
    }

    /// An attempt failed; `penalty_ms` is what the retry policy holds against the endpoint.
    pub fn fail(&self, penalty_ms: f32) {
        self.success_rate.update(|rate| rate - SUCCESS_SMOOTHING * rate);
        let failures = self.consecutive_failures.load(Relaxed);
        self.consecutive_failures.store(failures.saturating_add(1), Relaxed);
        self.penalty.update(|penalty| penalty + PENALTY_RISE * (penalty_ms - penalty));
    }

    /// EWMA of latency in milliseconds.
    pub fn latency_ms(&self) -> f32 {
        self.latency.load()
    }

    /// Peak-sensitive EWMA of latency in milliseconds, as of the last sample.
    pub fn latency_peak_ms(&self) -> f32 {
        self.peak.load()
    }

    /// Estimated 95th percentile of recent latency in milliseconds; NaN before the first sample.
    pub fn latency_p95_ms(&self) -> f32 {
        self.histogram.p95_ms()
    }

    /// Estimated 99th percentile of recent latency in milliseconds; NaN before the first sample.
    pub fn latency_p99_ms(&self) -> f32 {
        self.histogram.p99_ms()
    }

    /// EWMA of error penalties in milliseconds.
    pub fn penalty_ms(&self) -> f32 {
        self.penalty.load()
    }

    /// EWMA of successes, 0 to 1.
    pub fn success_rate(&self) -> f32 {
        self.success_rate.load()
    }

    /// Failures since the last success.
    pub fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures.load(Relaxed)
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Time since the last selection; `None` when there was none.
    pub fn idle(&self, now: Tick) -> Option<Duration> {
        match self.last_selected.load(Relaxed) {
            0 => None,
            at => Some(now.since(Tick::from_nanos(at))),
        }
    }

    /// A rise is taken at once, a fall decays with [`PEAK_DECAY`] (tower's and Finagle's peak EWMA).
    fn record_peak(&self, ms: f32, now: Tick) {
        let elapsed = now.since(Tick::from_nanos(self.peak_at.load(Relaxed)));
        let keep = (-elapsed.as_secs_f32() / PEAK_DECAY.as_secs_f32()).exp();
        self.peak.update(|peak| if ms > peak { ms } else { peak * keep + ms * (1.0 - keep) });
    }
}

/// An `f32` in an atomic.
#[derive(Debug)]
struct AtomicF32(AtomicU32);

impl AtomicF32 {
    fn new(value: f32) -> Self {
        AtomicF32(AtomicU32::new(value.to_bits()))
    }

    fn load(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }

    fn store(&self, value: f32) {
        self.0.store(value.to_bits(), Relaxed);
    }

    fn update(&self, f: impl Fn(f32) -> f32) {
        let mut old = self.0.load(Relaxed);
        loop {
            let new = f(f32::from_bits(old)).to_bits();
            if new == old {
                return;
            }
            match self.0.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(seen) => old = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::START.after(Duration::from_millis(ms))
    }

    fn stats() -> EndpointStats {
        EndpointStats::new(Duration::from_secs(5))
    }

    #[test]
    fn a_new_endpoint_starts_at_the_timeout_and_takes_its_first_sample_whole() {
        let stats = stats();
        assert_eq!(stats.latency_ms(), 5_000.0);
        stats.record_latency(Duration::from_millis(20), 0.1, at(1));
        assert_eq!(stats.latency_ms(), 20.0);
        stats.record_latency(Duration::from_millis(30), 0.1, at(2));
        assert!((stats.latency_ms() - 21.0).abs() < 1e-3);
    }

    #[test]
    fn the_peak_rises_at_once_and_falls_with_time() {
        let stats = stats();
        stats.record_latency(Duration::from_millis(10), 0.1, at(0));
        stats.record_latency(Duration::from_millis(100), 0.1, at(1));
        assert_eq!(stats.latency_peak_ms(), 100.0);
        stats.record_latency(Duration::from_millis(10), 0.1, at(10_001));
        let expected = 100.0 * (-1.0_f32).exp() + 10.0 * (1.0 - (-1.0_f32).exp());
        assert!((stats.latency_peak_ms() - expected).abs() < 0.1, "{}", stats.latency_peak_ms());
    }

    #[test]
    fn an_attempt_that_takes_long_tells_before_it_ends() {
        let stats = stats();
        stats.at_least(Duration::from_secs(9));
        assert_eq!(stats.latency_peak_ms(), 5_000.0, "not measured yet");
        stats.record_latency(Duration::from_millis(10), 0.1, at(0));
        stats.at_least(Duration::from_millis(5));
        assert_eq!(stats.latency_peak_ms(), 10.0);
        stats.at_least(Duration::from_millis(30));
        assert_eq!((stats.latency_peak_ms(), stats.latency_ms()), (30.0, 10.0));
    }

    #[test]
    fn penalties_rise_fast_and_halve_with_each_success() {
        let stats = stats();
        stats.fail(10_000.0);
        assert_eq!(stats.penalty_ms(), 8_000.0);
        assert_eq!(stats.consecutive_failures(), 1);
        assert!(stats.success_rate() < 1.0);
        stats.succeed(at(1));
        assert_eq!(stats.penalty_ms(), 4_000.0);
        assert_eq!(stats.consecutive_failures(), 0);
        for _ in 0..20 {
            stats.succeed(at(1));
        }
        assert_eq!(stats.penalty_ms(), 0.0);
    }

    #[test]
    fn in_flight_and_idle_follow_selection() {
        let stats = stats();
        assert_eq!(stats.idle(at(5)), None);
        stats.begin(at(5));
        assert_eq!((stats.in_flight(), stats.idle(at(8))), (1, Some(Duration::from_millis(3))));
        stats.finish();
        assert_eq!(stats.in_flight(), 0);
    }
}
