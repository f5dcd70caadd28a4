//! Active health checks: each endpoint is asked from time to time whether it is fit to serve.
//!
//! Upstreams are checked in rounds. In a round all endpoints are asked at once, those of weight 0
//! included, and their heads are compared when all have answered or timed out. Rounds of one
//! upstream don't overlap; the next one begins an interval after the last one began. The conf is
//! that of the serving generation, so a reload is followed at once, and a new endpoint is asked at
//! once. What a round finds is in [`EndpointHealth`](crate::model::EndpointHealth); latency
//! statistics are those of requests alone.

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

/// Probes that are under way at once in the whole process, so that a round of many endpoints is no
/// flood.
const MAX_PROBES: usize = 64;
/// An interval is this much shorter or longer at random, so that proxies don't keep in step.
const JITTER: f64 = 0.1;

/// The background task.
pub struct HealthChecker {
    /// The generations.
    published: Arc<Published>,
    /// Endpoints that are to be probed because requests failed there.
    doubts: Arc<Doubts>,
    /// For probes of both kinds.
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
    /// Probes the endpoints of whatever generation serves.
    pub fn new(published: Arc<Published>, doubts: Arc<Doubts>) -> Self {
        HealthChecker { published, doubts, permits: Arc::new(Semaphore::new(MAX_PROBES)) }
    }

    /// Runs rounds until it is dropped, and they with it.
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

    /// Tells when the next round is due; `None` when only the end of a round or a reload can change
    /// that.
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

/// The conf of an upstream that has a health check.
fn checked<'a>(snapshot: &'a Snapshot, name: &str) -> Option<(&'a UpstreamConf, &'a HealthCheck)> {
    let conf = snapshot.config.upstreams.get(name)?;
    Some((conf, conf.health_check.as_ref()?))
}

type Schedules = HashMap<String, RoundSchedule>;

/// When the rounds of an upstream are.
#[derive(Default)]
struct RoundSchedule {
    began: Option<Tick>,
    /// What the interval is multiplied with this time.
    stretch: f64,
    rounds: u64,
    /// That of the last round: new endpoints come with a later one.
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
