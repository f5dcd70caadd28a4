//! The decision block.

use std::mem::offset_of;
use std::time::Duration;

/// Values of [`Decision::action`].
const RETURN: u32 = 0;
const RETRY: u32 = 1;

/// Duration of an endpoint's cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cooldown {
    /// The upstream's backoff: `base * 2^n` for the *n*-th cooldown in a row, at most `max`.
    Backoff,
    /// A fixed duration. The proxy caps it at one day.
    Fixed(Duration),
}

/// The decision of a retry policy: the ABI's decision block, 32 bytes.
///
/// ```
/// use pointsman_sdk::{Cooldown, Decision};
/// let decision = Decision::retry().cooldown(Cooldown::Backoff).penalty_ms(15_000.0);
/// assert!(decision.is_retry());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(8))]
#[must_use]
pub struct Decision {
    size: u32,
    action: u32,
    delay_ms: u32,
    cooldown: u32,
    cooldown_ms: u32,
    penalty_ms: f32,
    flags: u32,
    method_ban_ms: u32,
}

impl Decision {
    /// Flag: the attempt counts as a success.
    const SUCCESS: u32 = 1;
    /// Flag: prefer an archive endpoint or a higher head for the next attempt.
    const PREFER_HISTORY: u32 = 1 << 1;
    /// Flag: the next attempt needs an endpoint with a larger block range.
    const LARGER_RANGE: u32 = 1 << 2;
    /// Flag: the endpoint already knows the transaction.
    const LANDED: u32 = 1 << 3;

    /// Returns this attempt's response to the client, without cooldown or penalty.
    pub fn return_() -> Self {
        Self::new(RETURN)
    }

    /// Retries on another endpoint without delay, cooldown or penalty.
    pub fn retry() -> Self {
        Self::new(RETRY)
    }

    /// Delays the retry. The proxy clamps the delay to the request's deadline.
    pub fn delay(self, delay: Duration) -> Self {
        Decision { delay_ms: millis(delay), ..self }
    }

    /// Puts the endpoint into cooldown.
    pub fn cooldown(self, cooldown: Cooldown) -> Self {
        let (cooldown, cooldown_ms) = match cooldown {
            Cooldown::Backoff => (1, 0),
            Cooldown::Fixed(time) => (2, millis(time)),
        };
        Decision { cooldown, cooldown_ms, ..self }
    }

    /// Adds a sample to the endpoint's error penalty and counts the attempt as a failure of the
    /// endpoint; 0 does neither. A negative number, NaN or infinity is passed on and is a fault.
    pub fn penalty_ms(self, penalty_ms: f32) -> Self {
        Decision { penalty_ms, ..self }
    }

    /// Counts the attempt as a success of the endpoint: a valid response in the form of an error.
    pub fn as_success(self) -> Self {
        self.flag(Self::SUCCESS)
    }

    /// Bans this method at the endpoint. The proxy caps the ban at one day; less than a millisecond
    /// is no ban.
    pub fn ban_method(self, time: Duration) -> Self {
        Decision { method_ban_ms: millis(time), ..self }
    }

    /// Prefers an endpoint with the tag `archive` or a higher head for the next attempt.
    pub fn prefer_history(self) -> Self {
        self.flag(Self::PREFER_HISTORY)
    }

    /// Restricts the next attempt to endpoints whose `max_block_range` is larger than this
    /// endpoint's or unknown.
    pub fn larger_range(self) -> Self {
        self.flag(Self::LARGER_RANGE)
    }

    /// Reports that the endpoint already knows the transaction: the proxy answers an
    /// `eth_sendRawTransaction` with its hash instead of the error. Also counts as a success of the
    /// endpoint.
    pub fn landed(self) -> Self {
        self.flag(Self::LANDED).as_success()
    }

    /// Returns `true` if the decision asks for another attempt.
    pub fn is_retry(&self) -> bool {
        self.action == RETRY
    }

    /// Size of the block in bytes, set by the proxy.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// The same decision with the proxy's block size, which may exceed this version's.
    pub(crate) fn with_size(self, size: u32) -> Self {
        Decision { size, ..self }
    }

    fn flag(self, flag: u32) -> Self {
        Decision { flags: self.flags | flag, ..self }
    }

    fn new(action: u32) -> Self {
        Decision {
            size: crate::export::size::<Decision>(),
            action,
            delay_ms: 0,
            cooldown: 0,
            cooldown_ms: 0,
            penalty_ms: 0.0,
            flags: 0,
            method_ban_ms: 0,
        }
    }
}

/// Converts to whole milliseconds, saturating.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

// ABI.md, section 4, "Decision block".
const _: () = {
    assert!(size_of::<Decision>() == 32 && align_of::<Decision>() == 8);
    assert!(offset_of!(Decision, size) == 0);
    assert!(offset_of!(Decision, action) == 4);
    assert!(offset_of!(Decision, delay_ms) == 8);
    assert!(offset_of!(Decision, cooldown) == 12);
    assert!(offset_of!(Decision, cooldown_ms) == 16);
    assert!(offset_of!(Decision, penalty_ms) == 20);
    assert!(offset_of!(Decision, flags) == 24);
    assert!(offset_of!(Decision, method_ban_ms) == 28);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_decisions_hold_nothing_against_the_endpoint() {
        for (decision, action) in [(Decision::return_(), 0), (Decision::retry(), 1)] {
            assert_eq!(crate::export::words(&[decision]), [32 | action << 32, 0, 0, 0]);
        }
    }

    #[test]
    fn each_flag_is_its_own_and_what_landed_is_a_success() {
        let retry = Decision::retry();
        let decisions = [retry.as_success(), retry.prefer_history(), retry.larger_range(), retry.landed()];
        assert_eq!(decisions.map(|decision| decision.flags), [1, 2, 4, 8 | 1]);
        assert_eq!(retry.prefer_history().larger_range().flags, 6);
    }

    #[test]
    fn long_times_saturate() {
        let max = Duration::MAX;
        let decision = Decision::retry().delay(max).cooldown(Cooldown::Fixed(max)).ban_method(max);
        assert_eq!([decision.delay_ms, decision.cooldown_ms, decision.method_ban_ms], [u32::MAX; 3]);
    }

    #[test]
    fn the_last_cooldown_wins_whole() {
        let fixed = Cooldown::Fixed(Duration::from_secs(1));
        let decision = Decision::return_().cooldown(fixed).cooldown(Cooldown::Backoff);
        assert_eq!((decision.cooldown, decision.cooldown_ms), (1, 0));
    }
}
