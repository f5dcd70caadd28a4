//! Counts of requests that arrived at origins.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Arrivals at any origin by request id.
pub struct Ledger(Vec<AtomicU32>);

impl Ledger {
    /// Creates a ledger for the ids below `requests`.
    pub fn new(requests: usize) -> Ledger {
        Ledger((0..requests).map(|_| AtomicU32::new(0)).collect())
    }

    /// Counts a completely received request. Ids of health checks are ignored.
    pub fn arrived(&self, id: usize) {
        if let Some(arrivals) = self.0.get(id) {
            arrivals.fetch_add(1, Relaxed);
        }
    }

    /// Returns the number of arrivals of this request.
    pub fn arrivals(&self, id: usize) -> u32 {
        self.0.get(id).map_or(0, |arrivals| arrivals.load(Relaxed))
    }
}
