//! An upstream: a pool of endpoints with the policies that choose among them.
//!
//! It belongs to one generation and never changes; what does change (statistics, limiters, connections) is
//! behind handles that the next generation takes over. [`select`] is steps 3 and 4 of a request's life, [`settle`]
//! is step 6: the only place where an attempt ends.

mod build;
mod endpoint;
mod limiter;
mod select;
mod settle;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

pub use build::Resources;
pub use endpoint::{Endpoint, Exclusion};
pub use limiter::Limiter;
pub use settle::Attempt;

use prometheus::IntGauge;

use crate::config::ChainId;
use crate::metrics::PolicySeries;
use crate::model::Backoff;
use crate::policy::Policy;
use crate::rpc::Refusal;

/// A named pool of endpoints.
pub struct Upstream {
    name: Arc<str>,
    endpoints: Vec<Endpoint>,
    scoring: Option<BoundPolicy>,
    retry: Option<BoundPolicy>,
    backoff: Backoff,
    max_attempts: u32,
    max_concurrency: usize,
    smoothing: f32,
    timeout: Duration,
    /// From the head of a request to its answer.
    pub deadline: Duration,
    /// Members that a batch may have.
    pub max_batch_size: usize,
    chain_id: Option<ChainId>,
    healthy: IntGauge,
    in_flight: Arc<AtomicUsize>,
}

/// A policy with its metrics.
#[derive(Clone)]
pub struct BoundPolicy {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Its metrics.
    pub series: Arc<PolicySeries>,
}

/// A place among the requests that are under way. Dropping it frees the place.
pub struct Admission(Arc<AtomicUsize>);

impl Upstream {
    /// The name in the conf.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The endpoints in the order of the conf.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The policies in use: scoring, then retry.
    pub fn policies(&self) -> [Option<&BoundPolicy>; 2] {
        [self.scoring.as_ref(), self.retry.as_ref()]
    }

    /// How many endpoints are healthy and in rotation. Set at scrape time.
    pub fn healthy_gauge(&self) -> &IntGauge {
        &self.healthy
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Lets a request in, unless `max_concurrency` are under way.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`].
    pub fn admit(&self) -> Result<Admission, Refusal> {
        let before = self.in_flight.fetch_add(1, Relaxed);
        let admission = Admission(Arc::clone(&self.in_flight));
        if before < self.max_concurrency { Ok(admission) } else { Err(Refusal::Overloaded) }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
