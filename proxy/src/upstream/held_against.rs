//! The consequences of a failure for its endpoint: penalties, cooldowns, method bans.
//!
//! Invariant: a failure that the request may have provoked has no consequences on the evidence of
//! that request alone: see [`Blame`].

use std::time::Duration;

use super::{Case, Endpoint, Upstream};
use crate::clock;
use crate::model::{AttemptResult, Blame, CooldownWish, Decision, Elsewhere, Outcome, RpcError, Tick};

const OUTLIER: &str = "fails requests that other endpoints answer";
/// Method Not Allowed, Unsupported Media Type: the proxy chooses both the method and the type.
const NO_SUCH_METHOD: [u16; 2] = [405, 415];

impl Upstream {
    /// Applies a blame according to the fate of the request elsewhere.
    pub fn rule(&self, blame: &Blame, elsewhere: Elsewhere, now: Tick) {
        let endpoint = self.endpoint(blame.index);
        let answered = elsewhere == Elsewhere::Answered;
        // No evidence against it, and no other request was answered well.
        let is_alone = elsewhere == Elsewhere::Untried && !endpoint.stats.is_alive(now);
        if (answered || is_alone) && blame.decision.penalty_ms > 0.0 {
            endpoint.stats.fail(blame.decision.penalty_ms);
        }
        let wish =
            blame.decision.method_ban.max(if blame.is_failure() { self.settings.backoff.base } else { Duration::ZERO });
        if answered && endpoint.stats.bans.strike(&blame.method, wish, now) {
            self.log_ban(endpoint, &blame.method, wish);
        }
        if answered && blame.is_failure() {
            self.strike(endpoint, blame.client, now);
        }
        // Without probes, the lack of other successes is the evidence.
        let is_borne_out = is_alone || (answered && !endpoint.stats.is_alive(now));
        if !self.settings.probed && is_borne_out && blame.excludes() {
            // If no other endpoint was tried, one request isn't worth more than a backoff.
            let most = if answered { Duration::MAX } else { self.settings.backoff.max };
            let cooldown = match blame.decision.cooldown {
                CooldownWish::Fixed(asked) => CooldownWish::Fixed(asked.min(most)),
                wish => wish,
            };
            self.cool(endpoint, &Decision { cooldown, ..blame.decision }, blame.why(), now);
        }
    }

    /// Counts a request of `client` that another endpoint answered, and excludes this one for a
    /// time if they are too many, unless it is the last one.
    pub(super) fn strike(&self, endpoint: &Endpoint, client: u64, now: Tick) {
        let is_outlier = self.settings.exclude_outliers && endpoint.stats.outlier.strike(client, now);
        if is_outlier && self.has_others(endpoint, now) {
            let backoff = Decision { cooldown: CooldownWish::Backoff, ..Decision::RETURN };
            self.cool(endpoint, &backoff, ("outlier", OUTLIER, None), now);
        }
    }

    /// Bans a method that the endpoint doesn't support.
    pub(super) fn ban(&self, endpoint: &Endpoint, case: &Case<'_>, decision: &Decision) {
        let method = &case.request.shape.method;
        if lacks_method(case.result) && endpoint.stats.bans.ban(method, decision.method_ban, clock::now()) {
            self.log_ban(endpoint, method, decision.method_ban);
        }
    }

    /// Logs that a half-open endpoint passed its trial.
    pub(super) fn log_return(&self, endpoint: &Endpoint) {
        let (upstream, endpoint) = (&*self.name, &*endpoint.details.name);
        tracing::info!(upstream, endpoint, "endpoint gets requests again, a few at first");
    }

    pub(super) fn log_ban(&self, endpoint: &Endpoint, method: &str, duration: Duration) {
        tracing::info!(
            upstream = &*self.name,
            endpoint = &*endpoint.details.name,
            method,
            seconds = duration.as_secs_f64(),
            "endpoint isn't asked for this method"
        );
    }

    /// Records the latency of an attempt, and its success.
    pub(super) fn note(&self, endpoint: &Endpoint, blame: &Blame, began: Tick, now: Tick) {
        let Blame { decision, result, method, .. } = blame;
        // A timeout is a lower bound of the latency.
        if result.outcome == Outcome::Timeout || decision.success {
            endpoint.stats.record_latency(result.latency, self.settings.smoothing, now);
        }
        if decision.success && decision.penalty_ms <= 0.0 {
            endpoint.stats.succeed(blame.client, began, now);
            endpoint.stats.bans.succeed(method);
        }
    }

    /// Applies the penalty and the cooldown to the endpoint.
    pub(super) fn hold_against(&self, endpoint: &Endpoint, blame: &Blame, now: Tick) {
        if blame.decision.penalty_ms > 0.0 {
            endpoint.stats.fail(blame.decision.penalty_ms);
        }
        self.cool(endpoint, &blame.decision, blame.why(), now);
    }

    /// Starts the cooldown that the decision asks for. `why`: outcome, detail and HTTP status, for
    /// the log.
    pub(super) fn cool(&self, endpoint: &Endpoint, decision: &Decision, why: (&str, &str, Option<u16>), now: Tick) {
        let (outcome, detail, status) = why;
        let began_cooling = match decision.cooldown {
            CooldownWish::None => false,
            CooldownWish::Backoff => endpoint.stats.cooldown.back_off(now, self.settings.backoff, fastrand::f32()),
            CooldownWish::Fixed(duration) => endpoint.stats.cooldown.hold(now, duration),
        };
        if began_cooling {
            endpoint.details.series.cooldowns.inc();
            tracing::info!(
                upstream = &*self.name,
                endpoint = &*endpoint.details.name,
                outcome,
                detail,
                status,
                seconds = endpoint.stats.cooldown.remaining(now).unwrap_or_default().as_secs_f64(),
                "endpoint cools down"
            );
        }
    }
}

/// Whether the endpoint reports that it lacks the method; other errors may concern the parameters.
fn lacks_method(result: &AttemptResult) -> bool {
    let by_status = || result.http_status.is_some_and(|status| NO_SUCH_METHOD.contains(&status));
    result.rpc_error.as_ref().map_or_else(by_status, |error| error.code == RpcError::METHOD_NOT_FOUND)
}
