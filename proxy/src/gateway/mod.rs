//! The HTTP side: the life of a client's connection, request by request.
//!
//! Pingora speaks HTTP; this module answers requests, not `pingora_proxy`: an engine of its own can
//! retry a 200 response that holds an error, resend a body of any size, and apply one deadline to
//! all attempts. Pingora's hooks, for a path that is never taken, would cost each request a future
//! of 16 KiB. Connections are accepted here, too, so that each stays on one thread ([`Acceptor`]).

mod accepted;
mod alarm;
mod body;
mod chunked;
pub mod client_identity;
mod connections;
pub mod cors;
mod ctx;
mod downstream;
mod fields;
pub mod forwarding;
mod framing;
mod head;
mod message_headers;
pub mod own_answers;
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

/// The proxy's service: the state that all requests share, on all worker threads.
pub struct ProxyService {
    /// The published generation.
    pub published: Arc<Published>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access: Arc<AccessLog>,
    /// Requests between their head and the end of their response. A shutdown waits for them.
    pub in_flight: Arc<AtomicUsize>,
    /// The client connections.
    pub connections: Arc<Connections>,
    /// Memory held by requests.
    pub buffered: Arc<Buffered>,
    /// The key that hashes client addresses, unless the conf has a secret for it.
    client_key: ClientKey,
}

impl ProxyService {
    /// A service without clients.
    ///
    /// # Errors
    /// When the system provides no random numbers.
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

    /// Serves a client's connection: its requests, one after the other, until either side ends it.
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
            // A process that shuts down keeps no connection alive.
            let may_follow = head.as_ref().is_ok_and(Head::may_follow) && !*shutdown.borrow();
            set_limits(&mut session, may_follow);
            // The request holds this generation to its end.
            let mut ctx = RequestCtx::new(&self);
            let answered = match head {
                // Boxed, so that an idle connection has no room for it.
                Ok(head) => Box::pin(answer(&self.buffered, &mut session, &mut ctx, &mut alarm, head)).await,
                Err(refusal) => Box::pin(respond_refusal(&mut session, &mut ctx, &refusal, None)).await,
            };
            self.log(&session, &ctx);
            // The client went away, or the response broke off: the connection can't carry another
            // response.
            if answered.is_err() {
                return;
            }
            let endless = ctx.endless;
            drop(ctx);
            // Inline: another function would move the session, which is large, twice more.
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

    /// Writes the access log line and records the metrics.
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

/// Reads the request, runs its attempts and sends the response.
///
/// # Errors
/// When the client is gone, or the response can't be completed.
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
    // Held until the endpoint has sent its whole response.
    let mut admission = None;
    let answer = tokio::select! {
        biased;
        answer = serve(&upstream, &mut admission, &call, &mut ctx.trace) => Ok::<_, Box<Error>>(answer),
        gone = until_gone(session) => Err(gone),
    };
    match answer? {
        Ok(reply) => {
            // A slow reader doesn't keep its request's memory.
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

/// Admits the request, now that it is complete; waits for its turn and runs its attempts.
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
