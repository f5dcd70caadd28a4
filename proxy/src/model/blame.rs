//! Blame of an endpoint, and the evidence that it requires.
//!
//! Invariant: **blame needs evidence beyond the request.** A client chooses its requests, and with
//! them most of an endpoint's responses: error codes, words, HTTP statuses, timeouts, even resets.
//! So a failure that a request can provoke excludes an endpoint only with evidence that the client
//! doesn't control: a failed probe of the proxy's own. Without probes, this endpoint must have
//! answered no request for a while, and another one the same request, if another one was tried. A
//! share of requests that an endpoint fails and others answer is evidence, too, if most clients are
//! affected: see `outlier`.
//!
//! Some failures can't be provoked by a request's content: a refused connection, a rate limit that
//! the endpoint reports (HTTP 429), and silence toward all clients.

use super::{AttemptResult, CooldownWish, Decision, Outcome};

/// HTTP 429.
const TOO_MANY_REQUESTS: u16 = 429;

/// Whether the content of a request can provoke this result.
pub fn is_provoked(result: &AttemptResult) -> bool {
    let is_own = result.outcome == Outcome::ConnectFailed
        || (result.outcome == Outcome::HttpError && result.http_status == Some(TOO_MANY_REQUESTS));
    !is_own
}

/// The fate of a request elsewhere, after an endpoint failed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Another endpoint answered it.
    Answered,
    /// Another endpoint failed it, too.
    Failed,
    /// No other endpoint was tried.
    Untried,
}

/// The blame that a decision puts on the endpoint of an attempt.
#[derive(Clone, Debug)]
pub struct Blame {
    /// The endpoint's position in its upstream.
    pub index: u32,
    /// The worst decision about the attempt.
    pub decision: Decision,
    /// The attempt's result.
    pub result: AttemptResult,
    /// The client of the request, by its key.
    pub client: u64,
    /// The method of the request, unless it is a batch of several.
    pub method: String,
}

impl Blame {
    /// Outcome, detail and HTTP status of the attempt, for the log.
    pub fn why(&self) -> (&'static str, &'static str, Option<u16>) {
        (self.result.outcome.label(), self.result.detail, self.result.http_status)
    }

    /// Whether there is any blame.
    pub fn is_any(&self) -> bool {
        self.is_failure() || !self.decision.method_ban.is_zero()
    }

    /// Whether the attempt counts as a failure of the endpoint.
    pub fn is_failure(&self) -> bool {
        self.excludes() || self.decision.penalty_ms > 0.0
    }

    /// Whether the blame would exclude the endpoint.
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
