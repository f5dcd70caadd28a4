//! What an endpoint is asked by a health check, and what a good answer is.

use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use crate::client::{Target, probe};
use crate::config::{HealthCheck, ProbeKind};
use crate::model::ProbeFailure;

/// Asks within `budget`. Gives the head, where the answer tells it.
///
/// # Errors
/// Why the endpoint isn't fit.
pub(super) async fn ask(
    target: &Arc<Target>,
    check: &HealthCheck,
    budget: Duration,
) -> Result<Option<u64>, ProbeFailure> {
    match &check.probe {
        ProbeKind::Path { path, status } => probe::get(target, path, *status, budget).await.map(|()| None),
        ProbeKind::Method(method) => match probe::call(target, method, budget).await {
            Ok(result) => Chain::read_probe(method, &result),
            // Nobody chose the method: an endpoint that lacks it answers, and that is all that can
            // be asked of it.
            Err(ProbeFailure::NO_METHOD) if check.implied => Ok(None),
            Err(failure) => Err(failure),
        },
    }
}
