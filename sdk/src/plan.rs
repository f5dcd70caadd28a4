//! The plan block.

use std::mem::offset_of;
use std::time::Duration;

/// `hedge_delay_ms` of a plan without a hedge.
const NO_HEDGE: f32 = f32::INFINITY;

/// The attempts of a request: the ABI's plan block, 24 bytes, since version 1.1.
///
/// The proxy fills it from the upstream's conf, and the policy may change it. The fields are public
/// so that tests can write `Plan { latency_p95_ms: 20.0, ..Plan::default() }`.
///
/// ```
/// use std::time::Duration;
/// use pointsman_sdk::Plan;
/// let plan = Plan::default().max_attempts(2).hedge_after(Duration::from_millis(40));
/// assert_eq!(plan.hedge_delay(), Some(40.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(8))]
#[must_use]
pub struct Plan {
    /// Size of this block in bytes, set by the proxy: 24 in version 1.1, more in later ones.
    pub size: u32,
    /// Maximum number of attempts, including the first. Capped by the upstream's limit; 0 is a
    /// fault.
    pub max_attempts: u32,
    /// Per-try timeout in milliseconds; the proxy clamps it to the request's deadline. Must be
    /// finite and above 0, otherwise it is a fault.
    pub timeout_ms: f32,
    /// Read it with [`Plan::hedge_delay`]. Negative or NaN is a fault.
    pub hedge_delay_ms: f32,
    /// Read it with [`Plan::latency_p95`]. The proxy ignores changes.
    pub latency_p95_ms: f32,
    /// Read it with [`Plan::method_p75`]. The proxy ignores changes.
    pub method_p75_ms: f32,
}

impl Plan {
    /// Sets the maximum number of attempts, including the first.
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Plan { max_attempts, ..self }
    }

    /// Sets the per-try timeout.
    pub fn timeout(self, timeout: Duration) -> Self {
        Plan { timeout_ms: millis(timeout), ..self }
    }

    /// Hedges: starts a second attempt at another endpoint if there is no response after `delay`.
    /// The proxy hedges reads only.
    pub fn hedge_after(self, delay: Duration) -> Self {
        Plan { hedge_delay_ms: millis(delay), ..self }
    }

    /// Disables hedging.
    pub fn without_hedge(self) -> Self {
        Plan { hedge_delay_ms: NO_HEDGE, ..self }
    }

    /// Returns the hedge delay in milliseconds, or `None` without a hedge.
    pub fn hedge_delay(&self) -> Option<f32> {
        Some(self.hedge_delay_ms).filter(|delay| delay.is_finite())
    }

    /// Returns the estimated 95th percentile of the selected endpoint's recent latency in
    /// milliseconds; `None` before its first responses.
    pub fn latency_p95(&self) -> Option<f32> {
        Some(self.latency_p95_ms).filter(|latency| !latency.is_nan())
    }

    /// Returns the estimated 75th percentile of the recent latency of the request's method in
    /// milliseconds, over all endpoints of the upstream: an estimate for another endpoint. `None`
    /// while there are too few samples.
    pub fn method_p75(&self) -> Option<f32> {
        Some(self.method_p75_ms).filter(|latency| !latency.is_nan())
    }

    /// The same plan with the proxy's block size, which may exceed this version's.
    pub(crate) fn with_size(self, size: u32) -> Self {
        Plan { size, ..self }
    }
}

/// Three attempts of 5 s each without a hedge, at an endpoint without responses yet.
impl Default for Plan {
    fn default() -> Self {
        Plan {
            size: crate::export::size::<Plan>(),
            max_attempts: 3,
            timeout_ms: 5_000.0,
            hedge_delay_ms: NO_HEDGE,
            latency_p95_ms: f32::NAN,
            method_p75_ms: f32::NAN,
        }
    }
}

fn millis(time: Duration) -> f32 {
    time.as_secs_f32() * 1_000.0
}

// ABI.md, section 4, "Plan block".
const _: () = {
    assert!(size_of::<Plan>() == 24 && align_of::<Plan>() == 8);
    assert!(offset_of!(Plan, size) == 0);
    assert!(offset_of!(Plan, max_attempts) == 4);
    assert!(offset_of!(Plan, timeout_ms) == 8);
    assert!(offset_of!(Plan, hedge_delay_ms) == 12);
    assert!(offset_of!(Plan, latency_p95_ms) == 16);
    assert!(offset_of!(Plan, method_p75_ms) == 20);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_from_the_conf_has_no_hedge_and_knows_no_latency() {
        let plan = Plan::default();
        assert_eq!((plan.hedge_delay(), plan.latency_p95(), plan.method_p75()), (None, None, None));
        let plan = Plan { hedge_delay_ms: 0.0, latency_p95_ms: 0.5, method_p75_ms: 0.25, ..plan };
        assert_eq!((plan.hedge_delay(), plan.latency_p95(), plan.method_p75()), (Some(0.0), Some(0.5), Some(0.25)));
    }

    #[test]
    fn each_builder_changes_its_own_field() {
        let known = Plan { latency_p95_ms: 25.0, method_p75_ms: 20.0, ..Plan::default() };
        let plan = known.max_attempts(2).timeout(Duration::from_millis(750)).hedge_after(Duration::from_millis(40));
        assert_eq!(plan, Plan { max_attempts: 2, timeout_ms: 750.0, hedge_delay_ms: 40.0, ..known });
        assert_eq!(plan.without_hedge().hedge_delay(), None);
    }
}
