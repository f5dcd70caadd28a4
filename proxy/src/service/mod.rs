//! The HTTP side: what becomes of a client's connection, request by request.
//!
//! Pingora speaks HTTP; the requests are answered here, and not by `pingora_proxy`: only so can an answer of status 200 that holds an error
//! be retried, a body of any size be sent again, and one deadline hold over all attempts. Its hooks for a path that is never taken would cost
//! each request a future of 16 KiB. Connections are accepted here, too, so that each stays with one thread ([`Acceptor`]).

mod ctx;
mod downstream;
mod sending;
mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use pingora::apps::HttpPersistentSettings;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::{Error, Result};

use crate::clock;
use crate::logging::AccessLog;
use crate::metrics::Metrics;
use crate::model::method_label;
use crate::rpc::{Call, Refusal, Reply, Trace, engine};
use crate::snapshot::Published;
use crate::upstream::{Admission, Attempt, Place, Upstream};
pub use ctx::RequestCtx;
use downstream::{begin, read_head, read_request, respond, respond_refusal, set_limits, until_gone};
pub use workers::Acceptor;

/// The proxy's service: what every request needs, shared by the worker threads.
pub struct ProxyService {
    /// The generations.
    pub published: Arc<Published>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Where requests are logged.
    pub access: Arc<AccessLog>,
    /// Requests between their head and the end of their answer: what a shutdown waits for.
    pub in_flight: Arc<AtomicUsize>,
}

impl ProxyService {
    /// A client's connection: its requests, one after the other, until one of both sides ends it.
    pub async fn converse(self: Arc<Self>, stream: Stream, shutdown: ShutdownWatch) {
        let mut session = ServerSession::new_http1(stream);
        begin(&mut session);
        while read_head(&mut session).await {
            set_limits(&mut session, *shutdown.borrow());
            // It holds this generation to its end.
            let mut ctx = RequestCtx::new(self.published.load(), &self.in_flight);
            // Boxed, so that a connection that waits for its next request has no room for it.
            let answered = Box::pin(answer(&mut session, &mut ctx)).await;
            self.log(&session, &ctx);
            // A client that went away, or an answer that broke off half way: nothing more can be said on this connection.
            if answered.is_err() {
                return;
            }
            let mut settings = HttpPersistentSettings::for_session(&session);
            let Ok(Some(reusable)) = session.finish().await else { return };
            let (stream, beginning) = reusable.into_parts();
            session = ServerSession::new_http1(stream);
            if let Some(beginning) = beginning {
                settings.set_pipelined_prefix(beginning);
            }
            settings.apply_to_session(&mut session);
        }
    }

    /// One line in the access log, and the metrics.
    fn log(&self, session: &ServerSession, ctx: &RequestCtx) {
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

/// Reads the request, runs its attempts and answers it.
///
/// # Errors
/// When the client is gone, or the answer can't be sent to its end.
async fn answer(session: &mut ServerSession, ctx: &mut RequestCtx) -> Result<()> {
    let (upstream, place, call) = match read_request(session, ctx).await {
        Ok(request) => request,
        Err(refusal) => return respond_refusal(session, ctx, &refusal, None).await,
    };
    // Until the endpoint has said all.
    let mut admission = None;
    let answer = tokio::select! {
        biased;
        answer = serve(&upstream, place, &mut admission, &call, &mut ctx.trace) => Ok::<_, Box<Error>>(answer),
        gone = until_gone(session) => Err(gone),
    };
    match answer? {
        Ok(reply) => {
            let Call { facts, outgoing } = call;
            // A client that reads slowly doesn't keep the memory of its request.
            drop(outgoing);
            respond(session, ctx, &facts, reply, admission).await
        }
        Err(refusal) => {
            drop(admission);
            respond_refusal(session, ctx, &refusal, Some(&call.outgoing.expected)).await
        }
    }
}

/// Waits for the request's turn and runs its attempts.
async fn serve(
    upstream: &Arc<Upstream>,
    place: Place,
    admission: &mut Option<Admission>,
    call: &Call,
    trace: &mut Trace,
) -> std::result::Result<Reply<Attempt>, Refusal> {
    *admission = Some(place.turn().await?);
    let watched = upstream.watch(call.facts.seed);
    let answer = engine::run(upstream, call, trace).await;
    if let Some(watched) = watched {
        watched.end(!trace.given_up, trace.attempts);
    }
    answer
}
