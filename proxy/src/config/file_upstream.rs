//! The tables of `[upstreams.NAME]` as they are written. The rules of [`file`](super::file) hold
//! here, too.

use serde::Deserialize;

use super::file::{Certificate, Endpoint, duration, or, text};
use super::health::HealthText;
use super::shadow::ShadowText;
use super::spanned::{Spanned, Table};
use super::units::{ChainIdText, DurationText, SizeText};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["endpoints"])))]
pub(super) struct Upstream {
    /// The protocol of the endpoints. With `http` requests and responses of any kind and size stream
    /// through; with `json-rpc` they are read, and an error in a response can be retried.
    #[cfg_attr(test, schemars(extend("enum" = ["json-rpc", "http"])))]
    pub(super) protocol: Spanned<String>,
    /// For `protocol = "http"`: bytes of a request's body that are kept. A request whose body is
    /// longer is sent once. At most 64 KiB.
    pub(super) replay_buffer: Spanned<SizeText>,
    /// The chain whose methods are known as reads or writes.
    #[cfg_attr(test, schemars(extend("enum" = crate::chain::Chain::all().map(crate::chain::Chain::name).collect::<Vec<_>>())))]
    pub(super) chain: Spanned<String>,
    /// The chain that each endpoint must be of: the number of `eth_chainId`, or Solana's genesis
    /// hash. Needs health checks.
    ///
    /// Default: not verified.
    pub(super) chain_id: Option<Spanned<ChainIdText>>,
    /// More methods that change nothing, such as `custom_*`. At most 200.
    pub(super) read_methods: Spanned<Vec<Spanned<String>>>,
    /// Whether bodies are accepted that are not declared as JSON, as another site's page can send
    /// them.
    pub(super) accept_any_content_type: bool,
    /// The scoring policy, which ranks the endpoints for each attempt.
    ///
    /// Default: `native`, the built-in policy.
    pub(super) scoring: Option<Spanned<String>>,
    /// The retry policy, which decides whether there is a next attempt.
    ///
    /// Default: `native`, the built-in policy.
    pub(super) retry: Option<Spanned<String>>,
    /// A declared policy that scores a share of the requests without effect: its name, or a table.
    ///
    /// Default: none.
    pub(super) shadow: Option<Spanned<ShadowText>>,
    /// A declared policy that decides a share of the requests until a guard rail stops it.
    ///
    /// Default: none.
    pub(super) canary: Option<Table<Canary>>,
    /// Endpoints that one decision considers. A larger pool is sampled by weight.
    ///
    /// Default: all of up to 64 endpoints, 32 of more.
    #[cfg_attr(test, schemars(range(min = 2, max = 10_000)))]
    pub(super) candidates: Option<Spanned<i64>>,
    /// Attempts of one request, the first included.
    #[cfg_attr(test, schemars(range(min = 1, max = 16)))]
    pub(super) max_attempts: Spanned<i64>,
    /// The time for a request with all of its attempts.
    pub(super) deadline: Spanned<DurationText>,
    /// Members of a JSON-RPC batch.
    #[cfg_attr(test, schemars(range(min = 1, max = 10_000)))]
    pub(super) max_batch_size: Spanned<i64>,
    /// Requests in flight at once.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) max_concurrency: Spanned<i64>,
    /// How long a request waits for a place under `max_concurrency`; `0s` refuses it at once.
    pub(super) queue_timeout: Spanned<DurationText>,
    /// The time for all policy calls of one request, at most 1 s; after it the built-in policies
    /// decide.
    pub(super) policy_time_budget: Spanned<DurationText>,
    /// Whether an endpoint that fails a fifth of its requests or more, while other endpoints answer
    /// these requests, is left out for a cooldown, whatever its probes and the retry policy say.
    pub(super) exclude_outliers: bool,
    /// The bound of retries and hedges together, for each client.
    pub(super) retry_budget: Table<RetryBudget>,
    /// The weight of the newest latency in the average; smaller is smoother.
    #[cfg_attr(test, schemars(range(max = 1), extend("exclusiveMinimum" = 0)))]
    pub(super) latency_smoothing_factor: Spanned<f64>,
    /// Connections to the endpoints.
    pub(super) client: Table<Client>,
    /// How long an endpoint that fails is left out: the n-th time in a row `base` times 2^n, at
    /// most `max`.
    pub(super) cooldown: Table<Cooldown>,
    /// How endpoints are probed; `"off"` switches probes off.
    ///
    /// Default: the table's defaults with an interval of 60 s.
    pub(super) health_check: Option<Spanned<HealthText>>,
    /// WebSocket connections through the pool.
    pub(super) websocket: Table<WebSocket>,
    /// For `protocol = "http"`: the endpoints speak HTTP/2, as gRPC needs it: by ALPN with TLS, by
    /// prior knowledge without.
    pub(super) http2: Spanned<bool>,
    /// For `protocol = "http"`: how much responses are compressed for clients that accept gzip,
    /// Brotli or Zstandard, from 1, the fastest, to 9; 0 is off.
    #[cfg_attr(test, schemars(range(min = 0, max = 9)))]
    pub(super) compression_level: Spanned<i64>,
    /// TLS to the endpoints with an `https` URL.
    ///
    /// Default: certificates are verified with the system's authorities.
    pub(super) tls: Option<Table<UpstreamTls>>,
    /// The endpoints of the pool. At least one is needed.
    pub(super) endpoints: Vec<Table<Endpoint>>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            protocol: text("json-rpc"),
            replay_buffer: or(SizeText::new("64KiB")),
            chain: text("ethereum"),
            chain_id: None,
            read_methods: or(Vec::new()),
            accept_any_content_type: false,
            scoring: None,
            retry: None,
            shadow: None,
            canary: None,
            candidates: None,
            max_attempts: or(3),
            deadline: duration("10s"),
            max_batch_size: or(100),
            max_concurrency: or(1_000),
            queue_timeout: duration("1s"),
            policy_time_budget: duration("5ms"),
            exclude_outliers: true,
            retry_budget: Table::default(),
            latency_smoothing_factor: or(0.1),
            client: Table::default(),
            cooldown: Table::default(),
            health_check: None,
            websocket: Table::default(),
            http2: or(false),
            compression_level: or(0),
            tls: None,
            endpoints: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct WebSocket {
    /// Connections of all clients together. They don't count for `max_concurrency`.
    #[cfg_attr(test, schemars(range(min = 0, max = 1_000_000)))]
    pub(super) max_connections: Spanned<i64>,
    /// Connections of one client.
    #[cfg_attr(test, schemars(range(min = 0, max = 1_000_000)))]
    pub(super) max_per_client: Spanned<i64>,
    /// A connection without a byte in either direction for this long is closed.
    pub(super) idle_timeout: Spanned<DurationText>,
    /// A client that is silent for this long gets a ping, and has as long again to answer.
    pub(super) ping_interval: Spanned<DurationText>,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            max_connections: or(1_000),
            max_per_client: or(100),
            idle_timeout: duration("10m"),
            ping_interval: duration("30s"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["policy"])))]
