//! The live state of one endpoint, learned from its attempts. It survives a reload as long as the
//! URL stays.
//!
//! Each field is an independent atomic, read on each decision and written when an attempt settles.
//! There is no lock, and a reader may see one field newer than another: a score is an estimate, and
//! each field is valid by itself.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::time::millis_f32;
use super::{Cooldown, Headroom, LatencyHistogram, MethodBans, Outlier, ProbeGate, Silence, Tick, TrialSlot};

/// Weight of a new failure's penalty (azoth-balancer): four failures in a row reach 99.8 % of it.
const PENALTY_RISE: f32 = 0.8;
/// The share of the penalty that is left after a success (azoth-balancer).
const PENALTY_DECAY: f32 = 0.5;
/// Milliseconds below which a penalty becomes zero.
const PENALTY_FLOOR_MS: f32 = 0.5;
/// Weight of a new sample in the success rate: about the last 20 attempts count.
const SUCCESS_SMOOTHING: f32 = 0.05;
/// Time constant of the peak estimate's fall. Finagle and Linkerd use 10 s, for a fall by time
/// alone; this one falls only with new samples, and an endpoint that was slow two seconds ago and
/// isn't now should have its traffic back.
const PEAK_DECAY: Duration = Duration::from_secs(1);
/// An endpoint that answered any request well this recently is not blamed for a failure that a
/// request can provoke.
const ALIVE: Duration = Duration::from_secs(1);

/// The live statistics of an endpoint.
///
/// The fields that a decision reads are adjacent, on two neighbouring cache lines: hardly any of a
/// large pool is in a cache.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct EndpointStats {
    outstanding: Outstanding,
    silence: Silence,
    last_selected: AtomicU64,
    /// The endpoint's cooldown.
    pub cooldown: Cooldown,
    latency: AtomicF32,
    peak: AtomicF32,
    penalty: AtomicF32,
    success_rate: AtomicF32,
    consecutive_failures: AtomicU32,
    streams: AtomicU32,
    histogram: LatencyHistogram,
    /// The free share of the rate limiter.
    pub headroom: Headroom,
    /// The methods that the endpoint doesn't support.
    pub bans: MethodBans,
    /// The slot of the request that tries it while it is half-open.
    pub trial: TrialSlot,
    /// The rate limit of probes that failed requests trigger.
    pub probe_gate: ProbeGate,
    /// Strikes: requests that it failed and others answered.
    pub outlier: Outlier,
    peak_at: AtomicU64,
    succeeded_at: AtomicU64,
}

const _: () = assert!(offset_of!(EndpointStats, bans) + size_of::<usize>() <= 128);

impl EndpointStats {
    /// The statistics of a new endpoint: its latency is `latency`, the upstream's timeout, and it
    /// is presumed healthy.
    pub fn new(latency: Duration) -> Self {
        EndpointStats {
            latency: AtomicF32::new(millis_f32(latency)),
            peak: AtomicF32::new(millis_f32(latency)),
            peak_at: AtomicU64::new(0),
            penalty: AtomicF32::new(0.0),
            success_rate: AtomicF32::new(1.0),
            consecutive_failures: AtomicU32::new(0),
            streams: AtomicU32::new(0),
            outstanding: Outstanding::default(),
            silence: Silence::default(),
            trial: TrialSlot::default(),
            probe_gate: ProbeGate::default(),
            outlier: Outlier::default(),
            succeeded_at: AtomicU64::new(0),
            last_selected: AtomicU64::new(0),
            histogram: LatencyHistogram::default(),
            headroom: Headroom::default(),
            bans: MethodBans::default(),
            cooldown: Cooldown::default(),
        }
    }

    /// Records the start of an attempt. Each call is paired with one [`EndpointStats::finish`] with
    /// the same time.
    pub fn begin(&self, now: Tick) {
        self.outstanding.begin(now);
        self.last_selected.store(now.as_nanos().max(1), Relaxed);
    }

    /// Records the end of the attempt that began at `began`, however it ended.
    pub fn finish(&self, began: Tick) {
        self.outstanding.finish(began);
    }

    /// Records that an answer goes on as a stream: it is in flight, but nobody waits for the endpoint.
    /// Each call is paired with one [`EndpointStats::end_stream`].
    pub fn begin_stream(&self) {
        self.streams.fetch_add(1, Relaxed);
    }

    /// Records the end of a stream.
    pub fn end_stream(&self) {
        self.streams.fetch_sub(1, Relaxed);
    }

