//! An upstream: a pool of endpoints with the policies that choose among them.
//!
//! It belongs to one generation and never changes; what does change (statistics, limiters, connections, the retry budget) is
//! behind handles that the next generation takes over. [`select`] is steps 3 and 4 of a request's life, with the host's rules in
//! [`candidates`]; [`settle`] is step 6: the only place where an attempt ends.

mod admission;
mod build;
mod canary;
mod candidates;
mod doubts;
mod endpoint;
mod explain;
mod guarded_policy;
mod limiter;
mod select;
mod selection;
mod settle;
mod shadow;

use std::sync::Arc;
use std::time::Duration;

pub use admission::{Admission, Place, Waiting};
pub use build::{Candidate, Policies, Resources};
pub use canary::{Canary, Standing, TrialCounts, Watched, Why};
pub use doubts::{Doubt, Doubts};
pub use endpoint::{Endpoint, Exclusion};
pub use explain::Explained;
pub use guarded_policy::GuardedPolicy;
pub use limiter::Limiter;
pub use selection::{Case, Extra, Selection};
pub use settle::Attempt;
pub use shadow::{Comparer, Disagreement, Shadow, ShadowQueue, Tally, shadows};

use admission::Queue;
use candidates::Draw;

use crate::config::ChainId;
use crate::metrics::UpstreamSeries;
use crate::model::{Backoff, BudgetLimits, MethodLatencies, Methods, RetryBudget};

/// A named pool of endpoints.
pub struct Upstream {
    name: Arc<str>,
    endpoints: Vec<Endpoint>,
    draw: Option<Draw>,
    scoring: Option<GuardedPolicy>,
    retry: Option<GuardedPolicy>,
    shadow: Option<Arc<Shadow>>,
    canary: Option<Canary>,
    methods: Methods,
    backoff: Backoff,
    budget: BudgetLimits,
    max_attempts: u32,
    max_concurrency: usize,
    queue_timeout: Duration,
    smoothing: f32,
    timeout: Duration,
    policy_time_budget: Duration,
    /// From the body of a request to its answer.
    pub deadline: Duration,
    /// Members that a batch may have.
    pub max_batch_size: usize,
    chain_id: Option<ChainId>,
    /// Its endpoints have health checks.
    probed: bool,
    doubts: Arc<Doubts>,
    live: Arc<Live>,
    series: UpstreamSeries,
}

/// What one generation takes over from the other.
#[derive(Default)]
struct Live {
    queue: Queue,
    budget: RetryBudget,
    latencies: MethodLatencies,
}

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
    pub fn policies(&self) -> [Option<&GuardedPolicy>; 2] {
        [self.scoring.as_ref(), self.retry.as_ref()]
    }

    /// The policy that it tries without effect.
    pub fn shadow(&self) -> Option<&Shadow> {
        self.shadow.as_deref()
    }

    /// The policy that decides a share of its requests, or did.
    pub fn canary(&self) -> Option<&Canary> {
        self.canary.as_ref()
    }

    /// Watches a request whose turn has come, while a canary decides some of them. `seed` is the request's.
    pub fn watch(&self, seed: u64) -> Option<Watched<'_>> {
        self.canary.as_ref()?.watch(seed)
    }

    /// Which of its methods change something.
    pub fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Whether a request would get an endpoint: one that is fit, or the least bad.
    pub fn serves(&self) -> bool {
        self.endpoints.iter().any(|endpoint| !endpoint.is_forbidden())
    }

    /// Its metrics.
    pub fn series(&self) -> &UpstreamSeries {
        &self.series
    }
}
