//! The result of one attempt, and the decision about it.
//!
//! [`may_retry`] holds the host's safety rules. No policy can override them: a policy's retry takes
//! effect only if this function agrees.

use std::time::Duration;

use super::{Outcome, RequestFacts, Tick};

/// A JSON-RPC error as an endpoint sent it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RpcError {
    /// The code; 0 when it was missing or not an integer.
    pub code: i64,
    /// The message; empty when there was none.
    pub message: String,
}

/// The detail of a connection that failed because the proxy itself ran out of a resource.
pub const OWN_LACK: &str = "the proxy has no file descriptor, port or memory left";

impl RpcError {
    /// "Method not found" of JSON-RPC 2.0.
    pub const METHOD_NOT_FOUND: i64 = -32_601;
}

/// The full result of an attempt.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// The classification.
    pub outcome: Outcome,
    /// A part of the request may have been sent.
    pub bytes_sent: bool,
    /// The HTTP status, once a response head was read.
    pub http_status: Option<u16>,
    /// The JSON-RPC error, if the answer was one.
    pub rpc_error: Option<RpcError>,
    /// The status of a gRPC answer, if it has one.
    pub grpc_status: Option<u32>,
    /// The beginning of the body of an HTTP error that isn't JSON-RPC; otherwise empty.
    pub text: String,
    /// `Retry-After` of the response.
    pub retry_after: Option<Duration>,
    /// Time from the selection of the endpoint to the end of the answer.
    pub latency: Duration,
    /// A description of the failure, for the log; never holds an address or a body.
    pub detail: &'static str,
}

impl AttemptResult {
    /// Whether the proxy's own lack of resources caused the failure, which is no endpoint's fault.
    pub fn is_own_lack(&self) -> bool {
        self.outcome == Outcome::ConnectFailed && self.detail == OWN_LACK
    }

    /// A result without a response.
    pub fn failed(outcome: Outcome, bytes_sent: bool, detail: &'static str) -> Self {
        AttemptResult {
            outcome,
            bytes_sent,
            http_status: None,
            rpc_error: None,
            grpc_status: None,
            text: String::new(),
            retry_after: None,
            latency: Duration::ZERO,
            detail,
        }
    }
}

/// The plan for the attempts of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Maximum attempts, the first included.
    pub max_attempts: u32,
    /// Time limit of one attempt.
    pub timeout: Duration,
    /// Delay after which a hedge starts beside an unanswered first attempt.
    pub hedge_after: Option<Duration>,
}

/// The action after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer the client with the present result.
    Return,
    /// Try another endpoint after a delay.
    Retry {
        /// Delay before the next attempt.
        delay: Duration,
    },
}

/// The cooldown that a retry policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CooldownWish {
    /// None.
    None,
    /// The upstream's own exponential backoff.
    Backoff,
    /// This long.
    Fixed(Duration),
}

/// The kind of endpoint that should take the next attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// Any.
    #[default]
    None,
    /// An endpoint that knows more of the chain: tagged `archive`, or with a higher head. Any other
    /// if there is none.
    History,
    /// Only an endpoint whose range of blocks isn't known to be as small.
    LargerRange,
}

impl Preference {
    /// Replaces this preference by a later one, unless that is none: an endpoint that failed for
    /// another reason doesn't refute it.
    pub fn then(self, later: Preference) -> Preference {
        if later == Preference::None { self } else { later }
    }
}

/// The retry policy's decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Return or retry.
    pub action: Action,
    /// The endpoint's cooldown.
    pub cooldown: CooldownWish,
    /// Milliseconds for the endpoint's error penalty; above 0 the attempt counts as its failure.
    pub penalty_ms: f32,
    /// The attempt counts as the endpoint's success.
    pub success: bool,
    /// Duration of a ban of the method at the endpoint; zero for no ban.
    pub method_ban: Duration,
    /// The preferred endpoint for the next attempt.
    pub prefer: Preference,
    /// The endpoint already has the transaction: the answer is its hash.
    pub landed: bool,
}

impl Decision {
    /// Return the present result; hold nothing against the endpoint.
    pub const RETURN: Decision = Decision {
        action: Action::Return,
        cooldown: CooldownWish::None,
        penalty_ms: 0.0,
        success: false,
        method_ban: Duration::ZERO,
        prefer: Preference::None,
        landed: false,
    };

    /// Whether the decision holds anything against the endpoint.
    pub fn blames(&self) -> bool {
        self.cooldown != CooldownWish::None || self.penalty_ms > 0.0 || !self.method_ban.is_zero()
    }

    /// Combines this decision about a message that quotes its request with `unquoted`, the one
    /// about the message without the quoted words: the milder blame of the two, and everything else
    /// from the decision that blames less.
    pub fn despite(self, unquoted: Decision) -> Decision {
        let cooldown = match self.cooldown.longer(unquoted.cooldown) {
            longer if longer == self.cooldown => unquoted.cooldown,
            _ => self.cooldown,
        };
        let penalty_ms = self.penalty_ms.min(unquoted.penalty_ms);
        let method_ban = self.method_ban.min(unquoted.method_ban);
        let is_milder = (cooldown, penalty_ms, method_ban) != (self.cooldown, self.penalty_ms, self.method_ban);
        Decision { cooldown, penalty_ms, method_ban, ..if is_milder { unquoted } else { self } }
    }

