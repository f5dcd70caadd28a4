//! The policy's conf.

use serde::Deserialize;

/// The proxy caps exclusions at one day, so a longer one is rejected.
const DAY_MS: u32 = 24 * 60 * 60 * 1_000;
/// The lowest status of an error.
const FIRST_STATUS: u16 = 400;
/// The number of statuses from 400 to 599.
const STATUSES: usize = 200;

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Statuses, from 400 to 599, with which a resendable request goes to another endpoint. One
    /// from 500 on counts as a failure of the endpoint.
    pub retry_statuses: Vec<u16>,
    /// Statuses with which an endpoint limits the rate of requests: retried like the others, with a
    /// cooldown of `Retry-After`.
    pub rate_limit_statuses: Vec<u16>,
    /// `false` disables cooldowns.
    pub cooldown: bool,
    /// Consecutive failures before a cooldown; 1 for the first. Rate limits and `Retry-After` start
    /// one at once.
    pub cooldown_after: u32,
    /// Cap for `Retry-After`, in milliseconds; 0 ignores it and uses the upstream's backoff.
    pub retry_after_max_ms: u32,
    /// Penalties by kind of failure.
    pub penalties: Penalties,
}

/// `[policies.<name>.config.penalties]`: the minimum penalty for each kind of failure, in
/// milliseconds. 0 disables a kind; it then doesn't count as a failure of the endpoint either.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Penalties {
    /// DNS, connect or TLS failure.
    pub connect_failed_ms: u32,
    /// The per-try timeout expired.
    pub timeout_ms: u32,
    /// The connection closed before the response was complete.
    pub reset_ms: u32,
    /// A server error of `retry_statuses`, or a response that is not valid HTTP.
    pub gateway_error_ms: u32,
    /// Any other server error.
    pub server_error_ms: u32,
    /// A status of `rate_limit_statuses`.
    pub rate_limited_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            // Envoy's `gateway-error`: the endpoint is a gateway without a service behind it.
            retry_statuses: vec![502, 503, 504],
            rate_limit_statuses: vec![429],
            cooldown: true,
            cooldown_after: 1,
            // Services limit per second or minute; a longer delay is rather a quota or a mistake.
            retry_after_max_ms: 300_000,
            penalties: Penalties::default(),
        }
    }
}

impl Default for Penalties {
    fn default() -> Self {
        // Those of json-rpc-retry. A server error that isn't retried is most often the request's
        // doing, as with nginx and HAProxy, which don't count it. The small penalty keeps an
        // endpoint that fails fast from looking like the best one.
        Penalties {
            connect_failed_ms: 20_000,
            timeout_ms: 30_000,
            reset_ms: 20_000,
            gateway_error_ms: 15_000,
            server_error_ms: 1_000,
            rate_limited_ms: 0,
        }
    }
}

impl Config {
    /// Returns the first error in a number, with key, value and allowed range.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.cooldown_after == 0 {
            return Err("cooldown_after is 0, but must be at least 1".to_owned());
        }
        let most = self.retry_after_max_ms;
        if most > DAY_MS {
            return Err(format!("retry_after_max_ms is {most}, but must be at most {DAY_MS}, which is a day"));
        }
        Ok(())
    }
}

/// A set of statuses from 400 to 599.
#[derive(Clone, Debug)]
pub(crate) struct Statuses([bool; STATUSES]);

impl Statuses {
    /// The set of the statuses in the list `key`.
    pub(crate) fn new(key: &str, listed: &[u16]) -> Result<Self, String> {
        let mut set = [false; STATUSES];
        for (n, status) in listed.iter().enumerate() {
            let Some(place) = position(*status).and_then(|position| set.get_mut(position)) else {
                return Err(format!("{key}[{n}] is {status}, but must be a status from 400 to 599"));
            };
            if *place {
                return Err(format!("{key}[{n}] is {status}, which is in the list already"));
            }
            *place = true;
        }
        Ok(Statuses(set))
    }

    /// Membership of a status.
    pub(crate) fn has(&self, status: u16) -> bool {
        position(status).and_then(|position| self.0.get(position)).is_some_and(|has| *has)
    }
}

fn position(status: u16) -> Option<usize> {
    status.checked_sub(FIRST_STATUS).map(usize::from)
}
