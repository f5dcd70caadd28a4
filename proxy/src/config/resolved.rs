//! The values of a conf after validation: every value is in range, every reference exists.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use super::{ClientKey, EndpointUrl, HealthCheck, Listener, Location, Route, Secret, UpstreamTls};
use crate::chain::{Chain, ChainId};
use crate::model::Rails;
use crate::signature::TrustedKey;

/// A complete conf.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[admin]`.
    pub admin: Admin,
    /// `[plugins]`.
    pub plugins: Plugins,
    /// `[policies.NAME]`, by name: 1 to 64 characters of `a-z 0-9 - _`, except `native`, the
    /// built-in policy.
    pub policies: BTreeMap<String, PolicyConf>,
    /// `[upstreams.NAME]`, by name: 1 to 64 characters of `a-z 0-9 - _`. At least one, with at most
    /// 100,000 endpoints in all.
    pub upstreams: BTreeMap<String, UpstreamConf>,
    /// `[[routes]]`, longest prefix first; no two of them have a host and the prefix in common.
    /// With a single upstream they may be omitted: `/` leads to it.
    pub routes: Vec<Route>,
}

/// The listeners for clients, and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `listen`: IP addresses and ports for cleartext; port 0 takes a free one. Default
    /// `["127.0.0.1:8549"]`, none with `listeners`.
    pub listen: Vec<SocketAddr>,
    /// `[[server.listeners]]`: addresses with settings of their own, each of them once. Default:
    /// none. There is at least one address in all.
    pub listeners: Vec<Listener>,
    /// `threads`: worker threads, 1 to 1,024. Default: the cores that the process may use.
    pub threads: usize,
    /// `max_body`: the largest request body in bytes, such as `"64KiB"`, `"10MiB"` or `1048576`; 1
    /// byte to 1 GiB. Default `"10MiB"`.
    pub max_body: usize,
    /// `shutdown_grace`: how long requests in flight may take to end after TERM; `"0s"` waits for
    /// none. Default `"30s"`.
    pub shutdown_grace: Duration,
    /// `max_connections`: simultaneous client connections; 1 to 1,000,000. Default: half of the
    /// files that the process may open, less a reserve.
    pub max_connections: usize,
    /// `max_connections_per_address`: client connections from one IPv4 address, or from one /64 of
    /// IPv6; 1 to 1,000,000. Default: `max_connections`, since behind another proxy all clients
    /// have one address.
    pub max_connections_per_address: usize,
    /// `max_buffered`: bytes of request bodies in memory at once, not counting the first 16 KiB of
    /// each; `max_body` to 1 TiB. Default: a quarter of the memory that the process may use.
    pub max_buffered: usize,
    /// `trusted_proxies`: networks whose addresses may name the client in `X-Forwarded-For` or
    /// `Forwarded`; at most 1,000. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// `client_key`: the value that tells clients apart. Default `"address"`.
    pub client_key_source: ClientKeySource,
    /// `client_key_secret`: keys the hash of a client's address that policies see; processes that
    /// share it agree. A secret of 16 bytes or more. Default: random, different for each process.
    pub client_key: Option<ClientKey>,
    /// `express_lane`: plain requests are read and answered without Pingora's session. Default
    /// `true`.
    pub express_lane: bool,
}

impl Server {
    /// All listeners: those of the short form, then the others.
    pub fn all_listeners(&self) -> impl Iterator<Item = Listener> {
        self.listen.iter().copied().map(Listener::cleartext).chain(self.listeners.iter().cloned())
    }
}

/// The value that tells clients apart, for policies and retry budgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKeySource {
    /// `"address"`.
    Address,
    /// `"header:NAME"`; the address if the header is missing.
    Header(HeaderName),
    /// `"certificate"`; the address of a client without one.
    Certificate,
}

/// The listener for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: an IP address and port, not one of `server.listen`. Default `"127.0.0.1:8550"`.
    pub listen: SocketAddr,
    /// `token`: the bearer token that requests must carry, ASCII without spaces. A secret. Required
    /// if `listen` isn't a loopback address. Default: none.
    pub token: Option<Secret>,
    /// `hosts`: names, in lower case and without a port, that a request's `Host` may have besides
    /// the address itself and loopback names; with a token any name is accepted. Default: none.
    pub hosts: Vec<String>,
}

