//! The selection of an endpoint for an attempt.
//!
//! The host's rules come first, and no policy can override them: see `candidates`. Then the policy
//! scores, and the best endpoint whose rate limiter admits the whole batch takes the attempt.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::deciders::Decider;
use super::settle::Attempt;
use super::{Endpoint, Extra, GuardedPolicy, Selection, Upstream};
use crate::clock;
use crate::jsonrpc::Refusal;
use crate::model::{CooldownState, Plan, Tick, millis_f32};
use crate::policy::abi::{EndpointRow, PlanBlock, RequestBlock, flag, request_flags};
use crate::policy::{Scored, native};

/// The buffers of a thread, so that a decision allocates nothing.
#[derive(Default)]
struct Scratch {
    rows: Vec<EndpointRow>,
    /// The endpoints drawn from a large pool.
    drawn: Vec<u32>,
    scores: Vec<f64>,
}

thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());

impl Upstream {
    /// Records a request of this client, which adds to its retry budget.
    pub fn arrived(&self, client: u64, now: Tick) {
        self.live.budget.deposit(client, now);
    }

    /// Chooses an endpoint.
    ///
    /// # Errors
    /// [`Refusal::NoEndpoint`], [`Refusal::RateLimited`] or [`Refusal::ByPolicy`] when none takes
    /// it.
    pub fn select(self: &Arc<Self>, selection: &Selection<'_>) -> Result<Attempt, Refusal> {
        SCRATCH.with_borrow_mut(|scratch| {
            self.candidates(selection, &mut scratch.rows, &mut scratch.drawn);
            if scratch.rows.is_empty() {
                return Err(Refusal::NoEndpoint);
            }
            let (chosen, trial) = self.choose(selection, scratch)?;
            Ok(Attempt::begin(Arc::clone(self), chosen, trial, selection.now))
        })
    }

    /// Plans the attempts of a request after its first endpoint was chosen.
    pub fn plan(&self, selection: &Selection<'_>, first: &Attempt) -> Plan {
        let settings = &self.settings;
        let own = Plan { max_attempts: settings.max_attempts, timeout: settings.timeout, hedge_after: None };
        let mut deciders = self.deciders.retry(selection.request.seed).peekable();
        // The policy in turn may leave the plan to the host.
        if !deciders.peek().is_some_and(|decider| decider.policy().policy.plans()) {
            return own;
        }
        let endpoint = first.endpoint();
        let row = endpoint.row(endpoint.row_flags(selection.request, selection.now), selection.now);
        let shape = &selection.request.shape;
        let method_p75_ms = if shape.is_batch() { f32::NAN } else { self.live.latencies.p75_ms(&shape.method) };
        let p95_ms = endpoint.stats.latency_p95_ms();
        let block = PlanBlock::new(own.max_attempts, millis_f32(own.timeout), p95_ms, method_p75_ms);
        let turn = self.deciders.turn(selection.request);
        let mut planning = deciders.filter(|decider| decider.policy().policy.plans());
        let request = self.request_block(selection);
        let plan = |decider: Decider<'_>| {
            let row = decider.policy().row(row);
            decider.ask(turn, |policy| policy.plan(&request, &row, &block))
        };
        planning.find_map(plan).unwrap_or(own)
    }

    /// Whether the client's retry budget allows another attempt.
    pub fn has_budget(&self, client: u64, now: Tick) -> bool {
        let allowed = self.live.budget.allows(self.settings.budget, client, now);
        if !allowed {
            self.series.budget_exhausted.inc();
        }
        allowed
    }

    /// Records an attempt beyond the request's first, at the cost of `client` if one is given.
    pub fn spend(&self, extra: Extra, client: Option<u64>) {
        match client {
            Some(client) => self.live.budget.spend(client),
            None => self.series.budget_excused.inc(),
        }
        match extra {
            Extra::Retry => self.series.retries.inc(),
            Extra::Hedge => self.series.hedges.inc(),
        }
    }

    /// Records the end of a hedge.
    pub fn hedged(&self, won: bool) {
        if won {
            self.series.hedges_won.inc();
        }
    }
}

impl Upstream {
    /// The request as policies see it.
    pub(super) fn request_block(&self, selection: &Selection<'_>) -> RequestBlock {
        let request = selection.request;
        let shape = &request.shape;
        let left = request.deadline.since(selection.now).as_millis();
        let mut block = RequestBlock {
            unix_ms: clock::unix_ms(selection.now),
            seed: request.seed,
            client_key: request.client_key,
            flags: flag(shape.is_write(), request_flags::WRITE)
                | flag(shape.is_batch(), request_flags::BATCH)
                | flag(shape.is_write() && shape.is_resendable(), request_flags::IDEMPOTENT)
                | flag(selection.prior_sent, request_flags::PRIOR_SENT),
            batch_size: shape.size(),
            attempt: selection.attempt,
            max_attempts: self.settings.max_attempts,
            body_bytes: u32::try_from(request.body_bytes).unwrap_or(u32::MAX),
            deadline_left_ms: u32::try_from(left).unwrap_or(u32::MAX),
            chain: self.settings.methods.chain().code(),
            ..RequestBlock::new()
        };
        block.set_method(&shape.method);
        if self.deciders.reads_http {
            block.set_http(&request.http, shape.is_resendable());
        }
        block
    }

