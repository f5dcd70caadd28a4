//! The conf file as it is written: one type per table, and the default of every key.
//!
//! Nothing here is checked beyond its TOML type; `validate` does that, and needs the place of each
//! value for it. Whole numbers are `i64`, so that a range is checked, and worded, in one place. An
//! `Option` is a key that has no default. These types hold secrets in the clear and so have no
//! `Debug`.
//!
//! The doc comments are the conf's reference: `schema` makes docs/reference.md and
//! docs/pointsman.schema.json of them. A comment's paragraph `Default: …` is for a key whose
//! default is no constant.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) use super::file_endpoint::Endpoint;
pub(super) use super::file_listener::{Certificate, Listener, ListenerTls};
pub(super) use super::file_route::{Cors, HeaderEdits, Respond, Route};
pub(super) use super::file_upstream::{
    Canary, Client, Cooldown, HealthCheck, RetryBudget, Shadow, Upstream, WebSocket,
};
use super::spanned::Spanned;
pub(super) use super::spanned::Table;
use super::units::{DurationText, SizeText};

/// Tables by name.
pub(super) type Named<T> = BTreeMap<Spanned<String>, Table<T>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["upstreams"])))]
pub(super) struct File {
    /// The clients' side: where it listens, and what clients may hold.
    pub(super) server: Table<Server>,
    /// The address for operators: status, health, metrics, reload.
    pub(super) admin: Table<Admin>,
    /// The folder of policy modules, and which modules may be loaded.
    pub(super) plugins: Table<Plugins>,
    /// The policies, by the name that upstreams refer to.
    pub(super) policies: Named<Policy>,
    /// The pools of endpoints, by name. At least one is needed.
    pub(super) upstreams: Named<Upstream>,
    /// Which hosts and paths lead to which upstream. Of the routes that match, those of the most
    /// specific host win, and of these the longest prefix.
    ///
    /// Default: every path leads to the only upstream. With several upstreams, routes are needed.
    pub(super) routes: Vec<Table<Route>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Server {
    /// IP addresses and ports where clients connect in cleartext. A change needs a restart.
    ///
    /// Default: `["127.0.0.1:8549"]`; none if there are `listeners`.
    pub(super) listen: Option<Spanned<Vec<Spanned<String>>>>,
    /// More addresses where clients connect, with TLS or other settings of their own. Adding or
    /// removing one needs a restart; certificates don't.
    ///
    /// Default: none.
    pub(super) listeners: Vec<Table<Listener>>,
    /// Worker threads. A client's connection stays with one of them. A change needs a restart.
    ///
    /// Default: the cores that the process may use.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_024)))]
    pub(super) threads: Option<Spanned<i64>>,
    /// The largest body of a request, and of an answer.
    pub(super) max_body: Spanned<SizeText>,
    /// After TERM or QUIT, how long requests in flight may take to end.
    pub(super) shutdown_grace: Spanned<DurationText>,
    /// Connections of clients. At the limit the longest-idle one is closed for a new one.
    ///
    /// Default: (open files - 128) / 2, since each may need another connection to an endpoint.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) max_connections: Option<Spanned<i64>>,
    /// The same for one address, or for one /64 of IPv6.
    ///
    /// Default: `max_connections`, since behind a load balancer all clients have one address.
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub(super) max_connections_per_address: Option<Spanned<i64>>,
    /// Memory for the bodies of requests in flight, beyond 16 KiB of each. At least `max_body`.
    ///
    /// Default: a quarter of the memory of the machine or of its control group.
    pub(super) max_buffered: Option<Spanned<SizeText>>,
    /// Networks of the proxies in front of this one, such as `10.0.0.0/8` or `::1`. Their
    /// `X-Forwarded-For` or `Forwarded` names the client; anyone else's is ignored.
    pub(super) trusted_proxies: Spanned<Vec<Spanned<String>>>,
    /// The value that tells clients apart for policies and retry budgets: `address`, `header:NAME`
    /// or `certificate`, of which the last two are the address for a client without one.
    pub(super) client_key: Spanned<String>,
    /// At least 16 bytes, also as `env:NAME` or `file:PATH`. Processes that share it give policies
    /// the same client keys.
    ///
    /// Default: a random secret for each process.
    pub(super) client_key_secret: Option<Spanned<String>>,
    /// Plain requests are read and answered without Pingora's session. Answers are the same
    /// either way; without the lane each request costs more.
    pub(super) express_lane: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: None,
            listeners: Vec::new(),
            threads: None,
            max_body: or(SizeText::new("10MiB")),
            shutdown_grace: duration("30s"),
            max_connections: None,
            max_connections_per_address: None,
            max_buffered: None,
            trusted_proxies: or(Vec::new()),
            client_key: text("address"),
            client_key_secret: None,
            express_lane: true,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Admin {
    /// The IP address and port. One that is not a loopback address needs `token`. A change needs a
    /// restart.
    pub(super) listen: Spanned<String>,
    /// The bearer token that requests must carry, all but `/health`; also `env:NAME` or
    /// `file:PATH`.
    ///
    /// Default: none.
    pub(super) token: Option<Spanned<String>>,
    /// Without a token: names by which the address may be asked, besides loopback names.
    pub(super) hosts: Vec<Spanned<String>>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: text("127.0.0.1:8550"), token: None, hosts: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Plugins {
    /// The folder of the `.wasm` files, relative to the conf file.
    pub(super) dir: Spanned<String>,
    /// The folder for compiled code, relative to the conf file. It belongs to the process's user
    /// alone.
    ///
    /// Default: compiled code is kept in memory only.
    pub(super) cache_dir: Option<Spanned<String>>,
    /// Public keys of minisign. Each module must be signed by one of them.
    ///
    /// Default: no signatures are needed.
    pub(super) trusted_keys: Option<Spanned<Vec<Spanned<String>>>>,
    /// Instances of modules: policies times three more than the threads, and as many again during a
    /// reload. A change needs a restart.
    #[cfg_attr(test, schemars(range(min = 16, max = 10_000)))]
    pub(super) max_instances: Spanned<i64>,
    /// Whether a changed `.wasm` or `.wasm.sig` file is a reason to reload. The conf file is not
    /// watched.
    pub(super) watch: bool,
    /// A reload whose policies are quarantined within this time is rolled back.
    ///
    /// Default: never.
    pub(super) rollback_grace: Option<Spanned<DurationText>>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            dir: text("plugins"),
            cache_dir: None,
            trusted_keys: None,
            watch: false,
            max_instances: or(2_000),
            rollback_grace: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["plugin"])))]
pub(super) struct Policy {
    /// The name of the plugin, as its module describes itself.
    pub(super) plugin: Option<Spanned<String>>,
    /// A requirement such as `^1`. The highest version that matches is taken.
    pub(super) version: Spanned<String>,
    /// The digest of the only module that may be taken, in hexadecimal.
    ///
    /// Default: any.
    pub(super) sha256: Option<Spanned<String>>,
    /// About the instructions that one call may execute; 2,000 more for each endpoint that is
    /// scored.
    #[cfg_attr(test, schemars(range(min = 1_000, max = 100_000_000)))]
    pub(super) fuel: Spanned<i64>,
    /// The plugin's own settings, given to it as they are.
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    pub(super) config: Spanned<toml::Table>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { plugin: None, version: text("*"), sha256: None, fuel: or(100_000), config: or(toml::Table::new()) }
    }
}

/// A default has no place in the file, and passes every check, so none is ever asked for.
pub(super) fn or<T>(default: T) -> Spanned<T> {
    Spanned::new(0..0, default)
}

pub(super) fn text(default: &str) -> Spanned<String> {
    or(default.to_owned())
}

pub(super) fn duration(default: &str) -> Spanned<DurationText> {
    or(DurationText::new(default))
}
