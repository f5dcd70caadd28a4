//! What is held against an endpoint, and the evidence that it needs.
//!
//! Invariant: **blame needs evidence that is not the request's.** A client chooses its requests,
//! and with them most of what an endpoint says to them: error codes, words, HTTP statuses,
//! timeouts, even resets. So what a request can provoke excludes an endpoint only with a witness
//! that the client doesn't control: a probe of the proxy's own that fails, too. Where there are no
//! probes, another endpoint must have answered the very same request, and the endpoint nobody
//! else's for a while. A share of requests that an endpoint fails and others answer is a witness,
//! too, if most clients see it: see `outlier`.
//!
//! Some things can't be provoked by a request's content: an endpoint that can't be connected to,
//! one that says it is at its rate limit (HTTP 429), and one that is silent to everybody.

use super::{AttemptResult, CooldownWish, Decision, Outcome};

/// HTTP 429.
const TOO_MANY_REQUESTS: u16 = 429;

/// Whether the content of a request can bring such an end of its attempt about.
pub fn is_provoked(result: &AttemptResult) -> bool {
    let is_own = result.outcome == Outcome::ConnectFailed
        || (result.outcome == Outcome::HttpError && result.http_status == Some(TOO_MANY_REQUESTS));
    !is_own
}

/// What became of a request elsewhere, after an endpoint failed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Another endpoint answered it.
    Answered,
    /// Another one failed it, too.
    Failed,
    /// No other one was tried.
    Untried,
}

/// What a decision holds against the endpoint that was tried.
#[derive(Clone, Debug)]
pub struct Blame {
    /// The endpoint's position in its upstream.
    pub index: u32,
    /// The worst decision about the attempt.
    pub decision: Decision,
    /// How the attempt ended.
    pub result: AttemptResult,
    /// The client that it was made for, as in its request.
    pub client: u64,
    /// Its method, unless it is a batch of several.
    pub method: String,
}

impl Blame {
    /// Outcome, detail and HTTP status of the attempt, for the log.
    pub fn why(&self) -> (&'static str, &'static str, Option<u16>) {
        (self.result.outcome.label(), self.result.detail, self.result.http_status)
    }

    /// Whether it holds anything against the endpoint.
    pub fn is_any(&self) -> bool {
        self.is_failure() || !self.decision.method_ban.is_zero()
    }

    /// Whether the attempt counts as a failure of the endpoint.
    pub fn is_failure(&self) -> bool {
        self.excludes() || self.decision.penalty_ms > 0.0
    }

    /// Whether the endpoint would be excluded.
    pub fn excludes(&self) -> bool {
        self.decision.cooldown != CooldownWish::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_connection_or_the_rate_is_the_endpoints_own() {
        let http =
            |status| AttemptResult { http_status: Some(status), ..AttemptResult::failed(Outcome::HttpError, true, "") };
        assert!(!is_provoked(&AttemptResult::failed(Outcome::ConnectFailed, false, "")));
        assert!(!is_provoked(&http(429)));
        for status in [400, 401, 402, 403, 413, 431, 500, 503] {
            assert!(is_provoked(&http(status)), "{status}");
        }
        for outcome in [Outcome::Timeout, Outcome::Reset, Outcome::BadResponse, Outcome::RpcError] {
            assert!(is_provoked(&AttemptResult::failed(outcome, true, "")), "{outcome:?}");
        }
    }
}
