//! Whether requests get an endpoint, for load balancers.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::Snapshot;
use crate::model::Tick;
use crate::upstream::Upstream;

/// The state of all upstreams together.
#[derive(Debug, Default, Serialize)]
pub struct Health {
    /// `ok`, `degraded` or `down`.
    pub status: &'static str,
    /// Upstreams that refuse all of their requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<String>,
    /// Upstreams whose endpoints are all unfit. The least bad of them serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Policies in quarantine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies_quarantined: Vec<String>,
}

impl Snapshot {
    /// Reports whether requests get an endpoint.
    pub fn health(&self, now: Tick) -> Health {
        let unfit = self.upstreams().filter(|u| u.endpoints().iter().all(|e| e.exclusion(now).is_some()));
        let (degraded, unavailable): (Vec<_>, Vec<_>) = unfit.partition(|upstream| upstream.serves());
        let names = |upstreams: Vec<&'_ Arc<Upstream>>| -> Vec<String> {
            upstreams.into_iter().map(|upstream| upstream.name().to_string()).collect()
        };
        let status = match (degraded.is_empty(), unavailable.is_empty()) {
            (_, false) => "down",
            (false, true) => "degraded",
            (true, true) => "ok",
        };
        let quarantined = self.policies.iter().filter(|(_, bound)| bound.quarantine().is_active());
        Health {
            status,
            unavailable: names(unavailable),
            degraded: names(degraded),
            policies_quarantined: quarantined.map(|(name, _)| name.clone()).collect(),
        }
    }
}

impl Health {
    /// 503 means that all requests of some upstream are refused. A degraded upstream still serves,
    /// and a load balancer that took the proxy away would only make it worse. A policy in
    /// quarantine costs no answers, either.
    pub fn code(&self) -> StatusCode {
        if self.unavailable.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }
}
