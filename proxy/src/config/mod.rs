//! The conf: read once, checked as a whole, and resolved into what the program uses.
//!
//! `file` mirrors the TOML and holds the defaults; this module is what everything else sees. Every
//! value here is in range, every name that is referred to exists, and an `Option` is something that
//! may really be absent. Secrets are behind `Secret` and `EndpointUrl`, whose printed forms don't
//! show them.
//!
//! All that is wrong is reported at once, with line, column and key: first syntax, unknown keys and
//! types, and once those are right, everything else.
//!
//! Durations are text with a unit (`"250ms"`, `"10s"`, `"1m 30s"`), at most a day. A value that is
//! said to be a secret may be `env:NAME` or `file:PATH` (relative to the conf), which is read when
//! the conf is loaded.

mod canary;
mod check;
mod endpoint;
mod error;
mod file;
mod file_upstream;
mod health;
mod machine;
mod planned;
mod plugins;
mod policy;
mod report;
mod routes;
#[cfg(test)]
mod schema;
mod secret;
mod shadow;
mod spanned;
mod structure;
mod suggest;
#[cfg(test)]
mod tests;
mod units;
mod upstream;
mod url;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;

pub use self::error::{ConfigError, Location, Problem};
pub use self::policy::NATIVE;
pub use self::secret::{ClientKey, Secret};
pub use self::url::{EndpointUrl, UrlError};
use crate::chain::{Chain, ChainId};
use crate::files;
use crate::model::Rails;
use crate::signature::TrustedKey;

/// Bytes of a conf. One of 100,000 endpoints, the most that there may be, has some 10 MiB.
const CONF_BYTES: usize = 16 << 20;

/// Reads, checks and resolves the conf at `path`.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path)?;
    parse(&text, path, &|name| std::env::var(name).ok())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    files::read_text(path, CONF_BYTES).map_err(|reason| ConfigError::Read { path: path.to_owned(), reason })
}

/// Reads `[admin]` of the conf at `path`, whatever else is wrong there; and its token too, unless
/// that is known already.
pub fn load_admin(path: &Path, with_token: bool) -> Result<Admin, ConfigError> {
    let text = read(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let env = |name: &str| std::env::var(name).ok();
    let sources = secret::Sources { folder: path.parent().unwrap_or(Path::new("")), env: &env };
    let mut report = report::Report::new(text);
    let admin =
        structure::read_admin(text, &mut report).map(|file| validate::admin(&file.admin, &mut report, &sources));
    let counts = |problem: &Problem| match problem.key.as_str() {
        "admin.token" => with_token,
        key => admin.is_none() || key == "admin" || key.starts_with("admin."),
    };
    let problems: Vec<Problem> = report.into_problems().into_iter().filter(counts).collect();
    match admin {
        Some(admin) if problems.is_empty() => Ok(admin),
        _ => Err(ConfigError::Invalid { path: path.to_owned(), problems }),
    }
}

/// Checks and resolves a conf that was read from `path`, with `env` in place of the environment.
pub fn parse(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    // A byte order mark isn't a column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let sources = secret::Sources { folder: path.parent().unwrap_or(Path::new("")), env };
    let mut report = report::Report::new(text);
    let config = structure::read(text, &mut report).map(|file| validate::config(&file, &mut report, &sources));
    match config {
        Some(config) if report.is_empty() => Ok(config),
        _ => Err(ConfigError::Invalid { path: path.to_owned(), problems: report.into_problems() }),
    }
}

/// A whole conf.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[admin]`.
    pub admin: Admin,
    /// `[plugins]`.
    pub plugins: Plugins,
    /// `[policies.NAME]`, by name: 1 to 64 characters of `a-z 0-9 - _`, and not `native`, which is
    /// built in.
    pub policies: BTreeMap<String, PolicyConf>,
    /// `[upstreams.NAME]`, by name: 1 to 64 characters of `a-z 0-9 - _`. At least one, and at most
    /// 100,000 endpoints in all of them together.
    pub upstreams: BTreeMap<String, UpstreamConf>,
    /// `[[routes]]`, the longest prefix first. With one upstream they may be left out: `/` leads to
    /// it.
    pub routes: Vec<Route>,
}

