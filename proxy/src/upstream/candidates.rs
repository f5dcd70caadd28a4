//! The host's rules about who may take an attempt. No policy can override them.
//!
//! - Never an endpoint of weight 0 or of the wrong chain, and never one that this request has
//!   tried.
//! - Not one that cools, is silent, fails its health checks, or said that it doesn't support the
//!   method, as long as there is another one. A half-open one takes one request at a time, which
//!   must be one that can be sent again; one on its ramp takes its share.
//! - Not one known to allow no larger range of blocks, after a range was refused as too large.
//!   Rather one that knows more of the chain, after one didn't know enough.
//!
//! If the second rule leaves none, it gives way (a *panic*): a pool that looks dead still serves.
//! First those are asked that may support the method. There is no panic for a hedge, and none for a
//! write that may have reached an endpoint.
//!
//! From a pool of more than `candidates` endpoints so many are drawn by weight, with the request's
//! seed: what a decision costs doesn't grow with the pool. All are looked at when no drawn one is
//! free, and when an attempt needs what only some endpoints have.

use std::hint::black_box;
use std::time::Duration;

use super::{Endpoint, Exclusion, Selection, Upstream};
use crate::model::{CooldownState, Draws, Preference, RequestFacts, Sampler, Tick};
use crate::policy::abi::EndpointRow;

/// The tag of endpoints that keep all of the chain's history.
pub(super) const ARCHIVE_TAG: &str = "archive";

/// So many draws for each candidate: then it is better to look at all than to go on drawing what
/// isn't free, or was drawn already.
const DRAWS_PER_CANDIDATE: usize = 4;
/// A ramp's share is drawn in these steps.
const RAMP_STEPS: usize = 1_000;
/// So long after a cooldown a probe has the endpoint to itself.
const PROBE_FIRST: Duration = Duration::from_secs(2);

/// How candidates of a large pool are drawn.
pub(super) struct Draw {
    sampler: Sampler,
    candidates: usize,
}

impl Draw {
    /// That of a pool with these weights; `None` if all are candidates.
    pub(super) fn new(weights: &[u16], candidates: usize) -> Option<Self> {
        let sampler = (weights.len() > candidates).then(|| Sampler::new(weights)).flatten()?;
        Some(Draw { sampler, candidates })
    }
}

impl Upstream {
    /// The rows of those who may take the attempt.
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
        // Each attempt draws anew.
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
            // Hardly one of a large pool is in a cache: all together they come sooner than one
            // after the other.
            black_box(endpoints.clone().fold(0, |read, endpoint| read ^ endpoint.fetch()));
            let fit = endpoints.filter(|endpoint| self.may(endpoint, selection) && self.is_free(endpoint, selection));
            rows.extend(fit.map(|endpoint| endpoint.row(0, selection.now)));
        }
    }

    /// Everybody who isn't forbidden; those that may support the method, if there are any.
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

    /// No policy is shown more.
    fn most_candidates(&self) -> usize {
        self.draw.as_ref().map_or(usize::MAX, |draw| draw.candidates)
    }

    /// How many could take an attempt after this one, as far as the next one would look.
    pub(super) fn candidates_left(&self, selection: &Selection<'_>) -> u32 {
        let free = self.untried(selection).filter(|endpoint| self.is_free(endpoint, selection));
        let left = free.take(self.most_candidates()).count();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// In the order of the conf; in a large pool, of which only the first are shown, from a place
    /// that the seed gives.
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
            // Its weight isn't 0: see `may`.
            endpoint.health_state().is_good() && !stats.is_silent(selection.now)
        } else {
            self.comes_back(endpoint, selection)
        };
        open && !endpoint.is_banned(selection.request, selection.now)
    }

    /// Whether an endpoint that failed takes this request.
    fn comes_back(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        match endpoint.exclusion(selection.now) {
            None => self.is_on_ramp(endpoint, selection),
            Some(Exclusion::HalfOpen(since)) => self.may_try(endpoint, since, selection),
            Some(_) => false,
        }
    }

    /// Whether the request belongs to the share that an endpoint takes; all of them without a ramp.
    fn is_on_ramp(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        match endpoint.stats.cooldown.state(selection.now) {
            CooldownState::Ramp(share) => {
                let seed = selection.request.seed.wrapping_add(u64::from(endpoint.index) << 32);
                (Draws::of(seed).below(RAMP_STEPS) as f32) < share * RAMP_STEPS as f32
            }
            _ => true,
        }
    }

    /// Whether the request may try a half-open endpoint: another one can still answer it, and
    /// nobody else tries it. Where there are probes, they come first.
    fn may_try(&self, endpoint: &Endpoint, since: Duration, selection: &Selection<'_>) -> bool {
        let waits_for_probe = self.settings.probed && since < PROBE_FIRST;
        selection.request.shape.is_resendable()
            && selection.attempt == 1
            && !selection.hedge
            && !waits_for_probe
            && endpoint.stats.trial.is_free(selection.now)
    }

    /// Keeps the whole chain, or has a higher head than all that were tried.
    fn knows_more(&self, endpoint: &Endpoint, selection: &Selection<'_>) -> bool {
        let lag = endpoint.head_lag_blocks();
        // A lag that isn't known is less than none.
        endpoint.archive || selection.tried.iter().all(|&tried| lag < self.endpoint(tried).head_lag_blocks())
    }

    /// Isn't known to allow no larger range of blocks than one that was tried.
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
    /// Whether it said that it doesn't support a method of the request.
    pub(super) fn is_banned(&self, request: &RequestFacts, now: Tick) -> bool {
        let bans = &self.stats.bans;
        !bans.is_empty() && request.shape.has_method(|method| bans.is_banned(method, now))
    }
}

#[cfg(test)]
mod tests;
