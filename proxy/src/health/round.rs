//! One round of health checks: probes all endpoints of an upstream, and judges the results.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::question;
use crate::chain::ChainId;
use crate::client::probe;
use crate::clock;
use crate::config::{HealthCheck, UpstreamConf};
use crate::model::{EndpointHealth, HeadLag, HealthState, ProbeFailure, compare_heads};
use crate::upstream::{Endpoint, Upstream};

/// The chain is verified again every this many rounds, in case an endpoint's address leads
/// elsewhere.
const CHAIN_ROUNDS: u64 = 10;

/// One round of an upstream. It holds no generation, so it delays no reload.
pub(super) struct Round {
    upstream: Arc<Upstream>,
    check: HealthCheck,
    chain_id: Option<ChainId>,
    /// Whether verified chains are verified again.
    again: bool,
    permits: Arc<Semaphore>,
}

impl Round {
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        conf: &UpstreamConf,
        check: &HealthCheck,
        number: u64,
        permits: &Arc<Semaphore>,
    ) -> Self {
        Round {
            upstream: Arc::clone(upstream),
            check: check.clone(),
            chain_id: conf.chain_id.clone(),
            again: number.is_multiple_of(CHAIN_ROUNDS),
            permits: Arc::clone(permits),
        }
    }

    pub(super) async fn run(self: Arc<Self>) {
        let mut probes = JoinSet::new();
        let mut heads = vec![None; self.upstream.endpoints().len()];
        for position in 0..heads.len() {
            let round = Arc::clone(&self);
            probes.spawn(async move {
                // The semaphore is never closed.
                let _permit = round.permits.acquire().await;
                (position, round.probe(&round.upstream.endpoints()[position]).await)
            });
        }
        while let Some(ended) = probes.join_next().await {
            if let Ok((position, head)) = ended {
                heads[position] = head;
            }
        }
        for ((endpoint, head), standing) in self.upstream.endpoints().iter().zip(&heads).zip(compare_heads(&heads)) {
            match standing {
                Some(HeadLag::Behind(lag)) => self.pass(endpoint, *head, Some(lag)),
                Some(HeadLag::Implausible) => {
                    endpoint.health().told_head(*head, None);
                    self.fail(endpoint, ProbeFailure::IMPLAUSIBLE_HEAD);
                }
                None => {}
            }
        }
    }

    /// Probes an endpoint. The result is judged at once, unless it is a head: heads are compared
    /// when all endpoints have answered.
    async fn probe(&self, endpoint: &Endpoint) -> Option<u64> {
        match self.ask(endpoint).await {
            Ok(None) => self.pass(endpoint, None, None),
            Ok(head) => return head,
            Err(failure) => self.fail(endpoint, failure),
        }
        None
    }

    /// Verifies the chain first, if that is due: the head of another chain means nothing.
    async fn ask(&self, endpoint: &Endpoint) -> Result<Option<u64>, ProbeFailure> {
        let began = clock::now();
        let left = || self.check.timeout.saturating_sub(clock::now().since(began));
        if let Some(expected) = &self.chain_id
            && (self.again || !endpoint.health().is_verified())
        {
            self.verify(endpoint, expected, left()).await?;
        }
        question::ask(endpoint.target(), &self.check, left()).await
    }

    async fn verify(&self, endpoint: &Endpoint, expected: &ChainId, budget: Duration) -> Result<(), ProbeFailure> {
        let chain = self.upstream.settings().methods.chain();
        let result = probe::call(endpoint.target(), chain.id_method(), budget).await?;
        let told = chain.read_id(&result).ok_or(ProbeFailure::new("doesn't tell its chain"))?;
        let is_right = told == *expected;
        let was = endpoint.health_state();
        self.judge(endpoint, |health| health.told_chain(is_right));
        if is_right {
            return Ok(());
        }
        if was != HealthState::WrongChain {
            let (upstream, endpoint) = (&**self.upstream.name(), &**endpoint.name());
            tracing::error!(upstream, endpoint, ?told, ?expected, "endpoint is of the wrong chain and is not used");
        }
        Err(ProbeFailure::WRONG_CHAIN)
    }

    fn pass(&self, endpoint: &Endpoint, head: Option<u64>, lag: Option<u64>) {
        let now = clock::now();
        endpoint.stats().heard(now, now);
        self.judge(endpoint, |health| {
            health.told_head(head, lag);
            health.pass(self.check.healthy_threshold);
        });
    }

    fn fail(&self, endpoint: &Endpoint, failure: ProbeFailure) {
        if failure == ProbeFailure::OWN_LACK {
            tracing::warn!(upstream = &**self.upstream.name(), endpoint = &**endpoint.name(), why = %failure, "probe not made");
            return;
        }
        endpoint.series().health_check_failures.inc();
        let (upstream, name) = (&**self.upstream.name(), &**endpoint.name());
        if endpoint.health().is_probed() {
            tracing::debug!(upstream, endpoint = name, why = %failure, "probe failed");
        } else {
            tracing::warn!(upstream, endpoint = name, why = %failure, "endpoint's first probe failed");
        }
        // The wrong chain is a state of its own: once the chain is right again, no threshold has to
        // be crossed.
        if failure != ProbeFailure::WRONG_CHAIN {
            self.judge(endpoint, |health| health.fail(failure, self.check.unhealthy_threshold));
        }
    }

    /// Changes an endpoint's health, and logs a change of its state.
    fn judge(&self, endpoint: &Endpoint, change: impl FnOnce(&EndpointHealth)) {
        let before = endpoint.health_state();
        change(endpoint.health());
        let after = endpoint.health_state();
        let (upstream, name) = (&**self.upstream.name(), &**endpoint.name());
        match (before, after) {
            (before, after) if before == after => {}
            (_, HealthState::Unhealthy) => {
                tracing::warn!(upstream, endpoint = name, why = %endpoint.health().failure(), "endpoint is unhealthy");
            }
            (_, HealthState::Lagging) => {
                tracing::warn!(
                    upstream,
                    endpoint = name,
                    blocks = endpoint.health().head_lag(),
                    "endpoint lags behind"
                );
            }
            (HealthState::Unknown | HealthState::Unverified, _) => {}
            (_, after) if after.is_good() => tracing::info!(upstream, endpoint = name, "endpoint is healthy again"),
            // The wrong chain is logged where it is found, with the expected id.
            _ => {}
        }
    }
}
