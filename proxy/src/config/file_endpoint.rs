//! The tables of `[[upstreams.NAME.endpoints]]` as they are written. The rules of
//! [`file`](super::file) hold here, too.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::or;
use super::spanned::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["url"])))]
pub(super) struct Endpoint {
    /// The HTTP or HTTPS URL; also `env:NAME` or `file:PATH`.
    pub(super) url: Option<Spanned<String>>,
    /// The name in logs and metrics.
    ///
    /// Default: position and host, as in `001_rpc.example.com`.
    pub(super) name: Option<Spanned<String>>,
    /// The weight for the scoring policy; 0 keeps the endpoint out of rotation.
    #[cfg_attr(test, schemars(range(min = 0, max = 65_535)))]
    pub(super) weight: Spanned<i64>,
    /// Requests per second; each member of a batch counts.
    ///
    /// Default: no limit.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) rate_limit_per_sec: Option<Spanned<i64>>,
    /// Requests that may come at once. Needs `rate_limit_per_sec`.
    ///
    /// Default: `rate_limit_per_sec`.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) burst_size: Option<Spanned<i64>>,
    /// Members of a batch; larger batches are split for this endpoint.
    ///
    /// Default: the upstream's.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000)))]
    pub(super) max_batch_size: Option<Spanned<i64>>,
    /// Blocks that one request for logs may span, used when another endpoint refused a range as too
    /// large.
    ///
    /// Default: not known.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(super) max_block_range: Option<Spanned<i64>>,
    /// Words for policies; `archive` is known to the shipped ones. At most 64 in one upstream.
    pub(super) tags: Vec<Spanned<String>>,
    /// The price of a request for policies, in any unit.
    ///
    /// Default: none.
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub(super) price: Option<Spanned<f32>>,
    /// The WebSocket URL (`ws` or `wss`), where it differs from `url`; also `env:NAME` or
    /// `file:PATH`.
    ///
    /// Default: `url`.
    pub(super) ws_url: Option<Spanned<String>>,
    /// Headers of each request to the endpoint; the values may be `env:NAME` or `file:PATH`.
    pub(super) headers: BTreeMap<Spanned<String>, Spanned<String>>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            url: None,
            ws_url: None,
            name: None,
            weight: or(20),
            rate_limit_per_sec: None,
            burst_size: None,
            max_batch_size: None,
            max_block_range: None,
            tags: Vec::new(),
            price: None,
            headers: BTreeMap::new(),
        }
    }
}
