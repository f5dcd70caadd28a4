//! Admission of WebSocket connections, which may last for days: they have limits of their own
//! beside `max_concurrency`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Upstream;
use crate::jsonrpc::Refusal;
use crate::metrics::UpstreamSeries;

/// The open WebSocket connections of an upstream.
#[derive(Default)]
pub(super) struct Tunnels(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    all: usize,
    by_client: HashMap<u64, usize>,
}

/// A place among the WebSocket connections. Dropping it frees the place.
pub struct TunnelPlace {
    upstream: Arc<Upstream>,
    client: u64,
}

impl Upstream {
    /// Admits a WebSocket connection of a client, given by the hash of its key.
    ///
    /// # Errors
    /// When the upstream or the client has as many as it may.
    pub fn enter_tunnel(self: &Arc<Self>, client: u64) -> Result<TunnelPlace, Refusal> {
        let limits = &self.settings.websocket;
        let mut counts = self.live.tunnels.lock();
        if counts.all >= limits.max_connections {
            return Err(Refusal::Overloaded);
        }
        let own = counts.by_client.entry(client).or_default();
        if *own >= limits.max_per_client {
            return Err(Refusal::TooManyTunnels);
        }
        *own += 1;
        counts.all += 1;
        self.live.tunnels.tell(&counts, self.series());
        Ok(TunnelPlace { upstream: Arc::clone(self), client })
    }
}

impl Tunnels {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock, so that the last change wins.
    fn tell(&self, counts: &Counts, series: &UpstreamSeries) {
        series.websockets.set(i64::try_from(counts.all).unwrap_or(i64::MAX));
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        let tunnels = &self.upstream.live.tunnels;
        let mut counts = tunnels.lock();
        counts.all -= 1;
        if let Some(own) = counts.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                counts.by_client.remove(&self.client);
            }
        }
        tunnels.tell(&counts, self.upstream.series());
    }
}
