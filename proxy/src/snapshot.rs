//! Everything reloadable, as one immutable view, and the one swap that publishes it.
//!
//! Invariants: a request holds one [`Snapshot`] from its head to its answer; nothing that a reload changes lives
//! outside of it; [`Published::publish`] is the only place where the serving generation changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use tokio::sync::watch;

use crate::config::{Config, UpstreamConf};
use crate::listing::Listing;
use crate::metrics::Metrics;
use crate::policy::{Catalog, Fault};
use crate::upstream::{BoundPolicy, Policies, Resources, Upstream};

/// One generation.
pub struct Snapshot {
    /// Counts up from 1 with every publish.
    pub generation: u64,
    /// The conf that it was made from.
    pub config: Arc<Config>,
    /// The plugins that were there.
    pub catalog: Catalog,
    /// The plugin folder's files at that time, if the conf has it watched.
    pub listing: Listing,
    /// The policies by name.
    pub policies: BTreeMap<String, BoundPolicy>,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    routes: Vec<(String, Arc<Upstream>)>,
    _live: LiveGeneration,
}

/// Counts this generation as live until the last request lets it go.
struct LiveGeneration(IntGauge);

impl Snapshot {
    /// Puts a generation together, with the live state of every endpoint that `before` has, too.
    pub fn assemble(
        config: Arc<Config>,
        catalog: Catalog,
        listing: Listing,
        policies: BTreeMap<String, BoundPolicy>,
        before: Option<&Snapshot>,
        resources: &Resources,
    ) -> Self {
        let bound = |name: Option<&String>| name.and_then(|name| policies.get(name)).cloned();
        let chosen = |conf: &UpstreamConf| Policies {
            scoring: bound(conf.scoring.as_ref()),
            retry: bound(conf.retry.as_ref()),
            shadow: bound(conf.shadow.as_ref().map(|shadow| &shadow.policy)),
        };
        let build = |conf: &UpstreamConf| {
            let old = before.and_then(|b| b.upstreams.get(&conf.name)).map(Arc::as_ref);
            Arc::new(Upstream::build(conf, old, chosen(conf), resources))
        };
        let upstreams: BTreeMap<String, Arc<Upstream>> =
            config.upstreams.iter().map(|(name, conf)| (name.clone(), build(conf))).collect();
        let routes = config.routes.iter().filter_map(|route| {
            upstreams.get(&route.upstream).map(|upstream| (route.path_prefix.clone(), Arc::clone(upstream)))
        });
        Snapshot {
            generation: before.map_or(1, |b| b.generation + 1),
            routes: routes.collect(),
            config,
            catalog,
            listing,
            policies,
            upstreams,
            _live: LiveGeneration::new(&resources.metrics),
        }
    }

    /// The upstreams by name.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// The upstream for a request's path: the longest prefix of whole segments wins.
    pub fn route(&self, path: &str) -> Option<&Arc<Upstream>> {
        let fits = |prefix: &str| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // The conf sorts them, the longest first.
        self.routes.iter().find(|(prefix, _)| fits(prefix)).map(|(_, upstream)| upstream)
    }
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

/// The generation that serves.
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

    /// The generation that serves now. A request calls this once.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The one swap. Returns the generation before.
    pub fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        let before = self.current.swap(Arc::clone(&snapshot));
        self.announce(&snapshot);
        for gone in before.upstreams.keys().filter(|name| !snapshot.upstreams.contains_key(*name)) {
            self.metrics.forget_upstream(gone);
        }
        for gone in before.policies.keys().filter(|name| !snapshot.policies.contains_key(*name)) {
            self.metrics.forget_policy(gone, &Fault::KINDS);
        }
        before
    }

    /// Tells of every publish, for those who don't ask with every request.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    fn announce(&self, snapshot: &Snapshot) {
        self.metrics.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        for upstream in snapshot.upstreams() {
            self.metrics.set_endpoints(upstream.name(), upstream.endpoints().len());
        }
        self.generations.send_replace(snapshot.generation);
    }
}