/// The side that clients see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `listen`: IP addresses and ports, at least one; port 0 takes a free one. Default
    /// `["127.0.0.1:8549"]`.
    pub listen: Vec<SocketAddr>,
    /// `threads`: worker threads, 1 to 1,024. Default: the cores that the process may use.
    pub threads: usize,
    /// `max_body`: the largest request body in bytes, such as `"64KiB"`, `"10MiB"` or `1048576`; 1
    /// byte to 1 GiB. Default `"10MiB"`.
    pub max_body: usize,
    /// `shutdown_grace`: how long requests in flight may take to end after TERM; `"0s"` waits for
    /// none. Default `"30s"`.
    pub shutdown_grace: Duration,
    /// `max_connections`: of clients, at once; 1 to 1,000,000. Default: half of the files that the
    /// process may open, less a reserve.
    pub max_connections: usize,
    /// `max_connections_per_address`: of clients at one IPv4 address, or in one /64 of IPv6; 1 to
    /// 1,000,000. Default: as many as `max_connections`, since behind another proxy all clients
    /// have one address.
    pub max_connections_per_address: usize,
    /// `max_buffered`: bytes of request bodies in memory at once, not counting the first 16 KiB of
    /// each; `max_body` to 1 TiB. Default: a quarter of the memory that the process may use.
    pub max_buffered: usize,
    /// `client_key_secret`: what policies see of a client's address depends on it; processes that
    /// share it agree. A secret of 16 bytes or more. Default: chance, another one for each process.
    pub client_key: Option<ClientKey>,
}

/// The side that operators see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: an IP address and port, not one of `server.listen`. Default `"127.0.0.1:8550"`.
    pub listen: SocketAddr,
    /// `token`: the bearer token that requests must carry, ASCII without spaces. A secret. Required
    /// if `listen` isn't a loopback address. Default: none.
    pub token: Option<Secret>,
    /// `hosts`: names, without a port, in lower case, that a request may be addressed to besides
    /// the address itself and loopback names; with a token any name will do. Default: none.
    pub hosts: Vec<String>,
}

/// Where compiled policies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugins {
    /// `dir`: the folder of the `.wasm` files, relative to the conf's folder. Default `"plugins"`.
    pub dir: PathBuf,
    /// `cache_dir`: the folder for compiled code, relative to the conf's folder. It must be the
    /// process's own: nobody else may read or write it. Default: compiled code is kept in memory
    /// only.
    pub cache_dir: Option<PathBuf>,
    /// `trusted_keys`: minisign public keys, at least one; each `.wasm` file must have a signature
    /// by one of them beside it. Default: no signatures are asked for.
    pub trusted_keys: Option<Vec<TrustedKey>>,
    /// `max_instances`: instances of modules that may live at once: policies times three more than
    /// the worker threads, and as many again during a reload; 16 to 10,000. Default 2,000.
    pub max_instances: u32,
    /// `watch`: whether a change of the files in `dir` is a reason to reload. Default `false`.
    pub watch: bool,
    /// `rollback_grace`: a reload that changed policies is rolled back by itself if one of them is
    /// quarantined within this time; `"1ms"` to a day. Default: never.
    pub rollback_grace: Option<Duration>,
}

/// A policy: a plugin, configured, under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConf {
    /// `plugin`: the name that the plugin gives itself: 1 to 64 characters of `a-z 0-9 -`,
    /// beginning with a letter. Required.
    pub plugin: String,
    /// `version`: a semver requirement such as `"^1"`; the highest version that matches is taken.
    /// Default `"*"`.
    pub version: semver::VersionReq,
    /// `sha256`: 64 hexadecimal digits that the module must have as its digest. Default: any
    /// module.
    pub sha256: Option<[u8; 32]>,
    /// `fuel`: about the number of instructions that one call may take, not counting 2,000 for each
    /// endpoint that is scored; 1,000 to 100,000,000. Default 100,000.
    pub fuel: u64,
    /// `config`: an object that is handed to the plugin as it is; dates as text. Default: empty.
    pub config: serde_json::Value,
    /// Where the file names the policy.
    pub place: Location,
}

