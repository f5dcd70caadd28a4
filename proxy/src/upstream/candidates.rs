//! The host's rules about who may take an attempt. No policy can override them.
//!
//! - Never an endpoint of weight 0 or of the wrong chain, and never one that this request has tried.
//! - Not one that cools, fails its health checks, or said that it doesn't support the method, as long as there is another one.
//! - Not one known to allow no larger range of blocks, after a range was refused as too large. Rather one that knows more of the
//!   chain, after one didn't know enough.
//!
//! If the second rule leaves none, it gives way (a *panic*): a pool that looks dead still serves. First those are asked that may
//! support the method. There is no panic for a hedge, and none for a write that may have reached an endpoint.

use super::{Endpoint, Upstream};
use crate::model::{Preference, RequestFacts, Tick};
use crate::policy::abi::EndpointRow;
use crate::rpc::Ask;

/// The tag of endpoints that keep all of the chain's history.
pub(super) const ARCHIVE_TAG: &str = "archive";

impl Upstream {
    /// The rows of those who may take the attempt.
    pub(super) fn candidates(&self, ask: &Ask<'_>, rows: &mut Vec<EndpointRow>) {
        rows.clear();
        let free = || self.untried(ask).filter(|endpoint| self.is_free(endpoint, ask));
        if ask.prefer == Preference::History {
            let knowing = free().filter(|endpoint| self.knows_more(endpoint, ask));
            rows.extend(knowing.map(|endpoint| endpoint.row(0, ask.now)));
        }
        if rows.is_empty() {
            rows.extend(free().map(|endpoint| endpoint.row(0, ask.now)));
        }
        if rows.is_empty() && may_panic(ask) {
            self.least_bad(ask, rows);
        }
    }

    /// Everybody who isn't forbidden; those that may support the method, if there are any.
    fn least_bad(&self, ask: &Ask<'_>, rows: &mut Vec<EndpointRow>) {
        let row = |endpoint: &Endpoint| endpoint.row(endpoint.row_flags(ask.request, ask.now), ask.now);
        rows.extend(self.untried(ask).filter(|endpoint| !endpoint.is_banned(ask.request, ask.now)).map(row));
        if rows.is_empty() {
            rows.extend(self.untried(ask).map(row));
        }
    }

    /// How many could take an attempt after this one.
    pub(super) fn candidates_left(&self, ask: &Ask<'_>) -> u32 {
        let left = self.untried(ask).filter(|endpoint| self.is_free(endpoint, ask)).count();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    fn untried<'a>(&'a self, ask: &'a Ask<'_>) -> impl Iterator<Item = &'a Endpoint> {
        let may = |e: &&Endpoint| !e.is_forbidden() && !ask.tried.contains(&e.index) && self.allows_range(e, ask);
        self.endpoints.iter().filter(may)
    }

    fn is_free(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> bool {
        endpoint.exclusion(ask.now).is_none() && !endpoint.is_banned(ask.request, ask.now)
    }

    /// Keeps the whole chain, or has a higher head than all that were tried.
    fn knows_more(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> bool {
        let lag = endpoint.head_lag_blocks();
        // A lag that isn't known is less than none.
        endpoint.archive || ask.tried.iter().all(|&tried| lag < self.endpoint(tried).head_lag_blocks())
    }

    /// Isn't known to allow no larger range of blocks than one that was tried.
    fn allows_range(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> bool {
        let (Preference::LargerRange, Some(range)) = (ask.prefer, endpoint.max_block_range) else { return true };
        let tried = ask.tried.iter().filter_map(|&tried| self.endpoint(tried).max_block_range);
        tried.max().is_none_or(|largest| range > largest)
    }
}

fn may_panic(ask: &Ask<'_>) -> bool {
    let unsafe_write = ask.request.write && !ask.request.idempotent && ask.prior_sent;
    !ask.hedge && !unsafe_write
}

impl Endpoint {
    /// Whether it said that it doesn't support a method of the request.
    pub(super) fn is_banned(&self, request: &RequestFacts, now: Tick) -> bool {
        request.has_method(|method| self.bans.is_banned(method, now))
    }
}