/// Where compiled policies are, and how they are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins {
    /// `dir`: the folder of the `.wasm` files, relative to the conf's folder. Default `"plugins"`.
    pub dir: PathBuf,
    /// `cache_dir`: the folder of compiled code, relative to the conf's folder. It must belong to
    /// the process's user, closed to all others. Default: compiled code is kept in memory only.
    pub cache_dir: Option<PathBuf>,
    /// `trusted_keys`: minisign public keys, at least one; each `.wasm` file must have a signature
    /// by one of them beside it. Default: no signatures are required.
    pub trusted_keys: Option<Vec<TrustedKey>>,
    /// `max_instances`: live instances of modules: policies times three more than the worker
    /// threads, and as many again during a reload; 16 to 10,000. Default 2,000.
    pub max_instances: u32,
    /// `watch`: whether changes of files in `dir` trigger a reload. Default `false`.
    pub watch: bool,
    /// `rollback_grace`: a reload that changed policies is rolled back automatically if one of them
    /// is quarantined within this time; `"1ms"` to a day. Default: never.
    pub rollback_grace: Option<Duration>,
}

/// A named, configured plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConf {
    /// `plugin`: the name in the plugin's own description: 1 to 64 characters of `a-z 0-9 -`,
    /// beginning with a letter. Required.
    pub plugin: String,
    /// `version`: a semver requirement such as `"^1"`; the highest matching version is used.
    /// Default `"*"`.
    pub version: semver::VersionReq,
    /// `sha256`: the required digest of the module, 64 hexadecimal digits. Default: any module.
    pub sha256: Option<[u8; 32]>,
    /// `fuel`: about the number of instructions that one call may take, not counting 2,000 for each
    /// scored endpoint; 1,000 to 100,000,000. Default 100,000.
    pub fuel: u64,
    /// `config`: an object that is passed to the plugin unchanged; dates become text. Default:
    /// empty.
    pub config: serde_json::Value,
    /// The place of the policy's name in the file.
    pub place: Location,
}

/// The protocol of an upstream's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `"json-rpc"`: requests are read, and a 200 with an error in it can be retried.
    JsonRpc,
    /// `"http"`: requests and responses stream through.
    Http,
}

