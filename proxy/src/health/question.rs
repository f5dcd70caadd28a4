//! The probe of a health check, and the check of its response.

use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use crate::client::{Target, probe};
use crate::config::{HealthCheck, ProbeKind};
use crate::model::ProbeFailure;

/// Probes `target` within `budget`. Returns the head, if the response has it.
///
/// # Errors
/// The reason why the endpoint isn't fit.
pub(super) async fn ask(
    target: &Arc<Target>,
    check: &HealthCheck,
    budget: Duration,
) -> Result<Option<u64>, ProbeFailure> {
    match &check.probe {
        ProbeKind::Path { path, status } => probe::get(target, path, *status, budget).await.map(|()| None),
        ProbeKind::Grpc(service) => probe::check_grpc(target, service, budget).await.map(|()| None),
        ProbeKind::Method(method) => match probe::call(target, method, budget).await {
            Ok(result) => Chain::read_probe(method, &result),
            // The method is a default, not the operator's choice: an endpoint that lacks it passes,
            // because it answered.
            Err(ProbeFailure::NO_METHOD) if check.implied => Ok(None),
            Err(failure) => Err(failure),
        },
    }
}
