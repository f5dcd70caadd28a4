//! The operator's side: health, status, metrics, explanations, reload and rollback over HTTP.
//!
//! All data comes from the serving snapshot, and endpoints appear by name: no response holds a URL.

mod connections;
mod explain;
mod guard;
mod request;
mod server;
mod shadow;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;

use crate::clock;
use crate::metrics::Metrics;
use crate::model::{HealthState, Tick};
use crate::report::{ReloadReport, UnderWay};
use crate::snapshot::Published;
use crate::text;
use crate::upstream::{CanaryState, Endpoint};
use connections::OpenConnection;
use explain::ExplainQuery;
pub use explain::{ExplainedEndpoint, Explanation, ImaginedRequest, Inputs};
use request::{Head, Refused};
pub use server::AdminServer;
pub use shadow::{Disagreement, ScoredEndpoint, ShadowStatus, Shadows};
pub use status::{ArmStatus, CanaryStatus, EndpointStatus, PolicyStatus, Status, UpstreamStatus};

/// Requests a reload or rollback and waits for its report. `None` means that the process is about
/// to exit.
#[async_trait]
pub trait Reload: Send + Sync {
    /// Publishes the files on disk.
    async fn reload(&self) -> Option<ReloadReport>;
    /// Publishes the previous generation again.
    async fn rollback(&self) -> Option<ReloadReport>;
    /// The preparation in progress.
    fn under_way(&self) -> Option<UnderWay>;
}

/// The admin service.
pub struct AdminService {
    /// The published generations.
    pub published: Arc<Published>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Carries out reloads and rollbacks.
    pub reload: Box<dyn Reload>,
}

/// The paths that change state, by POST.
const CHANGES: [&str; 2] = ["/reload", "/rollback"];
/// The message for other paths.
const NOT_FOUND: &str = "there are /health, /status, /metrics, /explain, /shadow and, with POST, /reload and /rollback";

/// The challenge for a request without the token (RFC 6750).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"pointsman admin\"");

type Answer = Response<Vec<u8>>;

impl AdminService {
    /// Refuses an unauthorized request before any more of it is read.
    fn check(&self, head: &Head) -> Result<(), Refused> {
        // A load balancer's health check has no token, and may use any name for this host.
        if head.path == "/health" {
            return Ok(());
        }
        guard::check(head, &self.published.load().config.admin)?;
        if CHANGES.contains(&head.path.as_str()) { guard::check_change(head) } else { Ok(()) }
    }

    async fn answer(&self, head: &Head, seat: &OpenConnection<'_>) -> Answer {
        match (&head.method, head.path.as_str()) {
            (&Method::GET | &Method::HEAD, "/health") => self.health(),
            (&Method::GET, "/status") => json(StatusCode::OK, &self.status()),
            (&Method::GET, "/metrics") => self.metrics(),
            (&Method::GET, "/explain") => self.explain(&head.query),
            (&Method::GET, "/shadow") => self.shadow(&head.query),
            (&Method::POST, path) if CHANGES.contains(&path) => self.change(path, seat).await,
            (_, "/health" | "/status" | "/metrics" | "/explain" | "/shadow") => not_allowed("GET"),
            (_, path) if CHANGES.contains(&path) => not_allowed("POST"),
            _ => error(StatusCode::NOT_FOUND, NOT_FOUND),
        }
    }

    async fn change(&self, path: &str, seat: &OpenConnection<'_>) -> Answer {
        let Some(_waiting) = seat.wait() else {
            return error(StatusCode::SERVICE_UNAVAILABLE, "too many wait for a reload or rollback already");
        };
        reported(if path == "/reload" { self.reload.reload().await } else { self.reload.rollback().await })
    }

    fn health(&self) -> Answer {
        let health = self.published.load().health(clock::now());
        json(health.code(), &health)
    }

    fn status(&self) -> Status {
        Status { reload: self.reload.under_way(), ..Status::of(&self.published.load(), clock::now()) }
    }

    fn explain(&self, query: &str) -> Answer {
        let answer = ExplainQuery::parse(query).and_then(|q| q.answer(&self.published.load(), clock::now()));
        match answer {
            Ok(explanation) => json(StatusCode::OK, &explanation),
            Err(why) => error(StatusCode::BAD_REQUEST, &why),
        }
    }

    fn shadow(&self, query: &str) -> Answer {
        match Shadows::answer(query, &self.published.load()) {
            Ok(shadows) => json(StatusCode::OK, &shadows),
            Err(why) => error(StatusCode::BAD_REQUEST, &why),
        }
    }

    fn metrics(&self) -> Answer {
        let (snapshot, now) = (self.published.load(), clock::now());
        for upstream in snapshot.upstreams() {
            let healthy = upstream.endpoints().iter().filter(|e| e.weight() > 0 && e.health_state().is_good()).count();
            upstream.series().healthy.set(i64::try_from(healthy).unwrap_or(i64::MAX));
            upstream.endpoints().iter().for_each(|endpoint| set_gauges(endpoint, now));
            if let Some(canary) = upstream.canary() {
                canary.series().running.set(i64::from(*canary.state() == CanaryState::Running));
            }
        }
        for bound in snapshot.policies.values() {
            bound.series.quarantined.set(i64::from(bound.quarantine().is_active()));
        }
        answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render())
    }
}

fn reported(report: Option<ReloadReport>) -> Answer {
    match report {
        Some(report) if report.success => json(StatusCode::OK, &report),
        Some(report) if report.nothing_kept => json(StatusCode::CONFLICT, &report),
        Some(report) if report.stuck => json(StatusCode::SERVICE_UNAVAILABLE, &report),
        Some(report) => json(StatusCode::UNPROCESSABLE_ENTITY, &report),
        None => error(StatusCode::SERVICE_UNAVAILABLE, "the process is about to end"),
    }
}

fn set_gauges(endpoint: &Endpoint, now: Tick) {
    let (series, health) = (endpoint.series(), endpoint.health());
    let cooling = endpoint.stats().cooldown.remaining(now).unwrap_or_default();
    series.available.set(i64::from(endpoint.exclusion(now).is_none()));
    series.cooldown_seconds.set(cooling.as_secs_f64());
    series.head_lag_blocks.set(health.head_lag().map_or(f64::NAN, |blocks| blocks as f64));
    series.wrong_chain.set(i64::from(endpoint.health_state() == HealthState::WrongChain));
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let mut shown = text::json(&serde_json::to_string_pretty(body).unwrap_or_default()).into_owned();
    shown.push('\n');
    answer(status, "application/json", shown.into_bytes())
}

fn error(status: StatusCode, message: &str) -> Answer {
    json(status, &serde_json::json!({ "error": message }))
}

fn refusal(refused: &Refused) -> Answer {
    let mut answer = error(refused.status, &refused.why);
    if refused.status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    answer
}

fn not_allowed(method: &'static str) -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, &format!("use {method}"));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(method));
    answer
}

/// Builds a response. None of them allows another site's page to read it.
fn answer(status: StatusCode, content_type: &str, body: Vec<u8>) -> Answer {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, body.len())
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header("cross-origin-resource-policy", "same-origin");
    // The parts above are constants and numbers: they always make a valid response.
    response.body(body).unwrap_or_default()
}