    /// Adds a latency sample to all estimates; `smoothing` is its weight in the EWMA, 0 to 1.
    pub fn record_latency(&self, latency: Duration, smoothing: f32, now: Tick) {
        let ms = millis_f32(latency);
        // The first sample replaces the presumed latency instead of being blended with it.
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

    /// Records at `now` a sign of life in an attempt that began at `began`.
    pub fn heard(&self, began: Tick, now: Tick) {
        self.silence.broken(began, now);
    }

    /// Records that an attempt that began at `began` was given up for another one. Returns whether
    /// the endpoint is silent: see [`Silence`].
    pub fn overtaken(&self, began: Tick, now: Tick) -> bool {
        // Still counted as outstanding, so it must not count twice.
        let is_silent = self.silence.is_proved(self.outstanding.count(), || now.since(began), now);
        self.silence.overtaken(began);
        is_silent
    }

    /// Whether the endpoint is silent: see [`Silence`].
    pub fn is_silent(&self, now: Tick) -> bool {
        self.silence.is_proved(self.outstanding.count(), || self.outstanding.oldest(now), now)
    }

    /// The time without an answer that counts as silence: see [`Silence`].
    pub fn silence_limit(&self) -> Duration {
        self.silence.limit()
    }

    /// Records at `now` the success of an attempt that began at `started`.
    pub fn succeed(&self, client: u64, started: Tick, now: Tick) {
        self.outlier.answer(client, now);
        self.success_rate.update(|rate| rate + SUCCESS_SMOOTHING * (1.0 - rate));
        if self.consecutive_failures.load(Relaxed) != 0 {
            self.consecutive_failures.store(0, Relaxed);
        }
        self.penalty.update(|penalty| if penalty < PENALTY_FLOOR_MS { 0.0 } else { penalty * PENALTY_DECAY });
        self.cooldown.succeed(started, now);
        self.succeeded_at.fetch_max(now.as_nanos().max(1), Relaxed);
    }

    /// Whether the endpoint answered a request well within the last [`ALIVE`].
    pub fn is_alive(&self, now: Tick) -> bool {
        let at = self.succeeded_at.load(Relaxed);
        at != 0 && now.since(Tick::from_nanos(at)) < ALIVE
    }

    /// Records a failed attempt, with the retry policy's penalty in milliseconds.
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

    /// Peak-sensitive EWMA of latency in milliseconds as of the last sample, or the estimate from
    /// the attempts under way, if that is more: an endpoint that turns slow is noticed before its
    /// first slow answer arrives.
    pub fn latency_peak_ms(&self, now: Tick) -> f32 {
        self.peak.load().max(self.outstanding.latency_ms(now))
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

    /// Attempts under way, and streams.
    pub fn in_flight(&self) -> u32 {
        self.outstanding.count() + self.streams.load(Relaxed)
    }

    /// Milliseconds since the last selection; infinite before the first.
    pub fn idle_ms(&self, now: Tick) -> f32 {
        match self.last_selected.load(Relaxed) {
            0 => f32::INFINITY,
            at => now.millis_since(Tick::from_nanos(at)),
        }
    }

    /// A rise takes effect at once, a fall decays with [`PEAK_DECAY`] (tower's and Finagle's peak
    /// EWMA).
    fn record_peak(&self, ms: f32, now: Tick) {
        let elapsed = now.since(Tick::from_nanos(self.peak_at.load(Relaxed)));
        let keep = (-elapsed.as_secs_f32() / PEAK_DECAY.as_secs_f32()).exp();
        self.peak.update(|peak| if ms > peak { ms } else { peak * keep + ms * (1.0 - keep) });
    }
}

/// The attempts under way: their number and mean start. One atomic keeps both consistent: the count
/// is in the upper bits, below it the sum of the start times in microseconds, modulo 2^44. The sum
/// of the ages is known modulo the same, which is 203 days.
#[derive(Debug, Default)]
struct Outstanding(AtomicU64);

impl Outstanding {
    const SUM_BITS: u32 = 44;
    const SUM: u64 = (1 << Self::SUM_BITS) - 1;

    fn begin(&self, now: Tick) {
        self.change(|count, sum| (count + 1, sum.wrapping_add(micros(now))));
    }

    fn finish(&self, began: Tick) {
        self.change(|count, sum| (count.saturating_sub(1), sum.wrapping_sub(micros(began))));
    }

    fn change(&self, f: impl Fn(u64, u64) -> (u64, u64)) {
        let change = |word: u64| {
            let (count, sum) = f(word >> Self::SUM_BITS, word & Self::SUM);
            Some(count << Self::SUM_BITS | sum & Self::SUM)
        };
        // The closure always returns a value, so this can't fail.
        let _ = self.0.fetch_update(Relaxed, Relaxed, change);
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.load(Relaxed) >> Self::SUM_BITS).unwrap_or(u32::MAX)
    }

    /// The latency that the ages imply: of n attempts that began at even intervals the oldest is 2n
    /// / (n + 1) times as old as their average.
    fn latency_ms(&self, now: Tick) -> f32 {
        self.oldest_micros(now) as f32 / 1_000.0
    }

    /// The estimated age of the oldest attempt.
    fn oldest(&self, now: Tick) -> Duration {
        Duration::from_micros(self.oldest_micros(now))
    }

    fn oldest_micros(&self, now: Tick) -> u64 {
        let word = self.0.load(Relaxed);
        let (count, sum) = (word >> Self::SUM_BITS, word & Self::SUM);
        if count == 0 {
            return 0;
        }
        let ages = count.wrapping_mul(micros(now)).wrapping_sub(sum) & Self::SUM;
        // Another thread's attempt may have begun after `now` was read.
        let ages = if ages > Self::SUM / 2 { 0 } else { ages };
        2 * ages / (count + 1)
    }
}

fn micros(tick: Tick) -> u64 {
    tick.as_nanos() / 1_000
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
        assert_eq!(stats.latency_peak_ms(at(0)), 100.0);
        stats.record_latency(Duration::from_millis(10), 0.1, at(1_001));
        let expected = 100.0 * (-1.0_f32).exp() + 10.0 * (1.0 - (-1.0_f32).exp());
        assert!((stats.latency_peak_ms(at(0)) - expected).abs() < 0.1, "{}", stats.latency_peak_ms(at(0)));
    }

