//! The plan block.

use std::mem::offset_of;
use std::time::Duration;

/// `hedge_delay_ms` of a plan without a hedge.
const NO_HEDGE: f32 = f32::INFINITY;

/// How a request is to be tried: the ABI's plan block, 24 bytes, since version 1.1.
///
/// The proxy fills it from the upstream's conf, the policy changes what it wants. The fields are
/// public so that tests can write `Plan { latency_p95_ms: 20.0, ..Plan::default() }`.
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
    /// Bytes of this block as the proxy wrote it: 24 in version 1.1, more in later ones.
    pub size: u32,
    /// How often the request may be tried, the first included. The upstream's limit is the most; 0
    /// is a fault.
    pub max_attempts: u32,
    /// How long a try may take, in milliseconds; the proxy clamps it to the request's deadline.
    /// Above 0 and finite, or it is a fault.
    pub timeout_ms: f32,
    /// Read it with [`Plan::hedge_delay`]. Negative or NaN is a fault.
    pub hedge_delay_ms: f32,
    /// Read it with [`Plan::latency_p95`]. What a policy writes there means nothing.
    pub latency_p95_ms: f32,
    /// Read it with [`Plan::method_p75`]. What a policy writes there means nothing.
    pub method_p75_ms: f32,
}

impl Plan {
    /// Allows so many attempts, the first included.
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Plan { max_attempts, ..self }
    }

    /// Gives each try so long.
    pub fn timeout(self, timeout: Duration) -> Self {
        Plan { timeout_ms: millis(timeout), ..self }
    }

    /// Starts a second attempt at another endpoint if there is no answer after `delay`. The proxy
    /// does it for reads only.
    pub fn hedge_after(self, delay: Duration) -> Self {
        Plan { hedge_delay_ms: millis(delay), ..self }
    }

    /// Starts no second attempt beside the first.
    pub fn without_hedge(self) -> Self {
        Plan { hedge_delay_ms: NO_HEDGE, ..self }
    }

    /// After how many milliseconds a second attempt starts beside the first, if it does.
    pub fn hedge_delay(&self) -> Option<f32> {
        Some(self.hedge_delay_ms).filter(|delay| delay.is_finite())
    }

    /// Estimated 95th percentile of the chosen endpoint's recent latency in milliseconds; `None`
    /// before its first answers.
    pub fn latency_p95(&self) -> Option<f32> {
        Some(self.latency_p95_ms).filter(|latency| !latency.is_nan())
    }

    /// Estimated 75th percentile of the time that recent answers to the request's method took,
    /// whichever endpoint of the upstream gave them, in milliseconds: about what another endpoint
    /// would take. `None` while there are too few.
    pub fn method_p75(&self) -> Option<f32> {
        Some(self.method_p75_ms).filter(|latency| !latency.is_nan())
    }

    /// The same plan in a block that may be longer than this version's: its size is the proxy's to
    /// say.
    pub(crate) fn with_size(self, size: u32) -> Self {
        Plan { size, ..self }
    }
}

/// Three attempts of 5 s each and no hedge, at an endpoint that has not answered yet.
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
