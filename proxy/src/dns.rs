//! Host names of endpoints, looked up off the request path.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Target;
use crate::snapshot::Snapshot;

/// How long a look-up may take. A name that takes longer is tried again in the background.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks up the names of a new generation that have no address yet. One that doesn't resolve is no
/// error: its endpoint fails its attempts until it does.
pub fn resolve_new(snapshot: &Snapshot) {
    let targets = targets(snapshot, |target| !target.is_resolved());
    if targets.is_empty() {
        return;
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(resolve(targets));
            // A look-up that hangs is not waited for.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(%error, "no runtime for DNS look-ups"),
    }
}

/// Looks up all names of a generation again.
pub async fn refresh(snapshot: &Snapshot) {
    resolve(targets(snapshot, |_| true)).await;
}

/// Whether a name has no address yet.
pub fn is_pending(snapshot: &Snapshot) -> bool {
    !targets(snapshot, |target| !target.is_resolved()).is_empty()
}

type ByName = BTreeMap<(String, u16), Vec<Arc<Target>>>;

fn targets(snapshot: &Snapshot, wanted: impl Fn(&Target) -> bool) -> ByName {
    let mut names = ByName::new();
    let endpoints = snapshot.upstreams().flat_map(|upstream| upstream.endpoints());
    for target in endpoints.map(|e| e.target()).filter(|target| target.needs_dns() && wanted(target)) {
        let name = (target.destination.host.clone(), target.destination.port);
        names.entry(name).or_default().push(Arc::clone(target));
    }
    names
}

async fn resolve(names: ByName) {
    let mut lookups = JoinSet::new();
    for ((host, port), targets) in names {
        lookups.spawn(async move {
            match timeout(LOOKUP_TIMEOUT, lookup_host((host.as_str(), port))).await {
                Ok(Ok(found)) => set(&targets, found),
                Ok(Err(error)) => tracing::warn!(host, %error, "host name does not resolve"),
                Err(_) => tracing::warn!(host, "DNS look-up timed out"),
            }
        });
    }
    while lookups.join_next().await.is_some() {}
}

fn set(targets: &[Arc<Target>], found: impl Iterator<Item = SocketAddr>) {
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    // An empty answer is no reason to forget an address that works.
    if !addresses.is_empty() {
        targets.iter().for_each(|target| target.set_addresses(addresses.clone()));
    }
}