pub(super) struct Shadow {
    /// The name of the declared policy; it must not be the upstream's scoring policy.
    pub(super) policy: Option<Spanned<String>>,
    /// The share of the requests; 1 is all of them.
    #[cfg_attr(test, schemars(range(max = 1), extend("exclusiveMinimum" = 0)))]
    pub(super) share: Spanned<f64>,
}

impl Default for Shadow {
    fn default() -> Self {
        Self { policy: None, share: or(0.1) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["policy"])))]
pub(super) struct Canary {
    /// The name of the declared policy; it must not be one that the upstream uses.
    pub(super) policy: Option<Spanned<String>>,
    /// The share of the requests that it decides, in percent.
    #[cfg_attr(test, schemars(range(max = 50), extend("exclusiveMinimum" = 0)))]
    pub(super) percent: Spanned<f64>,
    /// Requests that each policy must have decided before rates are compared.
    #[cfg_attr(test, schemars(range(min = 20, max = 1_000_000)))]
    pub(super) min_requests: Spanned<i64>,
    /// Calls without an answer that stop the canary at once.
    #[cfg_attr(test, schemars(range(min = 0, max = 1_000_000)))]
    pub(super) max_faults: Spanned<i64>,
    /// How much larger its share of failed requests may be than the live policy's.
    #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
    pub(super) max_error_rate_increase: Spanned<f64>,
    /// How many more attempts its requests may take on average.
    #[cfg_attr(test, schemars(range(min = 0, max = 16)))]
    pub(super) max_attempts_increase: Spanned<f64>,
    /// How many times the live policy's 99th percentile of latency its own may be.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000)))]
    pub(super) max_p99_ratio: Spanned<f64>,
    /// After this time without a violation it becomes the live policy.
    ///
    /// Default: never.
    pub(super) promote_after: Option<Spanned<DurationText>>,
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            policy: None,
            percent: or(5.0),
            min_requests: or(200),
            max_faults: or(5),
            max_error_rate_increase: or(0.01),
            max_attempts_increase: or(0.1),
            max_p99_ratio: or(1.5),
            promote_after: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Client {
    /// The time for a connection, TLS included.
    pub(super) connect_timeout: Spanned<DurationText>,
    /// The time for one attempt.
    pub(super) timeout: Spanned<DurationText>,
    /// For gRPC calls without a deadline of the client's, and for longer bodies to endpoints over
    /// HTTP/2: the time until the head of the response, and then for each silence of the endpoint.
    pub(super) stream_timeout: Spanned<DurationText>,
    /// How long an idle connection is kept.
    pub(super) pool_idle_timeout: Spanned<DurationText>,
    /// Idle connections of each endpoint; 0 closes each connection after its request.
    #[cfg_attr(test, schemars(range(min = 0, max = 10_000)))]
    pub(super) pool_max_idle_per_host: Spanned<i64>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            connect_timeout: duration("500ms"),
            timeout: duration("5s"),
            stream_timeout: duration("5m"),
            pool_idle_timeout: duration("20s"),
            pool_max_idle_per_host: or(50),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct UpstreamTls {
    /// A PEM file of the authorities that endpoints' certificates are verified with, relative to
    /// the conf file.
    ///
    /// Default: the system's.
    pub(super) ca: Option<Spanned<String>>,
    /// The client certificate, for endpoints that ask for one.
    ///
    /// Default: none.
    pub(super) certificate: Option<Table<Certificate>>,
    /// The host name or IP address that endpoints' certificates must be for. It is also sent as SNI.
    ///
    /// Default: the host of each endpoint's URL.
    pub(super) server_name: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Cooldown {
    /// Half of the longest first cooldown, which `jitter` shortens; at most `max`.
    pub(super) base: Spanned<DurationText>,
    /// The longest cooldown.
    pub(super) max: Spanned<DurationText>,
    /// The random share of a cooldown; 0 is exact.
    #[cfg_attr(test, schemars(range(min = 0, max = 1)))]
    pub(super) jitter: Spanned<f32>,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { base: duration("3s"), max: duration("60s"), jitter: or(1.0) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct RetryBudget {
    /// Retries per request of the last 10 s.
    #[cfg_attr(test, schemars(range(min = 0, max = 10)))]
    pub(super) share: Spanned<f32>,
    /// Retries per second that are allowed to all clients in any case.
    #[cfg_attr(test, schemars(range(min = 0, max = 100_000)))]
    pub(super) floor_per_sec: Spanned<i64>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { share: or(0.2), floor_per_sec: or(10) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct HealthCheck {
    /// The time between two probes of an endpoint, give or take 10 %; at least 100 ms.
    pub(super) interval: Spanned<DurationText>,
    /// The time for one probe.
    pub(super) timeout: Spanned<DurationText>,
    /// The JSON-RPC method of the probe. Excludes `path`.
    ///
    /// Default: `eth_blockNumber`, or `getSlot` on Solana.
    pub(super) method: Option<Spanned<String>>,
    /// The path of a GET that is the probe instead of a method.
    ///
    /// Default: none.
    pub(super) path: Option<Spanned<String>>,
    /// The service of which the probe asks by gRPC's health protocol (`grpc.health.v1.Health/Check`)
    /// instead; `""` stands for the whole server. Needs `http2`.
    ///
    /// Default: none.
    pub(super) grpc: Option<Spanned<String>>,
    /// The HTTP status that the GET must be answered with.
    ///
    /// Default: 200, with `path`.
    #[cfg_attr(test, schemars(range(min = 100, max = 599)))]
    pub(super) status: Option<Spanned<i64>>,
    /// Failed probes in a row that make an endpoint unhealthy.
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub(super) unhealthy_threshold: Spanned<i64>,
    /// Good probes in a row that make it healthy again.
    #[cfg_attr(test, schemars(range(min = 1, max = 100)))]
    pub(super) healthy_threshold: Spanned<i64>,
    /// Blocks that an endpoint may be behind the best one. Needs a method that reports the head.
    ///
    /// Default: any lag is accepted.
    #[cfg_attr(test, schemars(range(min = 0, max = 4_294_967_295_u32)))]
    pub(super) max_head_lag: Option<Spanned<i64>>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: duration("30s"),
            timeout: duration("5s"),
            method: None,
            path: None,
            grpc: None,
            status: None,
            unhealthy_threshold: or(2),
            healthy_threshold: or(1),
            max_head_lag: None,
        }
    }
}