    /// The choice of the first policy that makes one. A shadow may observe it.
    fn choose(&self, selection: &Selection<'_>, scratch: &mut Scratch) -> Result<(u32, Option<Tick>), Refusal> {
        let Scratch { rows, scores, .. } = scratch;
        let request = self.request_block(selection);
        let turn = self.deciders.turn(selection.request);
        for decider in self.deciders.scoring(selection.request.seed) {
            let seen = decider.policy().rows(rows);
            match decider.ask(turn, |policy| policy.score(&request, seen, scores)) {
                None => {}
                Some(Scored::Refused) => {
                    self.offer_to_shadow(decider, &request, rows, scores);
                    return Err(refused_by(decider.policy()));
                }
                Some(Scored::Ranked) => {
                    self.offer_to_shadow(decider, &request, rows, scores);
                    let admitted = self.first_admitted(selection, rows, scores);
                    // Endpoints that the canary left out may have capacity.
                    if admitted.is_ok() || matches!(decider, Decider::Live(_)) {
                        return admitted;
                    }
                }
            }
        }
        score_natively(rows, scores);
        if let Some(shadow) = &self.deciders.shadow {
            shadow.offer(&request, rows, scores);
        }
        self.first_admitted(selection, rows, scores)
    }

    /// Offers the scores to the shadow, which is compared with the live policy only.
    fn offer_to_shadow(&self, decider: Decider<'_>, request: &RequestBlock, rows: &[EndpointRow], scores: &[f64]) {
        if let (Some(shadow), Decider::Live(_)) = (&self.deciders.shadow, decider) {
            shadow.offer(request, rows, scores);
        }
    }

    /// The scores of the live policy, or of the built-in one if there is none or it gives none.
    pub(super) fn live_scores(&self, selection: &Selection<'_>, rows: &[EndpointRow], scores: &mut Vec<f64>) {
        let request = self.request_block(selection);
        let turn = self.deciders.turn(selection.request);
        let live = self.deciders.scoring.as_ref();
        let score = |live: &GuardedPolicy| live.ask(turn, |policy| policy.score(&request, live.rows(rows), scores));
        if live.and_then(score).is_none() {
            score_natively(rows, scores);
        }
    }

    /// The endpoint with the best score whose limiter admits the request, and the limit of its
    /// trial, if it is one. The request's seed breaks ties.
    fn first_admitted(
        &self,
        selection: &Selection<'_>,
        rows: &[EndpointRow],
        scores: &mut [f64],
    ) -> Result<(u32, Option<Tick>), Refusal> {
        let mut retry_after: Option<Duration> = None;
        while let Some(best) = best(scores, selection.request.seed) {
            let endpoint = self.endpoint(rows[best].index);
            let Some(limiter) = &endpoint.details.limiter else {
                return Ok((endpoint.index, self.tries(endpoint, selection)));
            };
            match limiter.admit(selection.request.shape.size()) {
                Ok(left) => {
                    endpoint.stats.headroom.admitted(left, selection.now);
                    return Ok((endpoint.index, self.tries(endpoint, selection)));
                }
                Err(wait) => {
                    retry_after = Some(retry_after.map_or(wait, |shortest| shortest.min(wait)));
                    endpoint.details.series.deferred.inc();
                    scores[best] = f64::NEG_INFINITY;
                }
            }
        }
        Err(match retry_after {
            Some(_) => Refusal::RateLimited { retry_after },
            None => Refusal::NoEndpoint,
        })
    }

    /// The time limit of the attempt as the trial of a half-open endpoint, if it is one. Of two
    /// concurrent attempts one becomes the trial; the other goes to the endpoint as well.
    fn tries(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> Option<Tick> {
        let is_half_open = matches!(endpoint.stats.cooldown.state(selection.now), CooldownState::HalfOpen(_));
        let limit = selection.now.after(self.settings.timeout);
        (is_half_open && endpoint.stats.trial.begin(selection.now, limit)).then_some(limit)
    }

    pub(super) fn endpoint(&self, index: u32) -> &Endpoint {
        &self.endpoints[index as usize]
    }
}

fn score_natively(rows: &[EndpointRow], scores: &mut Vec<f64>) {
    scores.clear();
    native::score(rows, scores);
}

/// Counts an explicit refusal by a policy, which isn't a fault.
fn refused_by(bound: &GuardedPolicy) -> Refusal {
    bound.series.refusals.inc();
    Refusal::ByPolicy
}

/// The position of the highest score; NaN and negative infinity are left out. Among equals the
/// first one from a position that the seed determines.
pub(super) fn best(scores: &[f64], seed: u64) -> Option<usize> {
    // The remainder is below the length, which is a usize.
    let start = usize::try_from(seed % scores.len().max(1) as u64).unwrap_or(0);
    let (before, after) = scores.split_at(start.min(scores.len()));
    let positions = (start..).zip(after).chain((0..).zip(before));
    let mut best: Option<(usize, f64)> = None;
    for (position, &score) in positions {
        if score > best.map_or(f64::NEG_INFINITY, |(_, score)| score) {
            best = Some((position, score));
        }
    }
    best.map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_wins_and_ties_go_by_seed() {
        assert_eq!(best(&[1.0, 3.0, 2.0], 7), Some(1));
        assert_eq!(best(&[3.0, 1.0, 3.0], 0), Some(0));
        assert_eq!(best(&[3.0, 1.0, 3.0], 1), Some(2));
        assert_eq!(best(&[f64::INFINITY, 1.0], 1), Some(0));
    }

    #[test]
    fn what_the_policy_left_out_is_not_chosen() {
        assert_eq!(best(&[], 5), None);
        assert_eq!(best(&[f64::NAN, f64::NEG_INFINITY], 5), None);
        assert_eq!(best(&[f64::NAN, f64::MIN], 0), Some(1));
    }
}
