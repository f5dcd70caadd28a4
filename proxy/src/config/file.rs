//! The conf file as it is written: one type per table, and the default of every key.
//!
//! Nothing here is checked beyond its TOML type; `validate` does that, and needs the place of each value
//! for it. Whole numbers are `i64`, so that a range is checked, and worded, in one place. An `Option` is a
//! key that has no default. These types hold secrets in the clear and so have no `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, Range};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use toml::Spanned;

use super::health::HealthText;
use super::shadow::ShadowText;
use super::units::{ChainIdText, DurationText, SizeText};

/// Tables by name.
pub(super) type Named<T> = BTreeMap<Spanned<String>, Table<T>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) server: Table<Server>,
    pub(super) admin: Table<Admin>,
    pub(super) plugins: Table<Plugins>,
    pub(super) policies: Named<Policy>,
    pub(super) upstreams: Named<Upstream>,
    pub(super) routes: Vec<Table<Route>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    pub(super) listen: Spanned<Vec<Spanned<String>>>,
    /// Default: the cores that the process may use.
    pub(super) threads: Option<Spanned<i64>>,
    pub(super) max_body: Spanned<SizeText>,
    pub(super) shutdown_grace: Spanned<DurationText>,
    /// Default: by the limit of open files.
    pub(super) max_connections: Option<Spanned<i64>>,
    /// Default: as many as `max_connections`.
    pub(super) max_connections_per_address: Option<Spanned<i64>>,
    /// Default: by the memory that the process may use.
    pub(super) max_buffered: Option<Spanned<SizeText>>,
    /// Default: another one for each process.
    pub(super) client_key_secret: Option<Spanned<String>>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: or(vec![text("127.0.0.1:8549")]),
            threads: None,
            max_body: or(SizeText::new("10MiB")),
            shutdown_grace: duration("30s"),
            max_connections: None,
            max_connections_per_address: None,
            max_buffered: None,
            client_key_secret: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    pub(super) listen: Spanned<String>,
    pub(super) token: Option<Spanned<String>>,
    pub(super) hosts: Vec<Spanned<String>>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: text("127.0.0.1:8550"), token: None, hosts: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Plugins {
    pub(super) dir: Spanned<String>,
    /// Default: compiled code is kept in memory only.
    pub(super) cache_dir: Option<Spanned<String>>,
    /// Default: no signatures are asked for.
    pub(super) trusted_keys: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) max_instances: Spanned<i64>,
    pub(super) watch: bool,
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
pub(super) struct Policy {
    /// Required.
    pub(super) plugin: Option<Spanned<String>>,
    pub(super) version: Spanned<String>,
    pub(super) sha256: Option<Spanned<String>>,
    pub(super) fuel: Spanned<i64>,
    pub(super) config: Spanned<toml::Table>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { plugin: None, version: text("*"), sha256: None, fuel: or(100_000), config: or(toml::Table::new()) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Upstream {
    pub(super) protocol: Spanned<String>,
    pub(super) chain: Spanned<String>,
    /// Default: not verified.
    pub(super) chain_id: Option<Spanned<ChainIdText>>,
    pub(super) read_methods: Spanned<Vec<Spanned<String>>>,
    pub(super) accept_any_content_type: bool,
    pub(super) scoring: Option<Spanned<String>>,
    pub(super) retry: Option<Spanned<String>>,
    /// Default: none.
    pub(super) shadow: Option<Spanned<ShadowText>>,
    /// Default: none.
    pub(super) canary: Option<Table<Canary>>,
    /// Default: by the number of endpoints.
    pub(super) candidates: Option<Spanned<i64>>,
    pub(super) max_attempts: Spanned<i64>,
    pub(super) deadline: Spanned<DurationText>,
    pub(super) max_batch_size: Spanned<i64>,
    pub(super) max_concurrency: Spanned<i64>,
    pub(super) queue_timeout: Spanned<DurationText>,
    pub(super) policy_time_budget: Spanned<DurationText>,
    pub(super) retry_budget: Table<RetryBudget>,
    pub(super) latency_smoothing_factor: Spanned<f64>,
    pub(super) client: Table<Client>,
    pub(super) cooldown: Table<Cooldown>,
    /// Default: those of the table, but seldom.
    pub(super) health_check: Option<Spanned<HealthText>>,
    pub(super) endpoints: Vec<Table<Endpoint>>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            protocol: text("json-rpc"),
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
            retry_budget: Table::default(),
            latency_smoothing_factor: or(0.1),
            client: Table::default(),
            cooldown: Table::default(),
            health_check: None,
            endpoints: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shadow {
    /// Required.
    pub(super) policy: Option<Spanned<String>>,
    pub(super) share: Spanned<f64>,
}

impl Default for Shadow {
    fn default() -> Self {
        Self { policy: None, share: or(0.1) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Canary {
    /// Required.
    pub(super) policy: Option<Spanned<String>>,
    pub(super) percent: Spanned<f64>,
    pub(super) min_requests: Spanned<i64>,
    pub(super) max_faults: Spanned<i64>,
    pub(super) max_error_rate_increase: Spanned<f64>,
    pub(super) max_attempts_increase: Spanned<f64>,
    pub(super) max_p99_ratio: Spanned<f64>,
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
pub(super) struct Client {
    pub(super) connect_timeout: Spanned<DurationText>,
    pub(super) timeout: Spanned<DurationText>,
    pub(super) pool_idle_timeout: Spanned<DurationText>,
    pub(super) pool_max_idle_per_host: Spanned<i64>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            connect_timeout: duration("500ms"),
            timeout: duration("5s"),
            pool_idle_timeout: duration("20s"),
            pool_max_idle_per_host: or(50),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cooldown {
    pub(super) base: Spanned<DurationText>,
    pub(super) max: Spanned<DurationText>,
    pub(super) jitter: Spanned<f32>,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { base: duration("3s"), max: duration("60s"), jitter: or(1.0) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RetryBudget {
    pub(super) share: Spanned<f32>,
    pub(super) floor_per_sec: Spanned<i64>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { share: or(0.2), floor_per_sec: or(10) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HealthCheck {
    pub(super) interval: Spanned<DurationText>,
    pub(super) timeout: Spanned<DurationText>,
    /// Default: what tells the head of the upstream's chain.
    pub(super) method: Option<Spanned<String>>,
    /// Default: a JSON-RPC method is asked.
    pub(super) path: Option<Spanned<String>>,
    /// Default: 200, with `path`.
    pub(super) status: Option<Spanned<i64>>,
    pub(super) unhealthy_threshold: Spanned<i64>,
    pub(super) healthy_threshold: Spanned<i64>,
    /// Default: any lag will do.
    pub(super) max_head_lag: Option<Spanned<i64>>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: duration("30s"),
            timeout: duration("5s"),
            method: None,
            path: None,
            status: None,
            unhealthy_threshold: or(2),
            healthy_threshold: or(1),
            max_head_lag: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Endpoint {
    /// Required.
    pub(super) url: Option<Spanned<String>>,
    /// Default: position and host.
    pub(super) name: Option<Spanned<String>>,
    pub(super) weight: Spanned<i64>,
    /// Default: no limit.
    pub(super) rate_limit_per_sec: Option<Spanned<i64>>,
    /// Default: as much as `rate_limit_per_sec`.
    pub(super) burst_size: Option<Spanned<i64>>,
    /// Default: the upstream's alone.
    pub(super) max_batch_size: Option<Spanned<i64>>,
    /// Default: not known.
    pub(super) max_block_range: Option<Spanned<i64>>,
    pub(super) tags: Vec<Spanned<String>>,
    pub(super) price: Option<Spanned<f32>>,
    pub(super) headers: BTreeMap<Spanned<String>, Spanned<String>>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            url: None,
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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Route {
    /// Required.
    pub(super) path_prefix: Option<Spanned<String>>,
    /// Required.
    pub(super) upstream: Option<Spanned<String>>,
    /// Default: as the upstream says.
    pub(super) accept_any_content_type: Option<bool>,
}

/// A default has no place in the file, and passes every check, so none is ever asked for.
fn or<T>(default: T) -> Spanned<T> {
    Spanned::new(0..0, default)
}

fn text(default: &str) -> Spanned<String> {
    or(default.to_owned())
}

fn duration(default: &str) -> Spanned<DurationText> {
    or(DurationText::new(default))
}

/// A table and its place. Unlike a derived struct it can't be written as an array of its values.
#[derive(Default)]
pub(super) struct Table<T> {
    inner: T,
    span: Range<usize>,
}

impl<T> Table<T> {
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl<T> Deref for Table<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<MapOnly<T>>::deserialize(deserializer)?;
        Ok(Self { span: spanned.span(), inner: spanned.into_inner().0 })
    }
}

struct MapOnly<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for MapOnly<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for MapVisitor<T> {
            type Value = MapOnly<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(MapOnly)
            }
        }
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}
