//! Decodes guests' answers into a [`Decision`], a [`Plan`] or a [`Scored`].
//!
//! Invariant: an answer that serves no request is a [`Fault`] for every caller. That includes
//! scores that leave out every endpoint; a guest that wants to refuse a request does so explicitly
//! (ABI 1.2).

use std::time::Duration;

use super::abi::{DecisionBlock, PlanBlock, decision_flags as flags, request_flags};
use super::fault::Fault;
use crate::model::{Action, CooldownWish, Decision, Plan, Preference};

const ACTION_RETURN: u32 = 0;
const ACTION_RETRY: u32 = 1;
const COOLDOWN_NONE: u32 = 0;
const COOLDOWN_BACKOFF: u32 = 1;
const COOLDOWN_FIXED: u32 = 2;
/// The longest time for which a policy can exclude an endpoint or one of its methods, or penalize
/// it.
const MAX_EXCLUSION: Duration = Duration::from_secs(24 * 60 * 60);

/// Timers are no finer: a shorter timeout would end every attempt at once.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// The result of a scoring call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scored {
    /// Each row has a score, and at least one score is usable.
    Ranked,
    /// The request must go to no endpoint; all scores are negative infinity.
    Refused,
}

/// Whether the guest refused, from the request's flags before and after the call. Not for older
/// guests, whose `flags` are ignored.
pub(super) fn refusal(found: u32, left: u32) -> Result<bool, Fault> {
    match found ^ left {
        0 => Ok(false),
        request_flags::REFUSE => Ok(true),
        _ => Err(Fault::Output("flags of the request that are not the policy's to change")),
    }
}

/// Whether a score admits its endpoint: NaN and negative infinity leave it out.
pub(super) fn is_usable(score: f64) -> bool {
    score > f64::NEG_INFINITY
}

/// Scores that admit no endpoint are a fault.
pub(super) fn useful(scored: Scored, scores: &[f64]) -> Result<Scored, Fault> {
    if scored == Scored::Refused || scores.iter().copied().any(is_usable) || scores.is_empty() {
        return Ok(scored);
    }
    Err(Fault::Output(if scores.iter().any(|score| score.is_nan()) { NAN_FOR_ALL } else { LEFT_OUT_ALL }))
}

/// Arithmetic with an unknown input gives NaN.
pub(super) const NAN_FOR_ALL: &str = "scores of NaN that leave out every endpoint";
/// Negative infinity is always deliberate.
pub(super) const LEFT_OUT_ALL: &str = "scores of negative infinity for every endpoint";

/// Validates each field of a guest's decision.
pub(super) fn decision(block: &DecisionBlock) -> Result<Decision, Fault> {
    let action = match block.action {
        ACTION_RETURN => Action::Return,
        ACTION_RETRY => Action::Retry { delay: Duration::from_millis(u64::from(block.delay_ms)) },
        _ => return Err(Fault::Output("no such action")),
    };
    let cooldown = match block.cooldown {
        COOLDOWN_NONE => CooldownWish::None,
        COOLDOWN_BACKOFF => CooldownWish::Backoff,
        COOLDOWN_FIXED => CooldownWish::Fixed(Duration::from_millis(u64::from(block.cooldown_ms)).min(MAX_EXCLUSION)),
        _ => return Err(Fault::Output("no such cooldown")),
    };
    if !block.penalty_ms.is_finite() || block.penalty_ms < 0.0 {
        return Err(Fault::Output("a penalty that is not a number from 0 up"));
    }
    let has = |flag| block.flags & flag != 0;
    Ok(Decision {
        action,
        cooldown,
        penalty_ms: block.penalty_ms.min(MAX_EXCLUSION.as_secs_f32() * 1_000.0),
        success: has(flags::SUCCESS),
        method_ban: Duration::from_millis(u64::from(block.method_ban_ms)).min(MAX_EXCLUSION),
        prefer: match (has(flags::LARGER_RANGE), has(flags::PREFER_HISTORY)) {
            (true, _) => Preference::LargerRange,
            (false, true) => Preference::History,
            (false, false) => Preference::None,
        },
        landed: has(flags::LANDED),
    })
}

/// Validates a guest's plan, and clamps it to the plan `asked` that the guest was given.
pub(super) fn plan(block: &PlanBlock, asked: &PlanBlock) -> Result<Plan, Fault> {
    if block.max_attempts == 0 {
        return Err(Fault::Output("a plan without an attempt"));
    }
    if !block.timeout_ms.is_finite() || block.timeout_ms <= 0.0 {
        return Err(Fault::Output("a timeout that is not a number above 0"));
    }
    if block.hedge_delay_ms.is_nan() || block.hedge_delay_ms < 0.0 {
        return Err(Fault::Output("a hedge delay that is not a number from 0 up"));
    }
    Ok(Plan {
        max_attempts: block.max_attempts.min(asked.max_attempts),
        timeout: millis(block.timeout_ms).max(SHORTEST_TIMEOUT),
        hedge_after: block.hedge_delay_ms.is_finite().then(|| millis(block.hedge_delay_ms)),
    })
}

