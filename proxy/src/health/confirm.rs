//! Probes that failed requests and ended cooldowns cause.
//!
//! A failure that a client may have provoked excludes an endpoint only if a probe fails, too
//! ([`Doubt`]), and an endpoint whose cooldown is over is probed before it gets requests.
//! Invariant: the probe is the upstream's own health check, so it holds no part of a client's
//! request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{HealthChecker, checked, question};
use crate::clock;
use crate::config::HealthCheck;
use crate::model::{CooldownState, ProbeFailure};
use crate::upstream::Doubt;

/// The longest delay between the end of a cooldown and its probe.
const PERIOD: Duration = Duration::from_millis(200);
/// The longest probe of an endpoint that failed a request: one that takes longer isn't fit.
const LONGEST: Duration = Duration::from_secs(2);

impl HealthChecker {
    /// Runs until it is dropped.
    pub(super) async fn confirm(&self) {
        let mut probes = JoinSet::new();
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                doubt = self.doubts.next() => self.probe(doubt, &mut probes),
                _ = ticks.tick() => self.half_open().into_iter().for_each(|doubt| self.probe(doubt, &mut probes)),
                Some(_) = probes.join_next() => {}
            }
        }
    }

    /// Half-open endpoints: their cooldown is over.
    fn half_open(&self) -> Vec<Doubt> {
        let (snapshot, now) = (self.published.load(), clock::now());
        let upstreams = snapshot.upstreams().filter(|upstream| checked(&snapshot, upstream.name()).is_some());
        let doubts = upstreams.flat_map(|upstream| {
            let endpoints = upstream.endpoints().iter();
            let half_open =
                endpoints.filter(|endpoint| matches!(endpoint.stats().cooldown.state(now), CooldownState::HalfOpen(_)));
            half_open.filter_map(|endpoint| Doubt::about_half_open(upstream, endpoint, now))
        });
        doubts.collect()
    }

    fn probe(&self, doubt: Doubt, probes: &mut JoinSet<()>) {
        let snapshot = self.published.load();
        match checked(&snapshot, doubt.upstream().name()) {
            Some((_, check)) => drop(probes.spawn(answer(doubt, Arc::new(check.clone()), Arc::clone(&self.permits)))),
            // A reload switched the health checks off.
            None => doubt.drop_it(),
        }
    }
}

async fn answer(doubt: Doubt, check: Arc<HealthCheck>, permits: Arc<Semaphore>) {
    // The semaphore is never closed.
    let _permit = permits.acquire().await;
    let began = clock::now();
    let told = question::ask(doubt.endpoint().target(), &check, check.timeout.min(LONGEST)).await;
    match told {
        Ok(_) => doubt.dismiss(began),
        // This failure is the proxy's own and means nothing for the endpoint.
        Err(ProbeFailure::OWN_LACK) => doubt.drop_it(),
        Err(failure) => doubt.uphold(failure),
    }
}
