//! Everything reloadable, as one immutable view, and the one swap that publishes it.
//!
//! Invariants: a request holds one [`Snapshot`] from its head to its answer; nothing that a reload
//! changes lives outside of it; [`Published::publish`] is the only place where the serving
//! generation changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use tokio::sync::watch;

use crate::config::{Config, UpstreamConf};
use crate::fingerprint::FolderFingerprint;
use crate::metrics::Metrics;
use crate::policy::Catalog;
use crate::upstream::{CanarySpec, CanaryState, GuardedPolicy, Policies, Resources, Upstream};

/// One generation.
pub struct Snapshot {
    /// Counts up from 1 with every publish.
    pub generation: u64,
    /// Why it was published.
    pub cause: String,
    /// The conf that it was made from.
    pub config: Arc<Config>,
    /// The plugins that were there.
    pub catalog: Catalog,
    /// The plugin folder's files at that time, if the conf has it watched.
    pub fingerprint: FolderFingerprint,
    /// The policies by name.
    pub policies: BTreeMap<String, GuardedPolicy>,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    routes: Vec<Route>,
    _live: LiveGeneration,
}

/// Where a path leads.
pub struct Route {
    path_prefix: String,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Bodies of any type are taken for JSON.
    pub accept_any_content_type: bool,
}

/// What a generation is put together from, besides its policies.
pub struct Parts {
    /// The conf.
    pub config: Arc<Config>,
    /// The plugins that are there.
    pub catalog: Catalog,
    /// The plugin folder's files.
    pub fingerprint: FolderFingerprint,
    /// Why it is to be published.
    pub cause: String,
    /// The new states of canaries, by upstream. One that isn't in it goes on as it did.
    pub canary_states: BTreeMap<String, CanaryState>,
}

/// Counts this generation as live until the last request lets it go.
struct LiveGeneration(IntGauge);

impl Snapshot {
    /// Puts a generation together, with the live state of every endpoint that `before` has, too.
    pub fn assemble(
        parts: Parts,
        policies: BTreeMap<String, GuardedPolicy>,
        before: Option<&Snapshot>,
        resources: &Resources,
    ) -> Self {
        let Parts { config, catalog, fingerprint, cause, canary_states } = parts;
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
            Arc::new(Upstream::build(conf, old, chosen(conf), resources))
        };
        let upstreams: BTreeMap<String, Arc<Upstream>> =
            config.upstreams.iter().map(|(name, conf)| (name.clone(), build(conf))).collect();
        let routes = config.routes.iter().filter_map(|route| {
            Some(Route {
                path_prefix: route.path_prefix.clone(),
                upstream: Arc::clone(upstreams.get(&route.upstream)?),
                accept_any_content_type: route.accept_any_content_type,
            })
        });
        Snapshot {
            generation: before.map_or(1, |b| b.generation + 1),
            cause,
            routes: routes.collect(),
            config,
            catalog,
            fingerprint,
            policies,
            upstreams,
            _live: LiveGeneration::new(&resources.metrics),
        }
    }

    /// The upstreams by name.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// The route of a request's path, in its normal form: the longest prefix of whole segments
    /// wins.
    pub fn route(&self, path: &str) -> Option<&Route> {
        let fits = |prefix: &str| {
            let rest = path.strip_prefix(prefix.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // The conf sorts them, the longest first.
        self.routes.iter().find(|route| fits(&route.path_prefix))
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

/// Two generations, of which the second has just replaced the first.
pub struct Replaced {
    /// The one that served.
    pub before: Arc<Snapshot>,
    /// The one that serves.
    pub after: Arc<Snapshot>,
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

    /// The one swap.
    pub fn publish(&self, next: Snapshot) -> Replaced {
        let after = Arc::new(next);
        let before = self.current.swap(Arc::clone(&after));
        self.announce(&after);
        Replaced { before, after }
    }

    /// Tells of every publish, for those who don't ask with every request.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    fn announce(&self, snapshot: &Snapshot) {
        self.metrics.generation.set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        for upstream in snapshot.upstreams() {
            upstream.series().endpoints.set(i64::try_from(upstream.endpoints().len()).unwrap_or(i64::MAX));
        }
        self.generations.send_replace(snapshot.generation);
    }
}
