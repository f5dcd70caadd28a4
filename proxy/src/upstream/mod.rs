//! An upstream: a pool of endpoints, and the policies that choose among them.
//!
//! It belongs to one generation and is immutable; mutable state (statistics, limiters, connections,
//! the retry budget) is behind handles that the next generation takes over. [`select`] is step 3
//! of a request's life, with the host's rules in [`candidates`]; [`settle`] is step 5: the only
//! place where an attempt ends. [`deciders`] holds the policies.

mod admission;
mod build;
mod canary;
mod candidates;
mod deciders;
mod doubts;
mod endpoint;
mod explain;
#[cfg(test)]
pub(crate) mod fixture;
mod guarded_policy;
mod held_against;
mod limiter;
mod method_latencies;
mod retry;
mod select;
mod selection;
mod settings;
mod settle;
mod shadow;
mod tunnels;

use std::sync::Arc;
use std::time::Duration;

pub use admission::{Admission, Ticket, Waiting};
pub use build::{CanarySpec, Policies, Resources};
pub use canary::{Canary, CanaryState, ComparisonCounts, Watched, Why};
pub use doubts::{Doubt, Doubts};
pub use endpoint::{Endpoint, Exclusion};
pub use explain::Explained;
pub use guarded_policy::GuardedPolicy;
pub use limiter::Limiter;
pub use selection::{Case, Extra, Selection};
pub use settings::Settings;
pub use settle::Attempt;
pub use shadow::{Comparer, Disagreement, Shadow, ShadowQueue, ShadowStats, shadows};
pub use tunnels::TunnelPlace;

use admission::Queue;
use candidates::Draw;
use deciders::Deciders;
use method_latencies::MethodLatencies;
use tunnels::Tunnels;

use crate::metrics::UpstreamSeries;
use crate::model::{RequestFacts, RetryBudget};

/// A named pool of endpoints.
pub struct Upstream {
    name: Arc<str>,
    endpoints: Vec<Endpoint>,
    draw: Option<Draw>,
    settings: Settings,
    deciders: Deciders,
    doubts: Arc<Doubts>,
    live: Arc<Live>,
    series: Arc<UpstreamSeries>,
}

/// The state that each generation takes over from the previous one.
#[derive(Default)]
struct Live {
    queue: Queue,
    budget: RetryBudget,
    latencies: MethodLatencies,
    tunnels: Tunnels,
}

impl Upstream {
    /// The name in the conf.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Takes the latency of an answer to a method.
    #[cfg(test)]
    pub(crate) fn record_latency(&self, method: &str, latency: Duration) {
        self.live.latencies.record(method, latency);
    }

    /// Whether a read has waited far longer than nearly all answers to its method took.
    pub fn is_overdue(&self, request: &RequestFacts, waited: Duration) -> bool {
        !request.shape.is_batch() && self.live.latencies.is_overdue(&request.shape.method, waited)
    }

    /// The endpoints in the order of the conf.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Whether this generation of the upstream has the endpoint at `index` of another one.
    pub fn has_endpoint_of(&self, other: &Upstream, index: u32) -> bool {
        let url = &other.endpoint(index).details.url;
        self.endpoints.iter().any(|endpoint| endpoint.details.url == *url)
    }

    /// The settings that apply to every request.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a request would get an endpoint: a healthy one, or the least bad.
    pub fn serves(&self) -> bool {
        self.endpoints.iter().any(|endpoint| !endpoint.is_forbidden())
    }

    /// Its metrics.
    pub fn series(&self) -> &UpstreamSeries {
        &self.series
    }
}
