//! What to do after a JSON-RPC attempt that was not a clean success.
//!
//! The knowledge is in [`table`]: a row per signal, first match wins. This file turns a row and the conf into a
//! decision. What no row knows is returned as it is and held against nobody.
//!
//! Invariants:
//! - A write whose bytes were sent goes to another endpoint only if it is idempotent, whatever the table says. The
//!   proxy holds to that too; a policy that asks for it would only look wrong in a log.
//! - Retries go to another endpoint, so none waits.
//! - A penalty is what azoth-balancer takes: the attempt's latency or the conf's number for its kind, whichever is
//!   more, so that failing slowly never looks better than failing fast.

pub mod table;

use std::time::Duration;

use pointsman_sdk::{Attempt, Cooldown, Decision, Policy, Request, Retry};
use serde::Deserialize;

use table::{Cools, Elsewhere, Penalty};

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is held against an endpoint.
    pub penalties: Penalties,
    /// `false`: no endpoint ever cools.
    pub cooldown: bool,
    /// Failures in a row after which an endpoint cools; 1 for the first. Not for rate limits, which ask for it.
    pub cooldown_after: u32,
}

/// `[policies.<name>.config.penalties]`: the least penalty for each kind of failure, in milliseconds. 0 turns a kind
/// off, and then it doesn't count as the endpoint's failure either.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "each is a row's penalty")]
pub struct Penalties {
    pub connect_failed_ms: u32,
    pub timeout_ms: u32,
    pub reset_ms: u32,
    pub server_error_ms: u32,
    pub rate_limited_ms: u32,
    pub client_error_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { penalties: Penalties::default(), cooldown: true, cooldown_after: 1 }
    }
}

impl Default for Penalties {
    fn default() -> Self {
        // azoth-balancer's numbers; a reset is like a failed connect, only later.
        Penalties {
            connect_failed_ms: 20_000,
            timeout_ms: 30_000,
            reset_ms: 20_000,
            server_error_ms: 15_000,
            rate_limited_ms: 10_000,
            client_error_ms: 5_000,
        }
    }
}

/// The policy.
#[derive(Clone, Debug)]
pub struct JsonRpcRetry {
    config: Config,
}

pointsman_sdk::export_policy!(JsonRpcRetry: retry);

impl Policy for JsonRpcRetry {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        if config.cooldown_after == 0 {
            return Err("cooldown_after is 0, but must be at least 1".to_owned());
        }
        Ok(JsonRpcRetry { config })
    }
}

impl Retry for JsonRpcRetry {
    fn retry(&self, request: &Request, attempt: &Attempt) -> Decision {
        let Some(row) = table::find(attempt) else {
            return Decision::return_();
        };
        let again = attempt.may_retry() && row.elsewhere.allows(request, attempt);
        let mut decision = if again { Decision::retry() } else { Decision::return_() };
        if let Some(cooldown) = self.cooldown(row.cools, attempt) {
            decision = decision.cooldown(cooldown);
        }
        if row.success {
            decision = decision.as_success();
        }
        decision.penalty_ms(self.penalty_ms(row.penalty, attempt))
    }
}

impl JsonRpcRetry {
    fn penalty_ms(&self, penalty: Penalty, attempt: &Attempt) -> f32 {
        let penalties = &self.config.penalties;
        let least_ms = match penalty {
            Penalty::None => 0,
            Penalty::ConnectFailed => penalties.connect_failed_ms,
            Penalty::Timeout => penalties.timeout_ms,
            Penalty::Reset => penalties.reset_ms,
            Penalty::ServerError => penalties.server_error_ms,
            Penalty::RateLimited => penalties.rate_limited_ms,
            Penalty::ClientError => penalties.client_error_ms,
        };
        #[expect(clippy::cast_precision_loss, reason = "a penalty needs no more than 24 bits")]
        let least_ms = least_ms as f32;
        if least_ms > 0.0 { least_ms.max(attempt.latency_ms) } else { 0.0 }
    }

    fn cooldown(&self, cools: Cools, attempt: &Attempt) -> Option<Cooldown> {
        let enough = attempt.consecutive_failures.saturating_add(1) >= self.config.cooldown_after;
        match cools {
            _ if !self.config.cooldown => None,
            Cools::No => None,
            Cools::Backoff => enough.then_some(Cooldown::Backoff),
            Cools::RetryAfter => Some(attempt.retry_after().map_or(Cooldown::Backoff, at_least_a_moment)),
        }
    }
}

/// `Retry-After: 0` is sent by servers that don't know when; it is no promise to answer at once.
fn at_least_a_moment(retry_after: Duration) -> Cooldown {
    if retry_after.is_zero() { Cooldown::Backoff } else { Cooldown::Fixed(retry_after) }
}

impl Elsewhere {
    fn allows(self, request: &Request, attempt: &Attempt) -> bool {
        let read = !request.is_write();
        match self {
            Elsewhere::No => false,
            Elsewhere::Reads => read,
            Elsewhere::Safe => read || request.is_idempotent() || !attempt.bytes_sent(),
        }
    }
}

#[cfg(test)]
mod tests;
