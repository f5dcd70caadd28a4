//! Retry and hedging policy for JSON-RPC.
//!
//! The rules are in [`table`]: a row per case, first match wins. This file derives the decision
//! from a row and the conf. An attempt that matches no row is returned unchanged, without a
//! penalty.
//!
//! Invariants:
//! - A write whose bytes were sent goes to another endpoint only if it is idempotent, whatever the
//!   table says. The proxy enforces this too; a policy that asks for it would only mislead in a
//!   log.
//! - Retries go to another endpoint, so none is delayed.
//! - A penalty is the larger of the attempt's latency and the conf's number for its kind, as in
//!   azoth-balancer, so a slow failure never looks better than a fast one.
//! - A call allocates nothing, except for the warning about refused credentials.

mod config;
mod signal;
pub mod table;
mod text;

use std::time::Duration;

use pointsman_sdk::{Attempt, Cooldown, Decision, Endpoint, Level, Plan, Planning, Policy, Request, Retry};

pub use config::{Config, Hedge, Penalties};
pub use signal::{Signal, When};
use table::{Also, Cools, Elsewhere, Penalty};

/// From this many consecutive failures on, an endpoint cools down even if the requests may be the
/// cause: a coincidence is unlikely.
const BACKOFF_LATER: u32 = 3;

/// A configured retry policy for JSON-RPC.
#[derive(Clone, Debug)]
pub struct JsonRpcRetry {
    config: Config,
}

pointsman_sdk::export_policy!(JsonRpcRetry: retry, plan);

impl Policy for JsonRpcRetry {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        config.check()?;
        Ok(JsonRpcRetry { config })
    }
}

impl Retry for JsonRpcRetry {
    fn retry(&self, request: &Request, attempt: &Attempt) -> Decision {
        let Some(row) = table::find(request, attempt) else {
            return Decision::return_();
        };
        let again = attempt.may_retry() && row.elsewhere.allows(request, attempt);
        let mut decision = if again { Decision::retry() } else { Decision::return_() };
        if let Some(cooldown) = self.cooldown(row.cools, attempt) {
            decision = decision.cooldown(cooldown);
        }
        self.also(row.also, request, attempt, decision).penalty_ms(self.penalty_ms(row.penalty, attempt))
    }
}

impl Planning for JsonRpcRetry {
    fn plan(&self, request: &Request, _endpoint: &Endpoint, plan: Plan) -> Plan {
        let Hedge { enabled, factor, min_delay_ms, max_delay_ms } = self.config.hedge;
        let hedges = enabled && !request.is_write() && !request.is_batch();
        match plan.method_p75().filter(|_| hedges) {
            Some(usual) => {
                Plan { hedge_delay_ms: (factor * usual).clamp(float(min_delay_ms), float(max_delay_ms)), ..plan }
            }
            None => plan.without_hedge(),
        }
    }
}

impl JsonRpcRetry {
    fn penalty_ms(&self, penalty: Penalty, attempt: &Attempt) -> f32 {
        let penalties = &self.config.penalties;
        let least_ms = float(match penalty {
            Penalty::None => 0,
            Penalty::ConnectFailed => penalties.connect_failed_ms,
            Penalty::Timeout => penalties.timeout_ms,
            Penalty::Reset => penalties.reset_ms,
            Penalty::ServerError => penalties.server_error_ms,
            Penalty::RateLimited => penalties.rate_limited_ms,
            Penalty::ClientError => penalties.client_error_ms,
        });
        if least_ms > 0.0 { least_ms.max(attempt.latency_ms) } else { 0.0 }
    }

    fn cooldown(&self, cools: Cools, attempt: &Attempt) -> Option<Cooldown> {
        let config = &self.config;
        let failures = attempt.consecutive_failures.saturating_add(1);
        let backoff_from = |least: u32| (failures >= least).then_some(Cooldown::Backoff);
        match cools {
            _ if !config.cooldown => None,
            Cools::No => None,
            Cools::Backoff => backoff_from(config.cooldown_after),
            Cools::BackoffLater => backoff_from(config.cooldown_after.max(BACKOFF_LATER)),
            Cools::RetryAfter => Some(self.rate_limit(attempt.retry_after().unwrap_or_default())),
            Cools::Quota => fixed(config.quota_cooldown_ms),
            Cools::Auth => fixed(config.auth_cooldown_ms),
        }
    }

    /// Servers that don't know the delay send `Retry-After: 0`, so it is no promise.
    fn rate_limit(&self, retry_after: Duration) -> Cooldown {
        let time = retry_after.min(millis(self.config.retry_after_max_ms));
        if time.is_zero() { Cooldown::Backoff } else { Cooldown::Fixed(time) }
    }

    fn also(&self, also: Also, request: &Request, attempt: &Attempt, decision: Decision) -> Decision {
        match also {
            Also::Nothing => decision,
            Also::Success => decision.as_success(),
            Also::Landed => decision.landed(),
            Also::LargerRange => decision.larger_range(),
            Also::History => decision.prefer_history(),
            // An error for a whole batch is no evidence about its members' methods.
            Also::BanMethod if request.is_batch() && !attempt.is_member() => decision,
            Also::BanMethod => decision.ban_method(millis(self.config.method_ban_ms)),
            Also::Warning => {
                warn_of_credentials(attempt.endpoint);
                decision
            }
        }
    }
}

impl Elsewhere {
    fn allows(self, request: &Request, attempt: &Attempt) -> bool {
        let read = !request.is_write();
        match self {
            Elsewhere::No => false,
            Elsewhere::Reads => read,
            Elsewhere::Safe => read || request.is_idempotent() || !attempt.bytes_sent(),
            Elsewhere::Traces => read && ["trace_", "debug_"].iter().any(|begin| request.method().starts_with(begin)),
            Elsewhere::RawTransactionOnce => request.method() == "eth_sendRawTransaction" && request.attempt == 1,
        }
    }
}

/// At most once per cooldown, so the cost of formatting is irrelevant. A policy doesn't know
/// endpoints' names, so the line has the index.
fn warn_of_credentials(endpoint: u32) {
    let line = format!("the upstream's endpoint {endpoint}, counted from 0, refuses its credentials");
    pointsman_sdk::log(Level::Warn, &line);
}

fn fixed(time_ms: u32) -> Option<Cooldown> {
    (time_ms > 0).then(|| Cooldown::Fixed(millis(time_ms)))
}

fn millis(time_ms: u32) -> Duration {
    Duration::from_millis(u64::from(time_ms))
}

#[expect(clippy::cast_precision_loss, reason = "a penalty or delay needs no more than 24 bits")]
fn float(time_ms: u32) -> f32 {
    time_ms as f32
}

#[cfg(test)]
mod tests;