/// A named pool of endpoints. Its `protocol` is `"json-rpc"`, which is also the default.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConf {
    /// The name in `[upstreams.NAME]`.
    pub name: String,
    /// `chain`: `"ethereum"` or `"solana"`, whose methods are known. Default `"ethereum"`.
    pub chain: Chain,
    /// `chain_id`: what each endpoint must answer when it is asked for its chain, else it is never
    /// used. Needs `health_check`. Default: not verified.
    pub chain_id: Option<ChainId>,
    /// `read_methods`: more methods that change nothing: each 1 to 64 characters of visible ASCII,
    /// where a `*` at the end, and not alone, stands for any more; at most 200. Default: none.
    pub read_methods: Vec<String>,
    /// `scoring`: a declared policy, or nothing for the built-in one, which may be written as
    /// `"native"`.
    pub scoring: Option<String>,
    /// `retry`: a declared policy, or nothing for the built-in one, which may be written as
    /// `"native"`.
    pub retry: Option<String>,
    /// `shadow`: the name of a declared scoring policy other than `scoring`, or a table. Default:
    /// none.
    pub shadow: Option<ShadowConf>,
    /// `canary`. Default: none.
    pub canary: Option<CanaryConf>,
    /// `candidates`: endpoints that a decision looks at; of a larger pool so many are drawn by
    /// weight, for each attempt anew. 2 to 10,000. Default: all of a pool of up to 64 endpoints, 32
    /// of a larger one.
    pub candidates: usize,
    /// `max_attempts`: tries of one request, the first included; 1 to 16. Default 3.
    pub max_attempts: u32,
    /// `deadline`: how long a request may take with all of its attempts; `"1ms"` to a day. Default
    /// `"10s"`.
    pub deadline: Duration,
    /// `max_batch_size`: members of a JSON-RPC batch; 1 to 10,000. Default 100.
    pub max_batch_size: usize,
    /// `max_concurrency`: requests under way at once; 1 to 1,000,000. Default 1,000.
    pub max_concurrency: usize,
    /// `queue_timeout`: how long a request waits for its turn while `max_concurrency` are under
    /// way; `"0s"`, which refuses it at once, to a day. Default `"1s"`.
    pub queue_timeout: Duration,
    /// `policy_time_budget`: what all calls of policies for one request together may use, a
    /// nanosecond per unit of fuel; 1 ms to 1 s. Default `"5ms"`.
    pub policy_time_budget: Duration,
    /// `exclude_outliers`: whether an endpoint that fails what others answer is left out for a
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
    /// alone. Default: a check with the defaults of the table every 60 s.
    pub health_check: Option<HealthCheck>,
    /// `[[upstreams.NAME.endpoints]]`, in the order of the file: at least one, not all of weight 0,
    /// with at most 64 different tags, and no URL or name twice.
    pub endpoints: Vec<EndpointConf>,
}

/// A scoring policy that is tried without effect.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowConf {
    /// `policy`: a declared policy. Required.
    pub policy: String,
    /// `share`: of the requests that it sees; above 0, at most 1. Default 0.1.
    pub share: f64,
}

/// A policy that decides a share of the requests, in place of the scoring policy, the retry policy,
/// or both, as its plugin is.
#[derive(Debug, Clone, PartialEq)]
pub struct CanaryConf {
    /// `policy`: a declared policy, neither `scoring` nor `retry`. Required.
    pub policy: String,
    /// `percent`: of the requests that it decides; above 0, at most 50. Default 5.
    pub percent: f64,
    /// What takes it out: `min_requests`, of each policy before they are compared, 20 to 1,000,000,
    /// default 200; `max_faults`, its calls that gave no answer, 0 to 1,000,000, default 5;
    /// `max_error_rate_increase`, 0 to 1, default 0.01; `max_attempts_increase`, 0 to 16, default
    /// 0.1; `max_p99_ratio`, 1 to 1,000, default 1.5.
    pub rails: Rails,
    /// `promote_after`: after so long without harm it takes the live policy's place; `"1ms"` to a
    /// day. Default: never.
    pub promote_after: Option<Duration>,
}

/// Connections to the endpoints of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// `connect_timeout`: for TCP and TLS; `"1ms"` to a day. Default `"500ms"`.
    pub connect_timeout: Duration,
    /// `timeout`: for one attempt, connecting included; `"1ms"` to a day. Default `"5s"`. The
    /// deadline ends it sooner.
    pub timeout: Duration,
    /// `pool_idle_timeout`: how long an unused connection is kept; `"1ms"` to a day. Default
    /// `"20s"`.
    pub pool_idle_timeout: Duration,
    /// `pool_max_idle_per_host`: unused connections that are kept for each endpoint; 0 to 10,000.
    /// Default 50.
    pub pool_max_idle_per_host: usize,
}

