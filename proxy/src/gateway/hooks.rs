//! Pingora's hooks, in the order in which a request passes them.
//!
//! Every request that doesn't take the express lane comes here: over HTTP/1.1 with anything that
//! isn't plain, and over HTTP/2. A JSON-RPC request is answered from [`ProxyHttp::request_filter`]
//! by the engine, so its attempts and its response are those of the express lane. Any other request
//! goes on through the hooks; [`forward`](super::forward) has their substance.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::modules::http::compression::ResponseCompressionBuilder;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::ProxyService;
use super::alarm::Alarm;
use super::body;
use super::bounds::Bounds;
use super::compression::compress;
use super::ctx::RequestCtx;
use super::direction::{Direction, RpcRequest, direct, write_own};
use super::forward;
use super::framing::Framing;
use super::grpc;
use super::rpc::{self, Arrived};
use super::session::RpcSession;
use super::websocket;
use crate::clock;
use crate::config::Protocol;
use crate::jsonrpc::Refusal;
use crate::model::Buffered;

/// The proxy behind Pingora's sessions.
pub(super) struct Gateway(pub(super) Arc<ProxyService>);

/// A head of HTTP/1 on its way to Pingora.
pub(super) struct HandedOver {
    pub(super) framing: Framing,
    pub(super) bounds: Bounds,
    pub(super) shutdown: ShutdownWatch,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestCtx;

    /// A request takes the serving generation, and keeps it to its end.
    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(&self.0)
    }

    /// The compression is off until a response is to be compressed.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(ResponseCompressionBuilder::enable(0));
    }

    /// Takes the facts that the strict reading of an HTTP/1 head gave.
    fn on_connection_reuse(&self, _: &mut Session, ctx: &mut RequestCtx, given: Box<dyn Any + Send + Sync>) {
        if let Ok(head) = given.downcast::<HandedOver>() {
            (ctx.framing, ctx.bounds, ctx.shutdown) = (Some(head.framing), Some(head.bounds), Some(head.shutdown));
        }
    }

    /// Answers a JSON-RPC request; prepares any other one for its pool.
    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        let session = session.as_downstream_mut();
        match direct(session, ctx).await {
            Ok(Direction::Own(answer)) => write_own(session, ctx, answer).await,
            Ok(Direction::Rpc(request)) => answer(&self.0.buffered, session, ctx, request).await,
            Ok(Direction::Forward(forwarded)) => {
                ctx.forwarded = Some(forwarded);
                Ok(false)
            }
            Err(refusal) => refuse(session, ctx, &refusal).await,
        }
    }

    /// Chooses the endpoint of the next attempt.
    async fn upstream_peer(&self, _: &mut Session, ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
        match &mut ctx.forwarded {
            Some(forwarded) => forwarded.next_peer(ctx.bounds.as_ref(), &mut ctx.trace).await,
            None => Err(Error::explain(ErrorType::InternalError, "a request without a pool")),
        }
    }

    /// Ends an attempt that couldn't connect.
    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut RequestCtx, e: Box<Error>) -> Box<Error> {
        let retries = ctx.forwarded.as_mut().is_some_and(|forwarded| forwarded.fail_to_connect(&e, &mut ctx.trace));
        with_retry(e, retries)
    }

    /// Writes the request as the endpoint gets it.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.forwarded.as_ref().map_or(Ok(()), |forwarded| forwarded.direct(session, request, ctx))
    }

    /// Counts the body of the request.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        match &mut ctx.forwarded {
            Some(forwarded) if !session.was_upgraded() => forwarded.count(body.as_ref()),
            _ => Ok(()),
        }
    }

    /// Judges the head of the response, before any of it is passed on.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let replayable = !session.as_ref().retry_buffer_truncated();
        let Some(forwarded) = &mut ctx.forwarded else { return Ok(()) };
        forwarded.judge(head, replayable, &mut ctx.trace)?;
        if let (Some(endpoint), Some(bounds), Some(shutdown)) =
            (forwarded.opens(head), &ctx.bounds, ctx.shutdown.take())
        {
            session.set_read_timeout(None);
            bounds.open(websocket::tunnel(Arc::clone(&self.0.published), shutdown, endpoint));
        }
        Ok(())
    }

    /// Judges the trailers of the response, before they are passed on.
    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if let Some(forwarded) = &mut ctx.forwarded {
            forwarded.judge_trailers(trailers, &mut ctx.trace);
        }
        Ok(())
    }

    /// Adds to the response what its route adds, and lets it be compressed.
    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if !head.status.is_informational() {
            ctx.complete(&session.req_header().headers, head);
            if let Some(level) = ctx.upstream.as_ref().and_then(|upstream| upstream.settings().compression_level) {
                compress(session, head, level.get());
            }
        }
        Ok(())
    }

    /// Ends an attempt that broke.
    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        ctx: &mut RequestCtx,
        reused: bool,
    ) -> Box<Error> {
        let (bounds, trace) = (ctx.bounds.as_ref(), &mut ctx.trace);
        let retries =
            ctx.forwarded.as_mut().is_some_and(|forwarded| forwarded.fail(session, bounds, (&e, reused), trace));
        with_retry(e, retries)
    }

    /// Refuses a request that has no response, unless there is nobody to read it.
    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut RequestCtx) -> FailToProxy {
        let refusal = ctx.forwarded.as_ref().map(|forwarded| forwarded.refusal());
        let is_late = refusal.as_ref().is_some_and(|refusal| *refusal == Refusal::Stalled);
        if let Some(refusal) = refusal.filter(|_| is_late || *e.esource() != ErrorSource::Downstream)
            && session.response_written().is_none()
        {
            session.set_keepalive(None);
            // A client that is gone doesn't matter.
            let _ = forward::refuse(session.as_downstream_mut(), ctx, &refusal).await;
        }
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    /// Pingora's own messages hold addresses; the access log has one line for each request.
    fn suppress_error_log(&self, _: &Session, _: &RequestCtx, _: &Error) -> bool {
        true
    }

    /// The same for a try that is followed by another one.
    fn suppress_proxy_warn_log(&self, _: &Session, _: &RequestCtx, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    /// Ends the request: settles its last attempt, writes the access log line, records the metrics.
    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut RequestCtx) {
        if let Some(forwarded) = &mut ctx.forwarded {
            forwarded.end(e, &mut ctx.trace);
            ctx.status = session.response_written().map(|head| head.status);
        }
        self.0.log(ctx);
    }
}

