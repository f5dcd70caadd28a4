//! Periodic work: closing idle connections and refreshing host names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::{MissedTickBehavior, interval};

use crate::snapshot::Published;
use crate::{clock, dns};

/// The longest time by which an idle connection outlives its timeout.
const PERIOD: Duration = Duration::from_secs(1);
/// Periods between lookups of all names: providers move their addresses within minutes.
const DNS_PERIODS: u64 = 30;
/// Periods between lookups of names without an address.
const PENDING_DNS_PERIODS: u64 = 5;

/// The background task.
pub struct Housekeeper {
    /// The published generations.
    pub published: Arc<Published>,
}

#[async_trait]
impl BackgroundService for Housekeeper {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut period = 0_u64;
        loop {
            tokio::select! {
                _ = ticks.tick() => period += 1,
                _ = shutdown.changed() => return,
            }
            self.tick(period).await;
        }
    }
}

impl Housekeeper {
    async fn tick(&self, period: u64) {
        let snapshot = self.published.load();
        let now = clock::now();
        for endpoint in snapshot.upstreams().flat_map(|upstream| upstream.endpoints()) {
            endpoint.targets().for_each(|target| target.reap(now));
        }
        let pending = period.is_multiple_of(PENDING_DNS_PERIODS) && dns::is_pending(&snapshot);
        if pending || period.is_multiple_of(DNS_PERIODS) {
            dns::refresh(&snapshot).await;
        }
    }
}