/// A named pool of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConf {
    /// The name in `[upstreams.NAME]`.
    pub name: String,
    /// `protocol`: `"json-rpc"` or `"http"`. Default `"json-rpc"`.
    pub protocol: Protocol,
    /// `replay_buffer`: bytes of a request's body that are kept to send it once more; 0 to 64 KiB.
    /// For `protocol = "http"`; bodies of JSON-RPC requests are kept whole. Default `"64KiB"`.
    pub replay_buffer: usize,
    /// `chain`: `"ethereum"` or `"solana"`, whose methods are known. Default `"ethereum"`.
    pub chain: Chain,
    /// `chain_id`: the chain that each endpoint must report; an endpoint of another one is never
    /// used. Needs `health_check`. Default: not verified.
    pub chain_id: Option<ChainId>,
    /// `read_methods`: more methods without side effects: each 1 to 64 characters of visible ASCII,
    /// with an optional trailing `*`, not alone, that matches any suffix; at most 200. Default:
    /// none.
    pub read_methods: Vec<String>,
    /// `scoring`: a declared policy, or none for the built-in one, also written as `"native"`.
    pub scoring: Option<String>,
    /// `retry`: a declared policy, or none for the built-in one, also written as `"native"`.
    pub retry: Option<String>,
    /// `shadow`: the name of a declared scoring policy other than `scoring`, or a table. Default:
    /// none.
    pub shadow: Option<ShadowConf>,
    /// `canary`. Default: none.
    pub canary: Option<CanaryConf>,
    /// `candidates`: endpoints that a decision considers. Of a larger pool this many are drawn by
    /// weight, anew for each attempt. 2 to 10,000. Default: all of a pool of up to 64 endpoints, 32
    /// of a larger one.
    pub candidates: usize,
    /// `max_attempts`: attempts of one request, including the first; 1 to 16. Default 3.
    pub max_attempts: u32,
    /// `deadline`: the time limit of a request with all of its attempts; `"1ms"` to a day. Default
    /// `"10s"`.
    pub deadline: Duration,
    /// `max_batch_size`: members of a JSON-RPC batch; 1 to 10,000. Default 100.
    pub max_batch_size: usize,
    /// `max_concurrency`: requests in flight at once; 1 to 1,000,000. Default 1,000.
    pub max_concurrency: usize,
    /// `queue_timeout`: how long a request waits while `max_concurrency` are in flight; `"0s"`,
    /// which refuses it at once, to a day. Default `"1s"`.
    pub queue_timeout: Duration,
    /// `policy_time_budget`: the time for all policy calls of one request together, a nanosecond
    /// per unit of fuel; 1 ms to 1 s. Default `"5ms"`.
    pub policy_time_budget: Duration,
    /// `exclude_outliers`: whether an endpoint that fails requests which others answer gets a
    /// cooldown. Default `true`.
    pub exclude_outliers: bool,
    /// `retry_budget`.
    pub retry_budget: RetryBudget,
    /// `latency_smoothing_factor`: the weight of the newest latency in the moving average; above 0,
    /// at most 1. Default 0.1.
    pub latency_smoothing_factor: f64,
    /// `client`.
    pub client: Client,
    /// `cooldown`.
    pub cooldown: Cooldown,
    /// `health_check`: a table, or `"off"`: then endpoints are judged by their answers to requests
    /// alone. Default: a check with the table's defaults, every 60 s.
    pub health_check: Option<HealthCheck>,
    /// `websocket`.
    pub websocket: WebSocket,
    /// `http2`: the endpoints speak HTTP/2. Needs `protocol = "http"`. Default `false`.
    pub http2: bool,
    /// `compression_level`: 1, the fastest, to 9; `None` for 0, which is off. Needs
    /// `protocol = "http"`. Default 0.
    pub compression_level: Option<NonZeroU32>,
    /// `tls`. Needs an endpoint with an `https` URL.
    pub tls: UpstreamTls,
    /// `[[upstreams.NAME.endpoints]]`, in the order of the file: at least one, not all of weight 0,
    /// with at most 64 different tags, and no URL or name twice.
    pub endpoints: Vec<EndpointConf>,
}

/// WebSocket connections through a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocket {
    /// `max_connections`: of all clients together; 0 to 1,000,000. Default 1,000.
    pub max_connections: usize,
    /// `max_per_client`: of one client; 0 to 1,000,000. Default 100.
    pub max_per_client: usize,
    /// `idle_timeout`: longest time without a byte in either direction; `"1ms"` to a day. Default
    /// `"10m"`.
    pub idle_timeout: Duration,
    /// `ping_interval`: silence of a client after which it gets a ping, and then has as long again;
    /// `"1ms"` to a day. Default `"30s"`.
    pub ping_interval: Duration,
}

/// A scoring policy that is compared with the live one, without effect on requests.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowConf {
    /// `policy`: a declared policy. Required.
    pub policy: String,
    /// `share`: the share of requests that it scores; above 0, at most 1. Default 0.1.
    pub share: f64,
}

/// A policy that decides a share of the requests in place of the scoring policy, the retry policy
/// or both, depending on its plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct CanaryConf {
    /// `policy`: a declared policy, neither `scoring` nor `retry`. Required.
    pub policy: String,
    /// `percent`: the percentage of requests that it decides; above 0, at most 50. Default 5.
    pub percent: f64,
    /// The guard rails: `min_requests`, of each policy before a comparison, 20 to 1,000,000,
    /// default 200; `max_faults`, its calls without an answer, 0 to 1,000,000, default 5;
    /// `max_error_rate_increase`, 0 to 1, default 0.01; `max_attempts_increase`, 0 to 16, default
    /// 0.1; `max_p99_ratio`, 1 to 1,000, default 1.5.
    pub rails: Rails,
    /// `promote_after`: after this time without harm it replaces the live policy; `"1ms"` to a day.
    /// Default: never.
    pub promote_after: Option<Duration>,
}