/// How much is sent again. Retries and hedges together may be at most `share` of the requests of
/// the last 10 s, plus `floor_per_sec` each second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// `share`: 0 to 10. Default 0.2.
    pub share: f32,
    /// `floor_per_sec`: 0 to 100,000. Default 10.
    pub floor_per_sec: u32,
}

/// Asks each endpoint from time to time whether it is fit to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// `interval`: from the beginning of a round to that of the next one; `"100ms"` to a day.
    /// Default `"30s"`.
    pub interval: Duration,
    /// `timeout`: for one probe, connecting included; `"1ms"` to a day. Default `"5s"`.
    pub timeout: Duration,
    /// `method`, or `path` and `status`.
    pub probe: ProbeKind,
    /// The conf names neither: an endpoint that lacks the method passes.
    pub implied: bool,
    /// `unhealthy_threshold`: failed probes in a row that make an endpoint unhealthy; 1 to 100.
    /// Default 2.
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`: good probes in a row that make it healthy again; 1 to 100. Default 1.
    pub healthy_threshold: u32,
    /// `max_head_lag`: an endpoint that is more blocks behind the best one isn't healthy. Needs a
    /// method that tells the head. Default: any lag will do.
    pub max_head_lag: Option<u32>,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// `method`: a JSON-RPC method without parameters, 1 to 64 characters of visible ASCII. Default
    /// `"eth_blockNumber"`, or `"getSlot"` with `chain = "solana"`.
    Method(String),
    /// A GET request.
    Path {
        /// `path`: with the query, if there is one: up to 256 characters of visible ASCII, the
        /// first a `/`.
        path: String,
        /// `status`: of a good answer; 100 to 599. Default 200.
        status: u16,
    },
}

/// The timed exclusion of an endpoint that fails: the n-th in a row lasts between `1 - jitter` and
/// 1 times `min(max, base * 2^n)`, n from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cooldown {
    /// `base`: half of the first; `"1ms"` to `max`. Default `"3s"`.
    pub base: Duration,
    /// `max`: the longest; up to a day. Default `"60s"`.
    pub max: Duration,
    /// `jitter`: the share of it that is random; 0 to 1, which is full jitter. Default 1.
    pub jitter: f32,
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointConf {
    /// `url`: `http://` or `https://`, up to 8 KiB, its user and password sent as basic
    /// authentication. A secret; it is also the endpoint's identity. Required.
    pub url: EndpointUrl,
    /// `name`: how it is shown; 1 to 64 characters without spaces, quotes or control characters, no
    /// other's in the upstream. Default: position, from 1, and host, as in `002_rpc.example.com`.
    pub name: String,
    /// `weight`: what policies make of it; 0, which keeps the endpoint out of rotation, to 65,535.
    /// Default 20.
    pub weight: u16,
    /// `rate_limit_per_sec` and `burst_size`. Default: no limit.
    pub rate_limit: Option<RateLimit>,
    /// `max_batch_size`: larger batches are split for this endpoint; 1 to 10,000. Default: only the
    /// upstream's.
    pub max_batch_size: Option<usize>,
    /// `max_block_range`: blocks that one request for logs may span at this endpoint; 1 or more.
    /// Used when another endpoint refused a range as too large. Default: not known.
    pub max_block_range: Option<u64>,
    /// `tags`: words for policies, each like a name. Default: none.
    pub tags: Vec<String>,
    /// `price`: for policies, in any unit that suits them; 0 or above. Default: not known.
    pub price: Option<f32>,
    /// `headers`: added to each request; the values are secrets in printable ASCII. Default: none.
    pub headers: Vec<(HeaderName, Secret)>,
}

/// How fast an endpoint may be asked; each member of a batch counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// `rate_limit_per_sec`: requests per second; 1 to 1,000,000.
    pub per_sec: NonZeroU32,
    /// `burst_size`: requests at once after a pause; 1 to 1,000,000. Default: as much as
    /// `rate_limit_per_sec`.
    pub burst: NonZeroU32,
}

/// Leads requests to an upstream by their path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `path_prefix`: `/`, or whole segments such as `/eth`, kept without a slash at the end.
    /// Required.
    pub path_prefix: String,
    /// `upstream`: a declared upstream. Required.
    pub upstream: String,
    /// `accept_any_content_type`: whether bodies that aren't said to be JSON are taken for it.
    /// Default: as `accept_any_content_type` of the upstream, whose default is `false`.
    pub accept_any_content_type: bool,
}
