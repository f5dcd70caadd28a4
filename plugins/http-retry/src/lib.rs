//! Retry policy for HTTP and gRPC.
//!
//! An attempt is a [`Failure`], and a failure has a rule: whether the request may go to another
//! endpoint, the endpoint's penalty and its cooldown. `docs/http-retry.md` has the table.
//!
//! Invariants:
//! - A request that isn't resendable goes to another endpoint only if nothing was sent. The proxy
//!   decides that, by the method and `Idempotency-Key`, and sets a flag in the request block.
//! - A status from 400 to 499 holds nothing against an endpoint unless it is a rate limit: the
//!   client's request determines it.
//! - Retries go to another endpoint, so none is delayed.
//! - A penalty is the larger of the attempt's latency and the conf's number for its kind, so a slow
//!   failure never looks better than a fast one.
//! - A call allocates nothing.
//!
//! Deliberately absent: hedges. A second request costs the endpoints of an HTTP service more than a
//! read costs a node, and its responses are not known to be equal.

mod config;
mod failure;

use std::time::Duration;

use pointsman_sdk::{Attempt, Cooldown, Decision, Policy, Request, Retry};

use config::Statuses;
pub use config::{Config, Penalties};
pub use failure::Failure;

/// A configured retry policy for HTTP and gRPC.
#[derive(Clone, Debug)]
pub struct HttpRetry {
    config: Config,
    retried: Statuses,
    rate_limits: Statuses,
}

pointsman_sdk::export_policy!(HttpRetry: retry);

impl Policy for HttpRetry {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.check()?;
        let retried = Statuses::new("retry_statuses", &config.retry_statuses)?;
        let rate_limits = Statuses::new("rate_limit_statuses", &config.rate_limit_statuses)?;
        if let Some(both) = config.retry_statuses.iter().find(|status| rate_limits.has(**status)) {
            return Err(format!("retry_statuses and rate_limit_statuses both have {both}, but only one may"));
        }
        Ok(HttpRetry { config, retried, rate_limits })
    }
}

impl Retry for HttpRetry {
    fn retry(&self, request: &Request, attempt: &Attempt) -> Decision {
        let failure = Failure::of(attempt, &self.retried, &self.rate_limits);
        let safe = request.is_resendable() || !attempt.bytes_sent();
        let again = failure.is_retried() && safe && attempt.may_retry();
        let mut decision = if again { Decision::retry() } else { Decision::return_() };
        if failure == Failure::None {
            return decision.as_success();
        }
        if let Some(cooldown) = self.cooldown(failure, attempt) {
            decision = decision.cooldown(cooldown);
        }
        decision.penalty_ms(self.penalty_ms(failure, attempt))
    }
}

impl HttpRetry {
    fn penalty_ms(&self, failure: Failure, attempt: &Attempt) -> f32 {
        let penalties = &self.config.penalties;
        let least_ms = float(match failure {
            Failure::None | Failure::Refused | Failure::Unknown => 0,
            Failure::Connect => penalties.connect_failed_ms,
            Failure::Timeout => penalties.timeout_ms,
            Failure::Reset => penalties.reset_ms,
            Failure::Gateway => penalties.gateway_error_ms,
            Failure::Server => penalties.server_error_ms,
            Failure::RateLimit => penalties.rate_limited_ms,
        });
        if least_ms > 0.0 { least_ms.max(attempt.latency_ms) } else { 0.0 }
    }

    fn cooldown(&self, failure: Failure, attempt: &Attempt) -> Option<Cooldown> {
        if !self.config.cooldown {
            return None;
        }
        let often_enough = attempt.consecutive_failures.saturating_add(1) >= self.config.cooldown_after;
        let backoff = often_enough.then_some(Cooldown::Backoff);
        match failure {
            Failure::None | Failure::Refused | Failure::Server | Failure::Unknown => None,
            Failure::Connect | Failure::Timeout | Failure::Reset => backoff,
            Failure::Gateway => self.asked(attempt).or(backoff),
            Failure::RateLimit => self.asked(attempt).or(Some(Cooldown::Backoff)),
        }
    }

    /// The cooldown that the endpoint asked for. Servers that don't know the delay send
    /// `Retry-After: 0`, so it is no promise.
    fn asked(&self, attempt: &Attempt) -> Option<Cooldown> {
        let most = Duration::from_millis(u64::from(self.config.retry_after_max_ms));
        attempt.retry_after().map(|asked| asked.min(most)).filter(|time| !time.is_zero()).map(Cooldown::Fixed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a penalty needs no more than 24 bits")]
fn float(time_ms: u32) -> f32 {
    time_ms as f32
}

#[cfg(test)]
mod tests;