/// Connections to the endpoints of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// `connect_timeout`: for TCP and TLS; `"1ms"` to a day. Default `"500ms"`.
    pub connect_timeout: Duration,
    /// `timeout`: for one attempt, including the connect; `"1ms"` to a day. Default `"5s"`. The
    /// deadline may end it sooner.
    pub timeout: Duration,
    /// `stream_timeout`: the longest silence of an endpoint in a gRPC call whose client sets no
    /// deadline, and in a request over HTTP/2 whose body doesn't fit into `replay_buffer`; `"1ms"`
    /// to a day. Default `"5m"`.
    pub stream_timeout: Duration,
    /// `pool_idle_timeout`: how long an idle connection is kept; `"1ms"` to a day. Default `"20s"`.
    pub pool_idle_timeout: Duration,
    /// `pool_max_idle_per_host`: idle connections per endpoint; 0 to 10,000. Default 50.
    pub pool_max_idle_per_host: usize,
}

/// The limit of extra attempts. Retries and hedges together may be at most `share` of the requests
/// of the last 10 s, plus `floor_per_sec` each second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// `share`: 0 to 10. Default 0.2.
    pub share: f32,
    /// `floor_per_sec`: 0 to 100,000. Default 10.
    pub floor_per_sec: u32,
}

/// The timed exclusion of a failing endpoint: the n-th in a row lasts between `1 - jitter` and 1
/// times `min(max, base * 2^n)`, n from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cooldown {
    /// `base`: half of the first cooldown; `"1ms"` to `max`. Default `"3s"`.
    pub base: Duration,
    /// `max`: the longest cooldown; up to a day. Default `"60s"`.
    pub max: Duration,
    /// `jitter`: the random share of a cooldown; 0 to 1, which is full jitter. Default 1.
    pub jitter: f32,
}

/// An endpoint of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointConf {
    /// `url`: `http://` or `https://`, up to 8 KiB; user and password are sent as basic
    /// authentication. A secret; it is also the endpoint's identity. Required.
    pub url: EndpointUrl,
    /// `ws_url`: the URL for WebSocket connections. A secret, too. Default: `url`.
    pub ws_url: Option<EndpointUrl>,
    /// `name`: the display name; 1 to 64 characters without spaces, quotes or control characters,
    /// unique in the upstream. Default: position, from 1, and host, as in `002_rpc.example.com`.
    pub name: String,
    /// `weight`: an input of policies; 0, which keeps the endpoint out of rotation, to 65,535.
    /// Default 20.
    pub weight: u16,
    /// `rate_limit_per_sec` and `burst_size`. Default: no limit.
    pub rate_limit: Option<RateLimit>,
    /// `max_batch_size`: larger batches are split for this endpoint; 1 to 10,000. Default: only the
    /// upstream's limit applies.
    pub max_batch_size: Option<usize>,
    /// `max_block_range`: the largest block range of a log request at this endpoint; 1 or more.
    /// Used when another endpoint refused a range as too large. Default: unknown.
    pub max_block_range: Option<u64>,
    /// `tags`: words for policies, with the rules of a name. Default: none.
    pub tags: Vec<String>,
    /// `price`: for policies, in any unit; 0 or above. Default: unknown.
    pub price: Option<f32>,
    /// `headers`: added to each request; the values are secrets in printable ASCII. Default: none.
    pub headers: Vec<(HeaderName, Secret)>,
}

/// The request rate limit of an endpoint; each member of a batch counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// `rate_limit_per_sec`: requests per second; 1 to 1,000,000.
    pub per_sec: NonZeroU32,
    /// `burst_size`: requests at once after a pause; 1 to 1,000,000. Default: `rate_limit_per_sec`.
    pub burst: NonZeroU32,
}
