//! The HTTP side: Pingora's hooks, in the order in which Pingora calls them.
//!
//! The JSON-RPC data path answers inside of `proxy_upstream_filter` and tells Pingora not to go on: only so can an answer
//! of status 200 that holds an error be retried, a body of any size be sent again, and one deadline hold over all attempts.

mod ctx;
mod downstream;
mod heads;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::clock;
use crate::logging::AccessLog;
use crate::metrics::Metrics;
use crate::model::method_label;
use crate::rpc::{Call, Refusal, Reply, Trace, engine};
use crate::snapshot::Published;
use crate::upstream::{Admission, Attempt, Place, Upstream};
pub use ctx::RequestCtx;
use downstream::{read_request, respond, respond_refusal, set_limits, until_gone};
pub use heads::TimedHeads;

/// The proxy's service: what every request needs, shared by the worker threads.
pub struct ProxyService {
    /// The generations.
    pub published: Arc<Published>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Where requests are logged.
    pub access: Arc<AccessLog>,
    /// Requests between `new_ctx` and the end of their answer: what a shutdown waits for.
    pub in_flight: Arc<AtomicUsize>,
}

#[async_trait]
impl ProxyHttp for ProxyService {
    type CTX = RequestCtx;

    /// A request's head was read. It holds this generation to its end.
    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(self.published.load(), &self.in_flight)
    }

    /// No modules: the default one would compress.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Keepalive and timeouts, on every request: Pingora has none after a connection's first.
    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut RequestCtx) -> Result<()> {
        set_limits(session);
        Ok(())
    }

    /// Routes, reads and inspects the request; what is wrong with it is answered here.
    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        match read_request(session, ctx).await {
            Ok(()) => Ok(false),
            Err(refusal) => respond_refusal(session, ctx, &refusal, None).await.map(|()| true),
        }
    }

    /// Runs the attempts and answers. Pingora's own way to an endpoint is never taken.
    async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        let Some((upstream, call)) = ctx.upstream.clone().zip(ctx.call.take()) else {
            return Err(Error::explain(ErrorType::InternalError, "a request without an upstream"));
        };
        let (place, admission, trace) = (ctx.place.take(), &mut ctx.admission, &mut ctx.trace);
        let answer = tokio::select! {
            biased;
            answer = serve(&upstream, place, admission, &call, trace) => Ok(answer),
            gone = until_gone(session) => Err(gone),
        };
        match answer? {
            Ok(reply) => respond(session, ctx, &call, reply).await,
            Err(refusal) => respond_refusal(session, ctx, &refusal, Some(&call.outgoing.expected)).await,
        }
        .map(|()| false)
    }

    /// Never called: see `proxy_upstream_filter`.
    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
        Err(Error::explain(ErrorType::InternalError, "the JSON-RPC path chooses its endpoints itself"))
    }

    /// The client went away, or an answer broke off half way: nothing more can be said on this connection.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        session.set_keepalive(None);
        if session.response_written().is_none() && *error.etype() == ErrorType::InternalError {
            // A client that is gone, too, doesn't get it.
            let _ = respond_refusal(session, ctx, &Refusal::EndpointsFailed, None).await;
        }
        FailToProxy { error_code: ctx.status.map_or(0, |s| s.as_u16()), can_reuse_downstream: false }
    }

    /// A client that goes away is no error of ours.
    fn suppress_error_log(&self, _session: &Session, _ctx: &RequestCtx, error: &Error) -> bool {
        *error.etype() != ErrorType::InternalError
    }

    /// One line in the access log, and the metrics.
    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut RequestCtx) {
        let latency = clock::now().since(ctx.began);
        let status = ctx.status.map_or(ctx::STATUS_CLIENT_GONE, |status| status.as_u16());
        let (method, seconds) = (method_label(&ctx.method), latency.as_secs_f64());
        match &ctx.upstream {
            Some(upstream) => upstream.series().count_request(method, status, seconds),
            None => self.metrics.count_stray(method, status, seconds),
        }
        if AccessLog::is_wanted() {
            self.access.append(&ctx.access_line(session, status, latency));
        }
    }
}

/// Waits for the request's turn and runs its attempts.
async fn serve(
    upstream: &Arc<Upstream>,
    place: Option<Place>,
    admission: &mut Option<Admission>,
    call: &Call,
    trace: &mut Trace,
) -> std::result::Result<Reply<Attempt>, Refusal> {
    if let Some(place) = place {
        *admission = Some(place.turn().await?);
    }
    let watched = upstream.watch(call.facts.seed);
    let answer = engine::run(upstream, call, trace).await;
    if let Some(watched) = watched {
        watched.end(!trace.given_up, trace.attempts);
    }
    answer
}
