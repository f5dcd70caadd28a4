//! The settings of an upstream that apply to every request.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::chain::{ChainId, Methods};
use crate::config::{Protocol, UpstreamConf, WebSocket};
use crate::model::{Backoff, BudgetLimits};

/// The settings, from the conf.
pub struct Settings {
    /// The protocol of the endpoints.
    pub protocol: Protocol,
    /// The endpoints speak HTTP/2.
    pub http2: bool,
    /// How much responses are compressed, if at all.
    pub compression_level: Option<NonZeroU32>,
    /// Limits of WebSocket connections.
    pub websocket: WebSocket,
    /// Bytes of a request's body that are kept to send it once more.
    pub replay_buffer: usize,
    /// Time limit from a request's body to its answer.
    pub deadline: Duration,
    /// Maximum members of a batch.
    pub max_batch_size: usize,
    /// The classes of methods.
    pub methods: Methods,
    pub(super) backoff: Backoff,
    pub(super) budget: BudgetLimits,
    pub(super) max_attempts: u32,
    pub(super) max_concurrency: usize,
    pub(super) queue_timeout: Duration,
    /// The weight of a new latency sample, 0 to 1.
    pub(super) smoothing: f32,
    /// Time limit of one attempt.
    pub(super) timeout: Duration,
    pub(super) chain_id: Option<ChainId>,
    /// The endpoints have health checks.
    pub(super) probed: bool,
    pub(super) exclude_outliers: bool,
}

impl Settings {
    pub(super) fn of(conf: &UpstreamConf) -> Self {
        Settings {
            protocol: conf.protocol,
            http2: conf.http2,
            compression_level: conf.compression_level,
            replay_buffer: conf.replay_buffer,
            websocket: conf.websocket,
            deadline: conf.deadline,
            max_batch_size: conf.max_batch_size,
            methods: Methods::new(conf.chain, &conf.read_methods),
            backoff: Backoff { base: conf.cooldown.base, max: conf.cooldown.max, jitter: conf.cooldown.jitter },
            budget: BudgetLimits { share: conf.retry_budget.share, floor_per_sec: conf.retry_budget.floor_per_sec },
            max_attempts: conf.max_attempts,
            max_concurrency: conf.max_concurrency,
            queue_timeout: conf.queue_timeout,
            // The conf's range is 0 to 1: the precision lost is below the noise of any latency.
            #[expect(clippy::cast_possible_truncation, reason = "a factor from 0 to 1")]
            smoothing: conf.latency_smoothing_factor as f32,
            timeout: conf.client.timeout,
            chain_id: conf.chain_id.clone(),
            probed: conf.health_check.is_some(),
            exclude_outliers: conf.exclude_outliers,
        }
    }
}
