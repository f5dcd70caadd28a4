//! The policy's conf.

use serde::Deserialize;

/// The proxy makes no exclusion longer than a day, so a longer one would be a misunderstanding.
const DAY_MS: u32 = 24 * 60 * 60 * 1_000;

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is held against an endpoint.
    pub penalties: Penalties,
    /// `false`: no endpoint ever cools.
    pub cooldown: bool,
    /// Failures in a row after which an endpoint cools; 1 for the first. Not for rate limits,
    /// quotas and refused credentials, which ask for it.
    pub cooldown_after: u32,
    /// The longest `Retry-After` that is followed, in milliseconds; 0 follows none, and the
    /// upstream's backoff holds.
    pub retry_after_max_ms: u32,
    /// How long an endpoint cools whose quota is used up, in milliseconds; 0 for not at all.
    pub quota_cooldown_ms: u32,
    /// How long an endpoint cools that refuses its credentials, in milliseconds; 0 for not at all.
    pub auth_cooldown_ms: u32,
    /// How long an endpoint isn't asked for a method that it doesn't have, in milliseconds; 0 for
    /// not at all.
    pub method_ban_ms: u32,
    /// A second attempt beside a slow first one.
    pub hedge: Hedge,
}

/// `[policies.<name>.config.penalties]`: the least penalty for each kind of failure, in
/// milliseconds. 0 turns a kind off, and then it doesn't count as the endpoint's failure either.
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

/// `[policies.<name>.config.hedge]`: when a read that is not in a batch gets a second attempt
/// beside the first.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Hedge {
    /// `false`: never.
    pub enabled: bool,
    /// The delay, as a multiple of the 75th percentile of what answers to the same method took,
    /// from any endpoint.
    pub factor: f32,
    /// The shortest delay, in milliseconds.
    pub min_delay_ms: u32,
    /// The longest delay, in milliseconds.
    pub max_delay_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            penalties: Penalties::default(),
            cooldown: true,
            cooldown_after: 1,
            // Providers limit by the second or the minute; a longer wish is rather a quota, or a
            // mistake.
            retry_after_max_ms: 300_000,
            // Quotas come back by the day or the month; an hour finds out soon enough after an
            // operator paid.
            quota_cooldown_ms: 3_600_000,
            // Somebody has to mend it, and will want to see that it worked.
            auth_cooldown_ms: 600_000,
            // A node's methods change when it is restarted with other flags.
            method_ban_ms: 600_000,
            hedge: Hedge::default(),
        }
    }
}

impl Default for Penalties {
    fn default() -> Self {
        // azoth-balancer's numbers; a reset is like a failed connect, only later. A rate limit is
        // no sign of bad health, and the cooldown is answer enough.
        Penalties {
            connect_failed_ms: 20_000,
            timeout_ms: 30_000,
            reset_ms: 20_000,
            server_error_ms: 15_000,
            rate_limited_ms: 0,
            client_error_ms: 5_000,
        }
    }
}

impl Default for Hedge {
    fn default() -> Self {
        // The endpoint's own 95th percentile would be slow where the endpoint is. Twice the 75th of
        // all answers is exceeded by one in sixteen of exponentially distributed latencies, and
        // stays what it is while up to a quarter of the answers are slow.
        Hedge { enabled: true, factor: 2.0, min_delay_ms: 10, max_delay_ms: 2_000 }
    }
}

impl Config {
    /// The first thing that is wrong, with its key, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.cooldown_after == 0 {
            return Err("cooldown_after is 0, but must be at least 1".to_owned());
        }
        let times = [
            ("retry_after_max_ms", self.retry_after_max_ms),
            ("quota_cooldown_ms", self.quota_cooldown_ms),
            ("auth_cooldown_ms", self.auth_cooldown_ms),
            ("method_ban_ms", self.method_ban_ms),
        ];
        if let Some((key, value)) = times.into_iter().find(|(_, value)| *value > DAY_MS) {
            return Err(format!("{key} is {value}, but must be at most {DAY_MS}, which is a day"));
        }
        self.hedge.check()
    }
}

impl Hedge {
    fn check(&self) -> Result<(), String> {
        let Hedge { factor, min_delay_ms, max_delay_ms, .. } = *self;
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(format!("hedge.factor is {factor}, but must be a number above 0"));
        }
        if min_delay_ms == 0 {
            return Err("hedge.min_delay_ms is 0, but must be at least 1".to_owned());
        }
        if max_delay_ms < min_delay_ms {
            return Err(format!(
                "hedge.max_delay_ms is {max_delay_ms}, but must not be below hedge.min_delay_ms, which is {min_delay_ms}"
            ));
        }
        Ok(())
    }
}
