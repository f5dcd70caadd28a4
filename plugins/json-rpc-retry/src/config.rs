//! The policy's conf.

use serde::Deserialize;

/// The proxy caps exclusions at one day, so longer ones are rejected.
const DAY_MS: u32 = 24 * 60 * 60 * 1_000;

/// `[policies.<name>.config]`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Penalties by kind of failure.
    pub penalties: Penalties,
    /// `false` disables cooldowns.
    pub cooldown: bool,
    /// Consecutive failures before a cooldown; 1 for the first. Rate limits, quotas and refused
    /// credentials start one at once.
    pub cooldown_after: u32,
    /// Cap for `Retry-After`, in milliseconds; 0 ignores it and uses the upstream's backoff.
    pub retry_after_max_ms: u32,
    /// Cooldown after an exhausted quota, in milliseconds; 0 for none.
    pub quota_cooldown_ms: u32,
    /// Cooldown after refused credentials, in milliseconds; 0 for none.
    pub auth_cooldown_ms: u32,
    /// Ban of a method that the endpoint doesn't support, in milliseconds; 0 for none.
    pub method_ban_ms: u32,
    /// Hedging of slow reads.
    pub hedge: Hedge,
}

/// `[policies.<name>.config.penalties]`: the minimum penalty for each kind of failure, in
/// milliseconds. 0 disables a kind; it then doesn't count as a failure of the endpoint either.
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

/// `[policies.<name>.config.hedge]`: hedging of reads outside batches.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Hedge {
    /// `false` disables hedging.
    pub enabled: bool,
    /// The delay as a multiple of the method's 75th percentile latency over all endpoints.
    pub factor: f32,
    /// Minimum delay in milliseconds.
    pub min_delay_ms: u32,
    /// Maximum delay in milliseconds.
    pub max_delay_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            penalties: Penalties::default(),
            cooldown: true,
            cooldown_after: 1,
            // Providers limit per second or minute; a longer delay is rather a quota or a mistake.
            retry_after_max_ms: 300_000,
            // Quotas reset daily or monthly; with an hour, an upgraded plan is noticed soon enough.
            quota_cooldown_ms: 3_600_000,
            // The operator must fix the credentials and wants to see the effect soon.
            auth_cooldown_ms: 600_000,
            // A node's methods change with its flags at a restart.
            method_ban_ms: 600_000,
            hedge: Hedge::default(),
        }
    }
}

impl Default for Penalties {
    fn default() -> Self {
        // azoth-balancer's numbers; a reset counts like a failed connect. A rate limit is no sign
        // of bad health, and the cooldown suffices.
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
        // The endpoint's own 95th percentile would grow with a slow endpoint. Of exponentially
        // distributed latencies, one in sixteen exceeds twice the 75th percentile, and this limit
        // stays stable while up to a quarter of the responses are slow.
        Hedge { enabled: true, factor: 2.0, min_delay_ms: 10, max_delay_ms: 2_000 }
    }
}

impl Config {
    /// Returns the first error, with key, value and allowed range.
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
