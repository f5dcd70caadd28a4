//! Attempts beyond a request's first: what they cost, and what they prove.

use crate::model::{Elsewhere, Tick};
use crate::upstream::{Extra, Upstream};

/// The retry budget as one request draws on it. The first attempt after a doubtful endpoint is the
/// proxy's own doing, and costs the client nothing.
#[derive(Default)]
pub(super) struct Spending {
    /// One attempt was free.
    excused: bool,
}

impl Spending {
    /// Whether another attempt is allowed. `doubtful`: the last endpoint was known to be.
    pub(super) fn allows(&self, upstream: &Upstream, doubtful: bool, client: u64, now: Tick) -> bool {
        self.is_free(doubtful) || upstream.has_budget(client, now)
    }

    /// Records another attempt.
    pub(super) fn spend(&mut self, upstream: &Upstream, extra: Extra, doubtful: bool, client: u64) {
        let free = self.is_free(doubtful);
        self.excused |= free;
        upstream.spend(extra, (!free).then_some(client));
    }

    fn is_free(&self, doubtful: bool) -> bool {
        doubtful && !self.excused
    }
}

/// The fate of a request at the other endpoints, of which one `answered` or not, after all
/// `failures`.
pub(super) fn elsewhere(answered: bool, failures: u32) -> Elsewhere {
    match (answered, failures) {
        (true, _) => Elsewhere::Answered,
        (false, ..2) => Elsewhere::Untried,
        (false, _) => Elsewhere::Failed,
    }
}
