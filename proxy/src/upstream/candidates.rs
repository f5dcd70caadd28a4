//! The host's rules on eligible endpoints. No policy can override them.
//!
//! - Never an endpoint of weight 0 or of the wrong chain, and never one that this request has
//!   tried.
//! - No endpoint that cools, is silent, fails its health checks, or doesn't support the method, as
//!   long as there is another one. A half-open endpoint takes one request at a time, which must be
//!   resendable; one on its ramp takes its share.
//! - No endpoint known to allow no larger range of blocks, after a range was refused as too large.
//!   Preferably one that knows more of the chain, after one didn't know enough.
//!
//! If the second rule leaves none, it is waived (a *panic*): a pool that looks dead still serves.
//! Endpoints that may support the method come first. There is no panic for a hedge, and none for a
//! write that may have reached an endpoint.
//!
//! From a pool of more than `candidates` endpoints, that number is drawn by weight, with the
//! request's seed: the cost of a decision doesn't grow with the pool. All endpoints are examined if
//! no drawn one is free, or if an attempt needs a property that only some endpoints have.

use std::hint::black_box;
use std::time::Duration;

use super::{Endpoint, Exclusion, Selection, Upstream};
use crate::model::{CooldownState, Draws, Preference, RequestFacts, Sampler, Tick};
use crate::policy::abi::EndpointRow;

/// The tag of endpoints with the chain's full history.
pub(super) const ARCHIVE_TAG: &str = "archive";

/// Draws per candidate, after which all endpoints are examined: more draws would mostly hit
/// endpoints that aren't free or were drawn before.
const DRAWS_PER_CANDIDATE: usize = 4;
/// The resolution of a ramp's share.
const RAMP_STEPS: usize = 1_000;
/// The time after a cooldown in which only a probe may try the endpoint.
const PROBE_FIRST: Duration = Duration::from_secs(2);
/// Without probes, the time after a cooldown in which only a resendable request may try the endpoint:
/// no client pays for it. A pool that gets no such requests would never have the endpoint back.
const RESENDABLE_FIRST: Duration = Duration::from_secs(5);

/// The draw of candidates from a large pool.
pub(super) struct Draw {
    sampler: Sampler,
    candidates: usize,
}

impl Draw {
    /// The draw for a pool with these weights; `None` if all endpoints are candidates.
    pub(super) fn new(weights: &[u16], candidates: usize) -> Option<Self> {
        let sampler = (weights.len() > candidates).then(|| Sampler::new(weights)).flatten()?;
        Some(Draw { sampler, candidates })
    }
}

impl Upstream {
    /// Writes the rows of the endpoints that are eligible for the attempt.
    pub(super) fn candidates(&self, selection: &Selection<'_>, rows: &mut Vec<EndpointRow>, drawn: &mut Vec<u32>) {
        rows.clear();
        if let (Some(draw), Preference::None) = (&self.draw, selection.prefer) {
            self.draw(draw, selection, rows, drawn);
            if !rows.is_empty() {
                return;
            }
        }
        let free = || self.untried(selection).filter(|endpoint| self.is_free(endpoint, selection));
        let most = self.most_candidates();
        if selection.prefer == Preference::History {
            let knowing = free().filter(|endpoint| self.knows_more(endpoint, selection));
            rows.extend(knowing.map(|endpoint| endpoint.row(0, selection.now)).take(most));
        }
        if rows.is_empty() {
            rows.extend(free().map(|endpoint| endpoint.row(0, selection.now)).take(most));
        }
        if rows.is_empty() && may_panic(selection) {
            self.least_bad(selection, rows);
        }
    }

    fn draw(&self, draw: &Draw, selection: &Selection<'_>, rows: &mut Vec<EndpointRow>, drawn: &mut Vec<u32>) {
        // Each attempt draws differently.
        let mut draws = Draws::of(selection.request.seed.wrapping_add(u64::from(selection.attempt)));
        let mut left = DRAWS_PER_CANDIDATE * draw.candidates;
        drawn.clear();
        while rows.len() < draw.candidates && left > 0 {
            let (known, missing) = (drawn.len(), left.min(draw.candidates - rows.len()));
            left -= missing;
            for _ in 0..missing {
                let index = draw.sampler.draw(&mut draws);
                if !drawn.contains(&index) {
                    drawn.push(index);
                }
            }
            let endpoints = drawn[known..].iter().map(|&index| self.endpoint(index));
            // Hardly any endpoint of a large pool is in a cache: fetching all together is faster
            // than one after the other.
            black_box(endpoints.clone().fold(0, |read, endpoint| read ^ endpoint.fetch()));
            let fit = endpoints.filter(|endpoint| self.may(endpoint, selection) && self.is_free(endpoint, selection));
            rows.extend(fit.map(|endpoint| endpoint.row(0, selection.now)));
        }
    }

