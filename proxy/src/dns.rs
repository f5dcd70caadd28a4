//! Resolution of endpoints' host names, off the request path.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::Target;
use crate::snapshot::Snapshot;

/// The time limit of a lookup. A slower name is retried in the background.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Resolves the names of a new generation that have no address yet. A failure isn't an error: the
/// endpoint's attempts fail until its name resolves.
pub fn resolve_new(snapshot: &Snapshot) {
    let targets = targets(snapshot, |target| !target.is_resolved());
    if targets.is_empty() {
        return;
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(resolve(targets));
            // Doesn't wait for a lookup that hangs.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(%error, "no runtime for DNS look-ups"),
    }
}

/// Resolves all names of a generation again.
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
    for target in endpoints.flat_map(|e| e.targets()).filter(|target| target.needs_dns() && wanted(target)) {
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
    // An empty answer must not replace a working address.
    if !addresses.is_empty() {
        targets.iter().for_each(|target| target.set_addresses(addresses.clone()));
    }
}