/// Reads and answers a JSON-RPC request.
async fn answer(
    buffered: &Arc<Buffered>,
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    request: RpcRequest,
) -> Result<bool> {
    let RpcRequest { upstream, http, headers, framing } = request;
    let mut alarm = Alarm::new(clock::now());
    let body = body::read(buffered, session, ctx, &mut alarm, &framing).await;
    let mut client = rpc_session(session, ctx);
    match body.and_then(|body| Arrived { upstream, http, headers, body }.inspect(buffered, ctx)) {
        Ok(prepared) => prepared.answer(&mut client, ctx).await?,
        Err(refusal) => rpc::refuse(&mut client, ctx, &refusal, None).await?,
    }
    Ok(true)
}

/// Refuses a request in the form of its pool's protocol.
async fn refuse(session: &mut ServerSession, ctx: &mut RequestCtx, why: &Refusal) -> Result<bool> {
    let is_http = ctx.upstream.as_ref().is_some_and(|upstream| upstream.settings().protocol == Protocol::Http);
    match is_http || grpc::is_grpc_call(session.req_header()) {
        true => forward::refuse(session, ctx, why).await?,
        false => rpc::refuse(&mut rpc_session(session, ctx), ctx, why, None).await?,
    }
    Ok(true)
}

fn rpc_session<'s>(session: &'s mut ServerSession, ctx: &RequestCtx) -> RpcSession<'s> {
    RpcSession { session, route: ctx.route.map(|id| (Arc::clone(&ctx.snapshot), id)) }
}

fn with_retry(mut error: Box<Error>, retries: bool) -> Box<Error> {
    error.set_retry(retries);
    error
}
