//! Active health checks: each endpoint is probed periodically for whether it is fit to serve.
//!
//! Upstreams are checked in rounds. A round probes all endpoints at once, those of weight 0
//! included, and compares their heads when all have answered or timed out. Rounds of one upstream
//! don't overlap; the next one begins an interval after the last one began. Each round uses the
//! conf of the serving generation, so a reload takes effect at once, and new endpoints are probed
//! at once. Results go to [`EndpointHealth`](crate::model::EndpointHealth); latency statistics
//! count requests only.

mod confirm;
mod question;
mod round;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use self::round::Round;
use crate::clock;
use crate::config::{HealthCheck, UpstreamConf};
use crate::model::Tick;
use crate::snapshot::{Published, Snapshot};
use crate::upstream::Doubts;

/// Maximum number of probes in flight in the whole process, so that a round of many endpoints isn't
/// a flood.
const MAX_PROBES: usize = 64;
/// Each interval is randomly shorter or longer by up to this share, so that proxies don't probe in
/// step.
const JITTER: f64 = 0.1;

/// The background task of health checks.
pub struct HealthChecker {
    /// The published generations.
    published: Arc<Published>,
    /// Endpoints to be probed because requests failed there.
    doubts: Arc<Doubts>,
    /// Limits probes of rounds and of doubts together.
    permits: Arc<Semaphore>,
}

#[async_trait]
impl BackgroundService for HealthChecker {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.run() => {}
            () = self.confirm() => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl HealthChecker {
    /// Health checks for the endpoints of the serving generation.
    pub fn new(published: Arc<Published>, doubts: Arc<Doubts>) -> Self {
        HealthChecker { published, doubts, permits: Arc::new(Semaphore::new(MAX_PROBES)) }
    }

    /// Runs rounds until it is dropped; the rounds end with it.
    async fn run(&self) {
        let mut generations = self.published.subscribe();
        let mut rounds = JoinSet::new();
        let mut schedules = HashMap::new();
        loop {
            let due = self.begin_due_rounds(&mut schedules, &mut rounds, &self.permits);
            tokio::select! {
                () = clock::sleep_until(due) => {}
                Some(_) = rounds.join_next() => {}
                // The sender lives as long as `self`.
                _ = generations.changed() => {}
            }
        }
    }

    /// Begins the rounds that are due. Returns when the next one is due; `None` if that depends on
    /// the end of a round or on a reload.
    fn begin_due_rounds(
        &self,
        schedules: &mut Schedules,
        rounds: &mut JoinSet<()>,
        permits: &Arc<Semaphore>,
    ) -> Option<Tick> {
        let (snapshot, now) = (self.published.load(), clock::now());
        schedules.retain(|name, schedule| schedule.is_running() || checked(&snapshot, name).is_some());
        let mut next: Option<Tick> = None;
        for upstream in snapshot.upstreams() {
            let Some((conf, check)) = checked(&snapshot, upstream.name()) else { continue };
            let schedule = schedules.entry(upstream.name().to_string()).or_default();
            if schedule.is_running() {
                continue;
            }
            let due = schedule.due(check.interval);
            let is_new = schedule.generation != snapshot.generation;
            if due <= now || (is_new && upstream.endpoints().iter().any(|endpoint| !endpoint.health().is_probed())) {
                schedule.generation = snapshot.generation;
                schedule.begin(now, rounds, |number| Round::new(upstream, conf, check, number, permits));
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        next
    }
}

/// The conf of an upstream, if it has a health check.
fn checked<'a>(snapshot: &'a Snapshot, name: &str) -> Option<(&'a UpstreamConf, &'a HealthCheck)> {
    let conf = snapshot.config.upstreams.get(name)?;
    Some((conf, conf.health_check.as_ref()?))
}

type Schedules = HashMap<String, RoundSchedule>;

/// The schedule of an upstream's rounds.
#[derive(Default)]
struct RoundSchedule {
    began: Option<Tick>,
    /// The factor of the current interval.
    stretch: f64,
    rounds: u64,
    /// The generation of the last round: a later one may have new endpoints.
    generation: u64,
    running: Option<AbortHandle>,
}

impl RoundSchedule {
    fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|round| !round.is_finished())
    }

    fn due(&self, interval: Duration) -> Tick {
        self.began.map_or(Tick::START, |began| began.after(interval.mul_f64(self.stretch)))
    }

    fn begin(&mut self, now: Tick, rounds: &mut JoinSet<()>, round: impl FnOnce(u64) -> Round) {
        self.began = Some(now);
        self.stretch = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
        self.rounds += 1;
        self.running = Some(rounds.spawn(Arc::new(round(self.rounds)).run()));
    }
}
