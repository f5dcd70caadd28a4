//! Detection of endpoints that accept requests and answer none of them.
//!
//! A timeout is late evidence: until the first one, a hanging endpoint gets every request that a
//! policy sends there. Its silence is evident sooner. An endpoint is *silent* when at least
//! [`WITNESSES`] attempts are unanswered, the oldest of them for longer than the limit, and the
//! endpoint answered none at all in that time. The limit is three times the longest recent gap
//! between two of its answers while a request waited, and at least [`SHORTEST`]: an endpoint that
//! usually takes two seconds isn't silent after one. (The idea is the accrual failure detector's:
//! Hayashibara et al., SRDS 2004.)
//!
//! Invariant: one request proves nothing, however long it takes. A single answer, to any client,
//! ends the silence.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Tick;

/// Unanswered attempts that are needed for silence.
const WITNESSES: u32 = 3;
/// The shortest silence: a garbage collection pause takes up to some 200 ms.
const SHORTEST: Duration = Duration::from_millis(300);
/// The limit, as a multiple of the longest recent gap between answers.
const GAPS: u32 = 3;
/// An answer reduces the excess of a longer earlier gap by a tenth: after 20 answers an eighth is
/// left.
const GAP_DECAY: u64 = 10;

/// The record of an endpoint's answers. Lock-free; writers race benignly.
#[derive(Debug, Default)]
pub struct Silence {
    heard_at: AtomicU64,
    /// The decaying longest gap between answers, in microseconds.
    gap_micros: AtomicU32,
    /// Attempts given up since the last answer.
    overtaken: AtomicU32,
}

impl Silence {
    /// Records at `now` an answer, of whatever kind, to an attempt that began at `began`.
    pub fn broken(&self, began: Tick, now: Tick) {
        let since = began.as_nanos().max(self.heard_at.load(Relaxed));
        let gap = (now.as_nanos().saturating_sub(since) / 1_000).min(u64::from(u32::MAX));
        let known = u64::from(self.gap_micros.load(Relaxed));
        let next = gap.max(known - known.saturating_sub(gap) / GAP_DECAY);
        if next != known {
            self.gap_micros.store(u32::try_from(next).unwrap_or(u32::MAX), Relaxed);
        }
        // A streamed answer settles with the time of its beginning.
        self.heard_at.fetch_max(now.as_nanos(), Relaxed);
        if self.overtaken.load(Relaxed) != 0 {
            self.overtaken.store(0, Relaxed);
        }
    }

    /// Records that an attempt that began at `began` was given up without an answer.
    pub fn overtaken(&self, began: Tick) {
        if began.as_nanos() >= self.heard_at.load(Relaxed) {
            self.overtaken.fetch_add(1, Relaxed);
        }
    }

    /// Whether the endpoint is silent, given `outstanding` attempts, the oldest of them `age` old.
    pub fn is_proved(&self, outstanding: u32, age: impl FnOnce() -> Duration, now: Tick) -> bool {
        // The usual case, in two loads: few attempts wait, or there was an answer just now.
        if outstanding.saturating_add(self.overtaken.load(Relaxed)) < WITNESSES {
            return false;
        }
        let unheard = now.since(Tick::from_nanos(self.heard_at.load(Relaxed)));
        unheard >= SHORTEST && unheard.min(age()) >= self.limit()
    }

    /// The time without an answer, while requests wait, after which the endpoint is silent.
    pub fn limit(&self) -> Duration {
        Duration::from_micros(u64::from(self.gap_micros.load(Relaxed)) * u64::from(GAPS)).max(SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(ms: u64) -> Tick {
        Tick::START.after(MS(ms))
    }

    #[test]
    fn three_attempts_without_an_answer_are_a_silence_and_two_are_none() {
        let silence = Silence::default();
        silence.broken(at(995), at(1_000));
        assert!(!silence.is_proved(2, || MS(5_000), at(9_000)));
        assert!(!silence.is_proved(3, || MS(299), at(9_000)), "the attempts are young");
        assert!(!silence.is_proved(3, || MS(600), at(1_299)), "it was heard just now");
        assert!(silence.is_proved(3, || MS(300), at(1_300)));
        silence.broken(at(1_000), at(1_301));
        assert!(!silence.is_proved(30, || MS(600), at(1_302)));
    }

    #[test]
    fn attempts_that_were_given_up_are_witnesses_until_an_answer() {
        let silence = Silence::default();
        silence.broken(at(0), at(10));
        silence.overtaken(at(5));
        silence.overtaken(at(20));
        silence.overtaken(at(30));
        assert!(!silence.is_proved(0, || MS(300), at(1_000)), "the first began before it was heard");
        assert!(silence.is_proved(1, || MS(300), at(1_000)));
        silence.broken(at(30), at(35));
        assert!(!silence.is_proved(2, || MS(900), at(9_000)));
    }

    #[test]
    fn a_long_answer_that_ends_doesnt_undo_what_was_heard_since() {
        let silence = Silence::default();
        for n in 0..50 {
            silence.broken(at(n * 100), at(n * 100 + 100));
        }
        silence.broken(at(0), at(10));
        assert!(!silence.is_proved(9, || MS(5_000), at(5_299)));
        assert!(silence.is_proved(9, || MS(5_000), at(5_300)), "and so is its end");
    }

    #[test]
    fn an_endpoint_that_takes_long_may_be_silent_for_longer() {
        let silence = Silence::default();
        assert_eq!(silence.limit(), SHORTEST);
        silence.broken(at(1_000), at(3_000));
        assert_eq!(silence.limit(), MS(6_000));
        for n in 0..60 {
            silence.broken(at(3_000 + n * 10), at(3_010 + n * 10));
        }
        assert_eq!(silence.limit(), SHORTEST, "many quick answers later");
    }
}
