//! A decaying latency histogram, for quantiles of recent latency.
//!
//! Buckets are logarithmic, four per doubling, so an estimate is within 19 % of the true value,
//! which suffices for a routing decision. Every [`WINDOW`] samples the counts are halved: older
//! samples fade. Counts are atomics and writers race benignly; a lost sample doesn't matter.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// From 62.5 us up, twenty doublings: the last bucket holds everything above 55 s.
const BUCKETS: usize = 80;
const BUCKETS_PER_DOUBLING: f32 = 4.0;
const SMALLEST_MS: f32 = 1.0 / 16.0;
/// Samples between two halvings: the 99th percentile is then based on 5 to 10 of them.
const WINDOW: u32 = 1_024;
/// Samples between two updates of the quantiles: an update scans all buckets.
const REFRESH: u32 = 8;

/// Latencies of one endpoint.
#[derive(Debug)]
pub struct LatencyHistogram {
    /// Boxed: readers of quantiles don't need them.
    buckets: Box<LatencyBuckets>,
    total: AtomicU32,
    p75: AtomicU32,
    p95: AtomicU32,
    p99: AtomicU32,
}

/// Latencies by bucket, without decay.
#[derive(Debug)]
pub struct LatencyBuckets([AtomicU32; BUCKETS]);

/// A snapshot of [`LatencyBuckets`].
#[derive(Clone, Debug)]
pub struct LatencyCounts([u32; BUCKETS]);

impl Default for LatencyBuckets {
    fn default() -> Self {
        LatencyBuckets(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl LatencyBuckets {
    /// Records one sample.
    pub fn record(&self, latency: Duration) {
        self.0[bucket(super::time::millis_f32(latency))].fetch_add(1, Relaxed);
    }

    /// A snapshot of the counts.
    pub fn counts(&self) -> LatencyCounts {
        LatencyCounts(std::array::from_fn(|i| self.0[i].load(Relaxed)))
    }

    fn halve(&self) {
        for count in &self.0 {
            count.store(count.load(Relaxed) / 2, Relaxed);
        }
    }
}

impl LatencyCounts {
    /// Each of `quantiles` (0 to 1, ascending), in milliseconds. The samples of a bucket are
    /// assumed to be evenly spread. NaN without samples.
    pub fn quantiles_ms<const N: usize>(&self, quantiles: [f32; N]) -> [f32; N] {
        let total: u32 = self.0.iter().sum();
        let (mut bucket, mut below) = (0, 0);
        quantiles.map(|q| {
            if total == 0 {
                return f32::NAN;
            }
            let wanted = total as f32 * q;
            while bucket < BUCKETS - 1 && ((below + self.0[bucket]) as f32) < wanted {
                below += self.0[bucket];
                bucket += 1;
            }
            let (lower, upper) = (edge_ms(bucket), edge_ms(bucket + 1));
            let share = (wanted - below as f32) / self.0[bucket].max(1) as f32;
            lower + (upper - lower) * share.clamp(0.0, 1.0)
        })
    }

    /// The estimated number of samples above `ms`.
    pub fn above(&self, ms: f32) -> f64 {
        let at = bucket(ms);
        let (lower, upper) = (edge_ms(at), edge_ms(at + 1));
        let share = f64::from(((upper - ms) / (upper - lower)).clamp(0.0, 1.0));
        let whole: u64 = self.0[at + 1..].iter().map(|count| u64::from(*count)).sum();
        whole as f64 + f64::from(self.0[at]) * share
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        LatencyHistogram {
            buckets: Box::default(),
            total: AtomicU32::new(0),
            p75: AtomicU32::new(f32::NAN.to_bits()),
            p95: AtomicU32::new(f32::NAN.to_bits()),
            p99: AtomicU32::new(f32::NAN.to_bits()),
        }
    }
}

impl LatencyHistogram {
    /// Records one sample.
    pub fn record(&self, latency: Duration) {
        self.buckets.record(latency);
        let total = self.total.fetch_add(1, Relaxed) + 1;
        if total >= WINDOW {
            self.halve();
        }
        if total < REFRESH || total.is_multiple_of(REFRESH) {
            let quantiles = self.buckets.counts().quantiles_ms([0.75, 0.95, 0.99]);
            for (cell, quantile) in [&self.p75, &self.p95, &self.p99].into_iter().zip(quantiles) {
                cell.store(quantile.to_bits(), Relaxed);
            }
        }
    }

    /// The 75th percentile in milliseconds; NaN before the first sample.
    pub fn p75_ms(&self) -> f32 {
        f32::from_bits(self.p75.load(Relaxed))
    }

    /// The 95th percentile in milliseconds; NaN before the first sample.
    pub fn p95_ms(&self) -> f32 {
        f32::from_bits(self.p95.load(Relaxed))
    }

    /// The 99th percentile in milliseconds; NaN before the first sample.
    pub fn p99_ms(&self) -> f32 {
        f32::from_bits(self.p99.load(Relaxed))
    }

    /// The number of samples that count: at most 1,024.
    pub fn samples(&self) -> u32 {
        self.total.load(Relaxed)
    }

    fn halve(&self) {
        self.buckets.halve();
        self.total.store(WINDOW / 2, Relaxed);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, and the result is capped")]
fn bucket(ms: f32) -> usize {
    let position = (ms / SMALLEST_MS).log2() * BUCKETS_PER_DOUBLING;
    (position.max(0.0) as usize).min(BUCKETS - 1)
}

/// The lower edge of `bucket`.
fn edge_ms(bucket: usize) -> f32 {
    SMALLEST_MS * (bucket as f32 / BUCKETS_PER_DOUBLING).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let histogram = LatencyHistogram::default();
        assert!(histogram.p99_ms().is_nan());
        for ms in 1..=500 {
            histogram.record(Duration::from_millis(ms));
        }
        let [median] = histogram.buckets.counts().quantiles_ms([0.5]);
        assert!((245.0..255.0).contains(&median), "{median}");
        let p99 = histogram.p99_ms();
        assert!((470.0..495.0 * 1.2).contains(&p99), "{p99}");
        let p95 = histogram.p95_ms();
        assert!((460.0..475.0 * 1.2).contains(&p95), "{p95}");
        let p75 = histogram.p75_ms();
        assert!((365.0..385.0).contains(&p75), "{p75}");
    }

    #[test]
    fn old_samples_fade() {
        let histogram = LatencyHistogram::default();
        for _ in 0..2_000 {
            histogram.record(Duration::from_secs(1));
        }
        assert!(histogram.buckets.counts().quantiles_ms([0.5])[0] > 900.0);
        for _ in 0..4_000 {
            histogram.record(Duration::from_millis(2));
        }
        assert!(histogram.buckets.counts().quantiles_ms([0.5])[0] < 3.0);
    }

    #[test]
    fn what_is_above_a_latency_is_counted_by_its_share_of_a_bucket() {
        let buckets = LatencyBuckets::default();
        for ms in 1..=1_000 {
            buckets.record(Duration::from_millis(ms));
        }
        let counts = buckets.counts();
        for ms in [100.0, 500.0, 900.0] {
            let above = counts.above(ms);
            assert!((above - (1_000.0 - f64::from(ms))).abs() < 20.0, "{ms}: {above}");
        }
        assert_eq!((counts.above(0.0), counts.above(f32::INFINITY)), (1_000.0, 0.0));
    }

    #[test]
    fn extremes_stay_inside() {
        assert_eq!(bucket(0.0), 0);
        assert_eq!(bucket(f32::INFINITY), BUCKETS - 1);
        assert_eq!(bucket(f32::NAN), 0);
    }
}
