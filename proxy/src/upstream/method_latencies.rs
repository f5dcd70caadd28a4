//! Latencies of an upstream's answers by method, as an estimate for another endpoint.
//!
//! Only answers count, each with the time of its own attempt. So neither slow endpoints that are
//! overtaken nor the time spent waiting for them raise the estimate.

use std::sync::OnceLock;
use std::time::Duration;

use crate::chain::{METHOD_KINDS, method_kind};
use crate::model::{LatencyHistogram, millis_f32};

/// The fewest samples for an estimate.
const ENOUGH: u32 = 16;
/// The fewest samples for an overdue answer.
const FEW: u32 = 4;
/// An answer is overdue after this multiple of the 99th percentile.
const OVERDUE: f32 = 4.0;

/// Latencies of one upstream. A method's histogram is created with its first answer.
#[derive(Debug)]
pub(super) struct MethodLatencies([OnceLock<Box<LatencyHistogram>>; METHOD_KINDS]);

impl Default for MethodLatencies {
    fn default() -> Self {
        MethodLatencies([const { OnceLock::new() }; METHOD_KINDS])
    }
}

impl MethodLatencies {
    /// Records the latency of an answer.
    pub(super) fn record(&self, method: &str, latency: Duration) {
        self.0[method_kind(method)].get_or_init(Box::default).record(latency);
    }

    /// The 75th percentile of recent answers in milliseconds; NaN with fewer than [`ENOUGH`]
    /// samples.
    pub(super) fn p75_ms(&self, method: &str) -> f32 {
        let known = self.0[method_kind(method)].get().filter(|histogram| histogram.samples() >= ENOUGH);
        known.map_or(f32::NAN, |histogram| histogram.p75_ms())
    }

    /// Whether hardly any answer took as long as `waited`.
    pub(super) fn is_overdue(&self, method: &str, waited: Duration) -> bool {
        let kind = method_kind(method);
        // The methods that no chain lists share a histogram, which says nothing about one of them.
        let known = self.0[kind].get().filter(|histogram| kind < METHOD_KINDS - 1 && histogram.samples() >= FEW);
        known.is_some_and(|histogram| millis_f32(waited) > OVERDUE * histogram.p99_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_own() {
        let latencies = MethodLatencies::default();
        for _ in 0..ENOUGH {
            assert!(latencies.p75_ms("eth_call").is_nan());
            latencies.record("eth_call", Duration::from_millis(10));
            latencies.record("eth_getLogs", Duration::from_millis(500));
        }
        assert!((9.0..12.0).contains(&latencies.p75_ms("eth_call")), "{}", latencies.p75_ms("eth_call"));
        assert!(latencies.p75_ms("eth_getLogs") > 400.0);
        assert!(latencies.p75_ms("made_up").is_nan());
    }

    #[test]
    fn what_takes_far_longer_than_any_answer_is_overdue() {
        let (latencies, ms) = (MethodLatencies::default(), Duration::from_millis);
        for _ in 0..FEW {
            assert!(!latencies.is_overdue("eth_call", ms(60_000)));
            latencies.record("eth_call", ms(10));
            latencies.record("eth_getLogs", ms(2_000));
        }
        assert!(latencies.is_overdue("eth_call", ms(100)) && !latencies.is_overdue("eth_call", ms(20)));
        assert!(!latencies.is_overdue("eth_getLogs", ms(2_500)));
        (0..FEW).for_each(|_| latencies.record("made_up", ms(1)));
        assert!(!latencies.is_overdue("made_up_too", ms(2_500)));
    }
}