/// No plan waits longer than a day.
fn millis(ms: f32) -> Duration {
    Duration::from_secs_f32((ms / 1_000.0).min(MAX_EXCLUSION.as_secs_f32()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> DecisionBlock {
        DecisionBlock { size: 32, ..bytemuck::Zeroable::zeroed() }
    }

    #[test]
    fn an_untouched_block_returns_and_holds_nothing_against_the_endpoint() {
        assert_eq!(decision(&block()).unwrap(), Decision::RETURN);
    }

    #[test]
    fn every_field_is_carried_over_and_capped() {
        let full = DecisionBlock {
            action: 1,
            delay_ms: 7,
            cooldown: 2,
            cooldown_ms: u32::MAX,
            penalty_ms: 3.5,
            flags: 1,
            method_ban_ms: 9,
            ..block()
        };
        let expected = Decision {
            action: Action::Retry { delay: Duration::from_millis(7) },
            cooldown: CooldownWish::Fixed(MAX_EXCLUSION),
            penalty_ms: 3.5,
            success: true,
            method_ban: Duration::from_millis(9),
            prefer: Preference::None,
            landed: false,
        };
        assert_eq!(decision(&full).unwrap(), expected);
        assert_eq!(decision(&DecisionBlock { flags: 2, ..block() }).unwrap().prefer, Preference::History);
        assert_eq!(decision(&DecisionBlock { flags: 4, ..block() }).unwrap().prefer, Preference::LargerRange);
        assert!(decision(&DecisionBlock { flags: 8, ..block() }).unwrap().landed);
    }

    #[test]
    fn a_plan_is_clamped_to_what_the_upstream_allows() {
        let asked = PlanBlock::new(3, 5_000.0, f32::NAN, f32::NAN);
        let unchanged = Plan { max_attempts: 3, timeout: Duration::from_secs(5), hedge_after: None };
        assert_eq!(plan(&asked, &asked).unwrap(), unchanged);
        let wished = PlanBlock { max_attempts: 9, timeout_ms: 1.5, hedge_delay_ms: 0.0, ..asked };
        let expected =
            Plan { max_attempts: 3, timeout: Duration::from_micros(1_500), hedge_after: Some(Duration::ZERO) };
        assert_eq!(plan(&wished, &asked).unwrap(), expected);
        assert_eq!(plan(&PlanBlock { timeout_ms: 1e-30, ..asked }, &asked).unwrap().timeout, SHORTEST_TIMEOUT);
        assert_eq!(plan(&PlanBlock { timeout_ms: f32::MAX, ..asked }, &asked).unwrap().timeout, MAX_EXCLUSION);
        for bad in [
            PlanBlock { max_attempts: 0, ..asked },
            PlanBlock { timeout_ms: 0.0, ..asked },
            PlanBlock { timeout_ms: f32::NAN, ..asked },
            PlanBlock { timeout_ms: f32::INFINITY, ..asked },
            PlanBlock { hedge_delay_ms: -1.0, ..asked },
            PlanBlock { hedge_delay_ms: f32::NAN, ..asked },
        ] {
            assert!(matches!(plan(&bad, &asked), Err(Fault::Output(_))), "{bad:?}");
        }
    }

    #[test]
    fn scores_without_a_usable_one_are_a_fault_and_a_refusal_is_none() {
        let (nan, out) = (f64::NAN, f64::NEG_INFINITY);
        for good in [&[nan, 0.0][..], &[out, f64::MIN], &[f64::INFINITY], &[]] {
            assert_eq!(useful(Scored::Ranked, good).unwrap(), Scored::Ranked, "{good:?}");
        }
        for (bad, why) in [(&[nan, nan][..], NAN_FOR_ALL), (&[out, nan], NAN_FOR_ALL), (&[out, out], LEFT_OUT_ALL)] {
            assert!(matches!(useful(Scored::Ranked, bad), Err(Fault::Output(told)) if told == why), "{bad:?}");
        }
        assert_eq!(useful(Scored::Refused, &[out, out]).unwrap(), Scored::Refused);
    }

    #[test]
    fn a_guest_may_set_one_flag_of_the_request_and_no_other() {
        let found = request_flags::WRITE | request_flags::BATCH;
        assert!(!refusal(found, found).unwrap());
        assert!(refusal(found, found | request_flags::REFUSE).unwrap());
        for left in [0, found | 1 << 30, request_flags::REFUSE, u32::MAX] {
            assert!(matches!(refusal(found, left), Err(Fault::Output(_))), "{left:#x}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_a_fault() {
        for bad in [
            DecisionBlock { action: 2, ..block() },
            DecisionBlock { cooldown: 3, ..block() },
            DecisionBlock { penalty_ms: f32::NAN, ..block() },
            DecisionBlock { penalty_ms: f32::INFINITY, ..block() },
            DecisionBlock { penalty_ms: -1.0, ..block() },
        ] {
            assert!(matches!(decision(&bad), Err(Fault::Output(_))), "{bad:?}");
        }
    }
}
