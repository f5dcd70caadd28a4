//! Shadow policy results: counts, and the last disagreements with their inputs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::metrics::ShadowSeries;
use crate::model::rank_correlation;
use crate::policy::abi::{EndpointRow, RequestBlock};
use crate::upstream::select::best;

/// Maximum number of stored disagreements. Each has the rows of all candidates.
const KEPT: usize = 16;

/// The results of one upstream's shadow, over all generations that have it.
pub(super) struct Record {
    series: Arc<ShadowSeries>,
    /// Outside the lock, which requests must not wait for.
    dropped: AtomicU64,
    stats: Mutex<ShadowStats>,
}

/// The results so far.
#[derive(Clone, Default)]
pub struct ShadowStats {
    /// The number of requests that both policies scored.
    pub compared: u64,
    /// The number of requests for which both put the same endpoint first.
    pub agreed: u64,
    /// The number of the shadow's calls that faulted.
    pub faults: u64,
    /// The number of sampled requests that it didn't score: the queue was full, or its instance was
    /// being replaced after a fault.
    pub dropped: u64,
    correlated: u64,
    correlations: f64,
    /// The last disagreements, the oldest first; at most 16.
    pub disagreements: VecDeque<Arc<Disagreement>>,
}

/// A request that two policies scored.
pub struct Pair {
    /// The request.
    pub request: RequestBlock,
    /// The candidates.
    pub rows: Vec<EndpointRow>,
    /// The live policy's scores.
    pub live: Vec<f64>,
    /// The shadow's scores.
    pub shadow: Vec<f64>,
    /// The names of all endpoints, by index.
    pub endpoints: Arc<[Arc<str>]>,
}

/// A request for which the two put different endpoints first.
pub struct Disagreement {
    /// The inputs and the scores.
    pub pair: Pair,
    /// The position of the live policy's first choice; `None` if it left out all.
    pub live_choice: Option<usize>,
    /// The position of the shadow's first choice.
    pub shadow_choice: Option<usize>,
}

impl Record {
    pub(super) fn new(series: Arc<ShadowSeries>) -> Self {
        Record { series, dropped: AtomicU64::new(0), stats: Mutex::default() }
    }

    pub(super) fn stats(&self) -> ShadowStats {
        ShadowStats { dropped: self.dropped.load(Relaxed), ..self.lock().clone() }
    }

    pub(super) fn drop_one(&self) {
        self.series.dropped.inc();
        self.dropped.fetch_add(1, Relaxed);
    }

    pub(super) fn called(&self, took: Duration) {
        self.series.duration.observe(took.as_secs_f64());
    }

    pub(super) fn fault(&self) {
        self.series.faults.inc();
        self.lock().faults += 1;
    }

    pub(super) fn compare(&self, pair: Pair) {
        let choice = |scores: &[f64]| best(scores, pair.request.seed);
        let (live_choice, shadow_choice) = (choice(&pair.live), choice(&pair.shadow));
        let correlation = rank_correlation(&pair.live, &pair.shadow);
        self.series.compared.inc();
        correlation.iter().for_each(|correlation| self.series.correlation.observe(*correlation));
        let agree = live_choice == shadow_choice;
        if agree {
            self.series.agreed.inc();
        }
        let disagreement = (!agree).then(|| Arc::new(Disagreement { pair, live_choice, shadow_choice }));
        self.lock().add(correlation, disagreement);
    }

    fn lock(&self) -> MutexGuard<'_, ShadowStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShadowStats {
    /// The share of compared requests for which both put the same endpoint first, 0 to 1; `None`
    /// before the first.
    pub fn agreement_rate(&self) -> Option<f64> {
        (self.compared > 0).then(|| self.agreed as f64 / self.compared as f64)
    }

    /// The mean of the rank correlations, -1 to 1; `None` before the first request whose scores
    /// have an order.
    pub fn mean_correlation(&self) -> Option<f64> {
        (self.correlated > 0).then(|| self.correlations / self.correlated as f64)
    }

    fn add(&mut self, correlation: Option<f64>, disagreement: Option<Arc<Disagreement>>) {
        self.compared += 1;
        self.correlated += u64::from(correlation.is_some());
        self.correlations += correlation.unwrap_or(0.0);
        let Some(disagreement) = disagreement else {
            self.agreed += 1;
            return;
        };
        if self.disagreements.len() == KEPT {
            self.disagreements.pop_front();
        }
        self.disagreements.push_back(disagreement);
    }
}

impl Pair {
    /// The name of the endpoint of the row at `position`.
    pub fn endpoint(&self, position: usize) -> &str {
        let index = self.rows.get(position).map(|row| row.index as usize);
        index.and_then(|index| self.endpoints.get(index)).map_or("", |name| name)
    }

    /// The first 64 bytes of the method.
    pub fn method(&self) -> String {
        let method = self.request.method.get(..self.request.method_len as usize).unwrap_or_default();
        String::from_utf8_lossy(method).into_owned()
    }
}