    /// All endpoints that aren't forbidden, or those of them that may support the method, if any.
    fn least_bad(&self, selection: &Selection<'_>, rows: &mut Vec<EndpointRow>) {
        let row =
            |endpoint: &Endpoint| endpoint.row(endpoint.row_flags(selection.request, selection.now), selection.now);
        let most = self.most_candidates();
        rows.extend(
            self.untried(selection)
                .filter(|endpoint| !endpoint.is_banned(selection.request, selection.now))
                .map(row)
                .take(most),
        );
        if rows.is_empty() {
            rows.extend(self.untried(selection).map(row).take(most));
        }
    }

    /// The maximum number of rows for a policy.
    fn most_candidates(&self) -> usize {
        self.draw.as_ref().map_or(usize::MAX, |draw| draw.candidates)
    }

    /// The number of endpoints that could take a further attempt, up to the number of candidates.
    pub fn candidates_left(&self, selection: &Selection<'_>) -> u32 {
        let free = self.untried(selection).filter(|endpoint| self.is_free(endpoint, selection));
        let left = free.take(self.most_candidates()).count();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Untried endpoints in the order of the conf; in a large pool, of which only the first ones
    /// are used, starting at a position derived from the seed.
    fn untried<'a>(&'a self, selection: &'a Selection<'_>) -> impl Iterator<Item = &'a Endpoint> {
        let start = self.draw.as_ref().map_or(0, |draw| Draws::of(selection.request.seed).below(draw.sampler.len()));
        let (before, after) = self.endpoints.split_at(start);
        after.iter().chain(before).filter(|endpoint| self.may(endpoint, selection))
    }

    /// Whether another endpoint takes requests while this one doesn't.
    pub(super) fn has_others(&self, endpoint: &Endpoint, now: Tick) -> bool {
        let is_open = |other: &Endpoint| {
            !other.is_forbidden() && other.stats.cooldown.is_clear() && other.health_state().is_good()
        };
        self.endpoints
            .iter()
            .any(|other| other.index != endpoint.index && is_open(other) && !other.stats.is_silent(now))
    }

    fn may(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        !endpoint.is_forbidden() && !selection.tried.contains(&endpoint.index) && self.allows_range(endpoint, selection)
    }

    fn is_free(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        let stats = &endpoint.stats;
        let open = if stats.cooldown.is_clear() {
            // `may` has checked that the weight isn't 0.
            endpoint.health_state().is_good() && !stats.is_silent(selection.now)
        } else {
            self.comes_back(endpoint, selection)
        };
        open && !endpoint.is_banned(selection.request, selection.now)
    }

    /// Whether an endpoint that is recovering takes this request.
    fn comes_back(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        match endpoint.exclusion(selection.now) {
            None => self.is_on_ramp(endpoint, selection),
            Some(Exclusion::HalfOpen(since)) => self.may_try(endpoint, since, selection),
            Some(_) => false,
        }
    }

    /// Whether the request belongs to the share on the endpoint's ramp; true without a ramp.
    fn is_on_ramp(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        match endpoint.stats.cooldown.state(selection.now) {
            CooldownState::Ramp(share) => {
                let seed = selection.request.seed.wrapping_add(u64::from(endpoint.index) << 32);
                (Draws::of(seed).below(RAMP_STEPS) as f32) < share * RAMP_STEPS as f32
            }
            _ => true,
        }
    }

    /// Whether the request may try a half-open endpoint: another endpoint can still answer it, or no
    /// such request came for a while, and no other request is trying this one. If there are probes,
    /// they come first.
    fn may_try(&self, endpoint: &Endpoint, since: Duration, selection: &Selection<'_>) -> bool {
        let waits_for_probe = self.settings.probed && since < PROBE_FIRST;
        let is_overdue = !self.settings.probed && since >= RESENDABLE_FIRST;
        (selection.request.shape.is_resendable() || is_overdue)
            && selection.attempt == 1
            && !selection.hedge
            && !waits_for_probe
            && endpoint.stats.trial.is_free(selection.now)
    }

    /// Whether the endpoint has the full history, or a higher head than all that were tried.
    fn knows_more(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        let lag = endpoint.head_lag_blocks();
        // Comparisons with an unknown lag are false.
        endpoint.archive || selection.tried.iter().all(|&tried| lag < self.endpoint(tried).head_lag_blocks())
    }

    /// Whether the endpoint may allow a larger range of blocks than those that were tried.
    fn allows_range(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        let (Preference::LargerRange, Some(range)) = (selection.prefer, endpoint.details.max_block_range) else {
            return true;
        };
        let tried = selection.tried.iter().filter_map(|&tried| self.endpoint(tried).details.max_block_range);
        tried.max().is_none_or(|largest| range > largest)
    }
}

fn may_panic(selection: &Selection<'_>) -> bool {
    let unsafe_write = !selection.request.shape.is_resendable() && selection.prior_sent;
    !selection.hedge && !unsafe_write
}

impl Endpoint {
    /// Whether the endpoint is known not to support a method of the request.
    pub(super) fn is_banned(&self, request: &RequestFacts, now: Tick) -> bool {
        let bans = &self.stats.bans;
        !bans.is_empty() && request.shape.has_method(|method| bans.is_banned(method, now))
    }
}

#[cfg(test)]
mod tests;