    /// Combines two decisions about parts of one attempt into the worse blame of the endpoint.
    /// Action, preference and ban belong to the parts, not to the endpoint.
    pub fn worse(self, other: Decision) -> Decision {
        Decision {
            cooldown: self.cooldown.longer(other.cooldown),
            penalty_ms: self.penalty_ms.max(other.penalty_ms),
            success: self.success && other.success,
            ..Decision::RETURN
        }
    }
}

impl CooldownWish {
    /// The longer of two cooldowns. A fixed time, which the endpoint asked for, overrides the
    /// upstream's own backoff.
    fn longer(self, other: CooldownWish) -> CooldownWish {
        match (self, other) {
            (CooldownWish::Fixed(a), CooldownWish::Fixed(b)) => CooldownWish::Fixed(a.max(b)),
            (CooldownWish::Fixed(_), _) | (_, CooldownWish::None) => self,
            _ => other,
        }
    }
}

/// The safety rules: whether the host allows another attempt after this one.
///
/// It doesn't when the attempts are used up, when the deadline has passed, or when a write's bytes
/// may have been sent (unless the write is idempotent): the first endpoint may have executed it.
pub fn may_retry(request: &RequestFacts, result: &AttemptResult, attempt: u32, max_attempts: u32, now: Tick) -> bool {
    let unsafe_write = !request.shape.is_resendable() && result.bytes_sent;
    attempt < max_attempts && now < request.deadline && !unsafe_write && result.outcome != Outcome::Canceled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MethodClass;

    const NOW: Tick = Tick::from_nanos(1_000);

    fn request(class: MethodClass) -> RequestFacts {
        RequestFacts { deadline: Tick::from_nanos(2_000), ..RequestFacts::of_single("eth_call", class) }
    }

    fn reset(bytes_sent: bool) -> AttemptResult {
        AttemptResult::failed(Outcome::Reset, bytes_sent, "")
    }

    #[test]
    fn a_read_may_be_tried_again_until_attempts_or_deadline_end() {
        let read = request(MethodClass::Read);
        assert!(may_retry(&read, &reset(true), 1, 3, NOW));
        assert!(!may_retry(&read, &reset(true), 3, 3, NOW));
        assert!(!may_retry(&read, &reset(true), 1, 3, Tick::from_nanos(2_000)));
    }

    #[test]
    fn a_write_is_sent_twice_only_when_nothing_went_out_or_it_is_idempotent() {
        assert!(may_retry(&request(MethodClass::Write), &reset(false), 1, 3, NOW));
        assert!(!may_retry(&request(MethodClass::Write), &reset(true), 1, 3, NOW));
        assert!(may_retry(&request(MethodClass::IdempotentWrite), &reset(true), 1, 3, NOW));
    }

    #[test]
    fn the_worse_of_two_decisions_is_worse_in_everything() {
        let second = Duration::from_secs(1);
        let answer = Decision { success: true, ..Decision::RETURN };
        let failure = Decision { penalty_ms: 5.0, cooldown: CooldownWish::Backoff, ..Decision::RETURN };
        let limited = Decision { cooldown: CooldownWish::Fixed(second), ..Decision::RETURN };
        assert_eq!(answer.worse(failure), failure);
        assert_eq!(answer.worse(answer), answer);
        for both in [limited.worse(failure), failure.worse(limited)] {
            assert_eq!(both, Decision { penalty_ms: 5.0, ..limited });
        }
    }

    #[test]
    fn a_quotation_can_only_lessen_what_is_held_against_an_endpoint() {
        let backoff = Decision { cooldown: CooldownWish::Backoff, ..Decision::RETURN };
        let quota = Decision { cooldown: CooldownWish::Fixed(Duration::from_secs(3_600)), ..Decision::RETURN };
        let failure = Decision { penalty_ms: 5.0, prefer: Preference::History, ..backoff };
        let banned = Decision { method_ban: Duration::from_secs(600), ..Decision::RETURN };
        let answer = Decision { success: true, ..Decision::RETURN };
        for (quoting, unquoted, expected) in [
            (quota, answer, answer),
            (quota, failure, Decision { penalty_ms: 0.0, ..failure }),
            (quota, quota, quota),
            (backoff, quota, backoff),
            (banned, failure, Decision { cooldown: CooldownWish::None, penalty_ms: 0.0, ..failure }),
            (failure, banned, Decision { method_ban: Duration::ZERO, ..banned }),
            (failure, Decision { prefer: Preference::None, ..failure }, failure),
        ] {
            assert_eq!(quoting.despite(unquoted), expected, "{quoting:?} {unquoted:?}");
            assert!(quoting.blames() && !answer.blames());
        }
    }

    #[test]
    fn nobody_waits_for_a_canceled_request() {
        let gone = AttemptResult::failed(Outcome::Canceled, true, "");
        assert!(!may_retry(&request(MethodClass::Read), &gone, 1, 3, NOW));
    }
}