    #[test]
    fn penalties_rise_fast_and_halve_with_each_success() {
        let stats = stats();
        stats.fail(10_000.0);
        assert_eq!(stats.penalty_ms(), 8_000.0);
        assert_eq!(stats.consecutive_failures(), 1);
        assert!(stats.success_rate() < 1.0);
        stats.succeed(1, at(1), at(1));
        assert_eq!(stats.penalty_ms(), 4_000.0);
        assert_eq!(stats.consecutive_failures(), 0);
        for _ in 0..20 {
            stats.succeed(1, at(1), at(1));
        }
        assert_eq!(stats.penalty_ms(), 0.0);
    }

    #[test]
    fn in_flight_and_idle_follow_selection() {
        let stats = stats();
        assert_eq!(stats.idle_ms(at(5)), f32::INFINITY);
        stats.begin(at(5));
        assert_eq!((stats.in_flight(), stats.idle_ms(at(8))), (1, 3.0));
        stats.finish(at(5));
        assert_eq!(stats.in_flight(), 0);
        stats.begin_stream();
        assert_eq!((stats.in_flight(), stats.is_silent(at(1_000_000))), (1, false));
        stats.end_stream();
        assert_eq!(stats.in_flight(), 0);
    }

    #[test]
    fn an_overtaken_attempt_is_one_witness() {
        let stats = stats();
        stats.begin(at(1_000));
        stats.begin(at(1_000));
        assert!(!stats.overtaken(at(1_000), at(2_000)), "two are under way");
        stats.finish(at(1_000));
        assert!(!stats.overtaken(at(1_000), at(2_000)), "one is, and one was overtaken");
        stats.begin(at(1_000));
        assert!(stats.overtaken(at(1_000), at(2_000)));
    }

    #[test]
    fn an_endpoint_that_turns_slow_is_noticed_before_it_answers() {
        let stats = stats();
        stats.record_latency(Duration::from_millis(10), 0.1, at(0));
        let begun: Vec<Tick> = (1..=9).map(|n| at(100 + n * 10)).collect();
        begun.iter().for_each(|&began| stats.begin(began));
        // At 200 ms the oldest is 90 ms old, the youngest 10.
        assert!((stats.latency_peak_ms(at(200)) - 90.0).abs() < 0.1, "{}", stats.latency_peak_ms(at(200)));
        assert_eq!(stats.latency_peak_ms(at(100)), 10.0, "a look from before they began");
        begun.iter().for_each(|&began| stats.finish(began));
        assert_eq!((stats.in_flight(), stats.latency_peak_ms(at(200))), (0, 10.0));
    }
}
