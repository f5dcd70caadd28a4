//! Which requests arrived at origins, and how often.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Arrivals at any origin by request id.
pub struct Ledger(Vec<AtomicU32>);

impl Ledger {
    /// For the ids below `requests`.
    pub fn new(requests: usize) -> Ledger {
        Ledger((0..requests).map(|_| AtomicU32::new(0)).collect())
    }

    /// A request has arrived whole. Ids that the client didn't give, as health checks have, are
    /// nobody's.
    pub fn arrived(&self, id: usize) {
        if let Some(arrivals) = self.0.get(id) {
            arrivals.fetch_add(1, Relaxed);
        }
    }

    /// How often this request arrived.
    pub fn arrivals(&self, id: usize) -> u32 {
        self.0.get(id).map_or(0, |arrivals| arrivals.load(Relaxed))
    }
}
