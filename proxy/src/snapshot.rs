//! All reloadable state as one immutable view, and the swap that publishes it.
//!
//! Invariants: a request holds one [`Snapshot`] from its head to its answer; nothing that a reload
//! changes lives outside of it; only [`Published::publish`] changes the serving generation.

#[cfg(test)]
pub(crate) mod fixture;
mod header_edits;
mod health;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use tokio::sync::watch;

use crate::config::{Config, UpstreamConf};
use crate::fingerprint::FolderFingerprint;
use crate::metrics::{CertificateSeries, Metrics};
use crate::policy::Catalog;
use crate::tls::TlsConfigs;
use crate::upstream::{CanarySpec, CanaryState, GuardedPolicy, Policies, Resources, Upstream};
pub use header_edits::{HeaderEdits, Headers};
pub use health::Health;
use routes::Routes;
pub use routes::{Route, RouteId, Target, UpstreamTarget};

/// One generation.
pub struct Snapshot {
    /// Increases by 1 with every publish, from 1.
    pub generation: u64,
    /// The reason for its publish.
    pub cause: String,
    /// The conf.
    pub config: Arc<Config>,
    /// The plugins in the plugin folder at that time.
    pub catalog: Catalog,
    /// The state of the plugin folder at that time, if the conf watches it.
    pub fingerprint: FolderFingerprint,
    /// The policies by name.
    pub policies: BTreeMap<String, GuardedPolicy>,
    /// The TLS of the listeners and to the endpoints.
    pub tls: Arc<TlsConfigs>,
    /// The series of each certificate, and the time when it expires.
    certificates: Vec<(Arc<CertificateSeries>, i64)>,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    routes: Routes,
    _live: LiveGeneration,
}

/// The parts of a generation, besides its policies.
pub struct Parts {
    /// The conf.
    pub config: Arc<Config>,
    /// The plugins in the plugin folder.
    pub catalog: Catalog,
    /// The state of the plugin folder.
    pub fingerprint: FolderFingerprint,
    /// The reason for the publish.
    pub cause: String,
    /// The TLS of the listeners and to the endpoints.
    pub tls: Arc<TlsConfigs>,
    /// New states of canaries, by upstream. The others keep their state.
    pub canary_states: BTreeMap<String, CanaryState>,
}

/// Counts a generation as live until the last request drops it.
struct LiveGeneration(IntGauge);

impl Snapshot {
    /// Assembles a generation. Endpoints that `before` has, too, keep their live state.
    pub fn assemble(
        parts: Parts,
        policies: BTreeMap<String, GuardedPolicy>,
        before: Option<&Snapshot>,
        resources: &Resources,
    ) -> Self {
        let Parts { config, catalog, fingerprint, cause, tls, canary_states } = parts;
        let bound = |name: Option<&String>| name.and_then(|name| policies.get(name)).cloned();
        let canary = |conf: &UpstreamConf| {
            let policy = bound(conf.canary.as_ref().map(|canary| &canary.policy))?;
            Some(CanarySpec { policy, decision: canary_states.get(&conf.name).cloned() })
        };
        let chosen = |conf: &UpstreamConf| Policies {
            scoring: bound(conf.scoring.as_ref()),
            retry: bound(conf.retry.as_ref()),
            shadow: bound(conf.shadow.as_ref().map(|shadow| &shadow.policy)),
            canary: canary(conf),
        };
        let build = |conf: &UpstreamConf| {
            let old = before.and_then(|b| b.upstreams.get(&conf.name)).map(Arc::as_ref);
            Arc::new(Upstream::build(conf, old, chosen(conf), &tls.upstream(&conf.name), resources))
        };
        let upstreams: BTreeMap<String, Arc<Upstream>> =
            config.upstreams.iter().map(|(name, conf)| (name.clone(), build(conf))).collect();
        let routes = Routes::build(&config.routes, |name| upstreams.get(name).cloned());
        Snapshot {
            generation: before.map_or(1, |b| b.generation + 1),
            cause,
            routes,
            config,
            catalog,
            fingerprint,
            policies,
            certificates: certificate_series(&tls, &resources.metrics),
            tls,
            upstreams,
            _live: LiveGeneration::new(&resources.metrics),
        }
    }

    /// Problems that refused nothing. `now` is in seconds since the Unix epoch.
    pub fn warnings(&self, now: i64) -> Vec<String> {
        [self.catalog.warnings(), self.tls.warnings(now)].concat()
    }

    /// The upstreams, sorted by name.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// The route of a request, by its `Host` header or authority and its normalized path.
    pub fn route(&self, host: Option<&[u8]>, path: &str) -> Option<&Route> {
        self.routes.find(host, path)
    }

    /// A route of this generation by its place.
    pub fn route_by_id(&self, id: RouteId) -> Option<&Route> {
        self.routes.by_id(id)
    }
}

/// Certificates of one listener that have the same name share a series: the earliest end counts.
fn certificate_series(tls: &TlsConfigs, metrics: &Metrics) -> Vec<(Arc<CertificateSeries>, i64)> {
    let mut earliest = BTreeMap::new();
    for facts in tls.certificates() {
        let expiry = earliest.entry((facts.listener, facts.name)).or_insert(facts.expiry);
        *expiry = facts.expiry.min(*expiry);
    }
    let each = earliest.into_iter();
    each.map(|((listener, name), expiry)| (metrics.certificate(&listener.to_string(), name), expiry)).collect()
}

impl LiveGeneration {
    fn new(metrics: &Metrics) -> Self {
        metrics.generations_live.inc();
        LiveGeneration(metrics.generations_live.clone())
    }
}

impl Drop for LiveGeneration {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Two generations, the second of which has just replaced the first.
pub struct Replaced {
    /// The replaced one.
    pub before: Arc<Snapshot>,
    /// The serving one.
    pub after: Arc<Snapshot>,
}

/// The serving generation.
pub struct Published {
    current: ArcSwap<Snapshot>,
    generations: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

impl Published {
    /// Publishes the first generation.
    pub fn new(snapshot: Snapshot, metrics: Arc<Metrics>) -> Self {
        let generations = watch::Sender::new(snapshot.generation);
        let published = Published { current: ArcSwap::from_pointee(snapshot), generations, metrics };
        published.announce(&published.load());
        published
    }

    /// The serving generation. A request calls this once.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Publishes `next`. This is the only swap.
    pub fn publish(&self, next: Snapshot) -> Replaced {
        let after = Arc::new(next);
        let before = self.current.swap(Arc::clone(&after));
        self.announce(&after);
        Replaced { before, after }
    }

    /// Notifies of every publish, for tasks that outlive a request.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    fn announce(&self, snapshot: &Snapshot) {
        self.metrics.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        for upstream in snapshot.upstreams() {
            upstream.series().endpoints.set(i64::try_from(upstream.endpoints().len()).unwrap_or(i64::MAX));
        }
        for (series, expiry) in &snapshot.certificates {
            series.expiry.set(*expiry);
        }
        self.generations.send_replace(snapshot.generation);
    }
}
