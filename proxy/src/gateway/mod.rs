//! The HTTP side: what becomes of a client's connection, request by request.
//!
//! Pingora speaks HTTP; the requests are answered here, and not by `pingora_proxy`: only so can an
//! answer of status 200 that holds an error be retried, a body of any size be sent again, and one
//! deadline hold over all attempts. Its hooks for a path that is never taken would cost each
//! request a future of 16 KiB. Connections are accepted here, too, so that each stays with one
//! thread ([`Acceptor`]).

mod accepted;
mod alarm;
mod body;
mod chunked;
mod connections;
mod ctx;
mod downstream;
mod fields;
mod framing;
mod head;
mod path;
mod sending;
mod workers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use pingora::protocols::Stream;
use pingora::protocols::http::{ReusableHttpStream, ServerSession};
use pingora::server::ShutdownWatch;
use pingora::{Error, Result};

use crate::chain::method_label;
use crate::clock;
use crate::config::ClientKey;
use crate::engine::{self, Call, Reply, Trace};
use crate::jsonrpc::Refusal;
use crate::logging::AccessLog;
use crate::metrics::Metrics;
use crate::model::{Buffered, Held};
use crate::snapshot::Published;
use crate::upstream::{Ticket, Upstream};
use alarm::Alarm;
pub use connections::{ConnectionCount, Connections, Full, Most};
pub use ctx::RequestCtx;
use downstream::{
    Head, begin, parse_head, read_request, release_endless, respond, respond_refusal, set_limits, until_gone,
};
use head::{Arrival, Entrance, HeadLimits, turn_away};
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
    /// The clients.
    pub connections: Arc<Connections>,
    /// What requests hold in memory.
    pub buffered: Arc<Buffered>,
    /// What clients' addresses are hashed with, unless the conf has a secret for it.
    client_key: ClientKey,
}

impl ProxyService {
    /// A service without clients.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new(published: Arc<Published>, metrics: Arc<Metrics>, access: Arc<AccessLog>) -> io::Result<Self> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(ProxyService {
            published,
            connections: Connections::new(Arc::clone(&metrics)),
            metrics,
            access,
            in_flight: Arc::default(),
            buffered: Arc::default(),
            client_key: ClientKey(key),
        })
    }

    /// A client's connection: its requests, one after the other, until one of both sides ends it.
    pub async fn converse(self: Arc<Self>, mut stream: Stream, seat: ConnectionCount, shutdown: ShutdownWatch) {
        let mut alarm = Alarm::new(clock::now().after(HeadLimits::USUAL.head));
        let mut entrance = Entrance { stream: &mut stream, seat: &seat, alarm: &mut alarm, limits: &HeadLimits::USUAL };
        let mut arrival = entrance.first().await;
        loop {
            let (bytes, bare_lf) = match arrival {
                Arrival::Whole { bytes, bare_lf } => (bytes, bare_lf),
                Arrival::Nothing => return,
                Arrival::Refused(why) => return Box::pin(turn_away(&mut stream, &why)).await,
            };
            let mut session = ServerSession::new_http1(stream);
            begin(&mut session, bytes);
            let Some(head) = parse_head(&mut session, &mut alarm, bare_lf).await else { return };
            // A process that ends keeps no connection.
            let may_follow = head.as_ref().is_ok_and(Head::may_follow) && !*shutdown.borrow();
            set_limits(&mut session, may_follow);
            // It holds this generation to its end.
            let mut ctx = RequestCtx::new(&self);
            let answered = match head {
                // Boxed, so that a connection that waits for its next request has no room for it.
                Ok(head) => Box::pin(answer(&self.buffered, &mut session, &mut ctx, &mut alarm, head)).await,
                Err(refusal) => Box::pin(respond_refusal(&mut session, &mut ctx, &refusal, None)).await,
            };
            self.log(&session, &ctx);
            // A client that went away, or an answer that broke off half way: nothing more can be
            // said on this connection.
            if answered.is_err() {
                return;
            }
            let endless = ctx.endless;
            drop(ctx);
            // In place: another function would move the session, which is large, twice more.
            let reusable = match endless {
                false => session.finish().await.ok().flatten().map(ReusableHttpStream::into_parts),
                true => Box::pin(release_endless(session)).await,
            };
            let Some(reusable) = reusable else { return };
            let beginning;
            (stream, beginning) = reusable;
            let mut entrance =
                Entrance { stream: &mut stream, seat: &seat, alarm: &mut alarm, limits: &HeadLimits::USUAL };
            arrival = entrance.next(beginning.unwrap_or_default()).await;
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
async fn answer(
    buffered: &Arc<Buffered>,
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    alarm: &mut Alarm,
    head: Head,
) -> Result<()> {
    let (upstream, call) = match read_request(buffered, session, ctx, alarm, head).await {
        Ok(request) => request,
        Err(refusal) => return respond_refusal(session, ctx, &refusal, None).await,
    };
    // Until the endpoint has said all.
    let mut admission = None;
    let answer = tokio::select! {
        biased;
        answer = serve(&upstream, &mut admission, &call, &mut ctx.trace) => Ok::<_, Box<Error>>(answer),
        gone = until_gone(session) => Err(gone),
    };
    match answer? {
        Ok(reply) => {
            // A client that reads slowly doesn't keep the memory of its request.
            drop(call);
            ctx.held = Held::default();
            respond(session, ctx, reply, admission).await
        }
        Err(refusal) => {
            drop(admission);
            respond_refusal(session, ctx, &refusal, Some(&call.outgoing.expected)).await
        }
    }
}

/// Finds the request a place, which it has only now that it is complete; waits for its turn and
/// runs its attempts.
async fn serve(
    upstream: &Arc<Upstream>,
    admission: &mut Option<Ticket>,
    call: &Call,
    trace: &mut Trace,
) -> std::result::Result<Reply, Refusal> {
    *admission = Some(upstream.enter()?.turn().await?);
    let watched = upstream.watch(call.facts.seed);
    let answer = engine::run(upstream, call, trace).await;
    if let Some(watched) = watched {
        watched.end(!trace.given_up, trace.attempts);
    }
    answer
}
