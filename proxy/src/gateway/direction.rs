//! Where a request in Pingora's session goes, by its head.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;

use super::accepted::Accepted;
use super::cors;
use super::ctx::RequestCtx;
use super::fields::Fields;
use super::forward::{Forwarded, Kind, Place};
use super::framing::{BodyLength, Framing, announced};
use super::grpc;
use super::own_answers::{OwnAnswer, own_answer};
use super::path::normalise;
use super::session::set_limits;
use super::websocket;
use crate::clock;
use crate::config::Protocol;
use crate::jsonrpc::Refusal;
use crate::model::{HttpFacts, host_hash};
use crate::snapshot::{Headers, Route, Target, UpstreamTarget};
use crate::upstream::Upstream;

/// The outcome in the access log of an answer without an endpoint.
const OWN: &str = "own_answer";

/// Where a request goes.
pub(super) enum Direction {
    /// To nobody: this is its answer.
    Own(OwnAnswer),
    Rpc(RpcRequest),
    Forward(Box<Forwarded>),
}

/// A JSON-RPC request whose body is to be read.
pub(super) struct RpcRequest {
    pub(super) upstream: Arc<Upstream>,
    pub(super) http: HttpFacts,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) framing: Framing,
}

/// Checks the head, finds out who the client is, and which route its request takes.
///
/// # Errors
/// The refusal for the client.
pub(super) async fn direct(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
) -> std::result::Result<Direction, Refusal> {
    let head = session.req_header();
    let framing = match ctx.framing {
        Some(framing) => framing,
        None => framing_of_stream(&Fields::of_map(&head.headers))?,
    };
    identify(session, ctx);
    set_limits(session, framing.may_follow);
    let head = session.req_header();
    let path = normalise(head.uri.path())?.into_owned();
    let snapshot = Arc::clone(&ctx.snapshot);
    let route = snapshot.route(host(head), &path).ok_or(Refusal::NoRoute)?;
    ctx.route = Some(route.id);
    if let Some(answer) = own_answer(route, &head.method, &head.headers, || snapshot.health(clock::now())) {
        ctx.method = head.method.as_str().to_owned();
        return Ok(Direction::Own(answer));
    }
    let Target::Upstream(target) = &route.target else { return Err(Refusal::NoRoute) };
    ctx.upstream = Some(Arc::clone(&target.upstream));
    match kind(head, target) {
        Some(kind) => forward(session, ctx, route, kind, &path, &framing).await,
        None => rpc(head, target, &path, framing).map(Direction::Rpc),
    }
}

/// The kind of a request that streams through; `None` for one that the engine answers.
fn kind(head: &RequestHeader, target: &UpstreamTarget) -> Option<Kind> {
    let settings = target.upstream.settings();
    let is_http = settings.protocol == Protocol::Http;
    match websocket::is_handshake(head) {
        true => Some(Kind::WebSocket { whole: !is_http }),
        false if settings.http2 && grpc::is_grpc_call(head) => {
            Some(Kind::Call { timeout: grpc::timeout(&head.headers) })
        }
        false => is_http.then_some(Kind::Http),
    }
}

async fn forward(
    session: &mut ServerSession,
    ctx: &mut RequestCtx,
    route: &Route,
    kind: Kind,
    path: &str,
    framing: &Framing,
) -> std::result::Result<Direction, Refusal> {
    let head = session.req_header();
    ctx.batch_size = 1;
    ctx.method = match kind {
        Kind::Http | Kind::Call { .. } => head.method.as_str().to_owned(),
        Kind::WebSocket { .. } => websocket::METHOD.to_owned(),
    };
    let may_open = match (kind, &route.cors) {
        (Kind::Http | Kind::Call { .. }, _) => true,
        (Kind::WebSocket { .. }, Some(cors)) => cors::may_upgrade(cors, &head.headers),
        // Any page could use the nodes: browsers ask no permission. Other services see the origin.
        (Kind::WebSocket { whole }, None) => !(whole && head.headers.contains_key(header::ORIGIN)),
    };
    if !may_open {
        return Err(Refusal::ForbiddenOrigin);
    }
    let place = Place { path, host: hash_of_host(head) };
    let rewritten = route.upstream_path(path).into_owned();
    let Target::Upstream(target) = &route.target else { return Err(Refusal::NoRoute) };
    let upstream = Arc::clone(&target.upstream);
    let forwarded = Forwarded::begin(upstream, session, kind, &place, rewritten, framing, ctx).await?;
    Ok(Direction::Forward(Box::new(forwarded)))
}

fn rpc(
    head: &RequestHeader,
    target: &UpstreamTarget,
    path: &str,
    framing: Framing,
) -> std::result::Result<RpcRequest, Refusal> {
    let accepted = Accepted::of(&Fields::of_map(&head.headers));
    if head.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    if !target.accept_any_content_type && !accepted.json {
        return Err(Refusal::NotJsonType);
    }
    let mut headers = accepted.forwarded?;
    target.request_headers.apply(&mut headers);
    let http = HttpFacts::json_rpc().at(path).of_host(hash_of_host(head));
    Ok(RpcRequest { upstream: Arc::clone(&target.upstream), http, headers, framing })
}

fn identify(session: &ServerSession, ctx: &mut RequestCtx) {
    let Some(peer) = session.client_addr().and_then(|address| address.as_inet()).copied() else { return };
    let tls = session.digest().and_then(|digest| digest.ssl_digest.clone());
    let certificate = tls.as_ref().map(|tls| &*tls.cert_digest).filter(|digest| !digest.is_empty());
    ctx.identify(peer, &session.req_header().headers, certificate);
    ctx.tls = tls.is_some();
}

/// The host: of HTTP/2, the authority.
pub(super) fn host(head: &RequestHeader) -> Option<&[u8]> {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    authority.or_else(|| head.headers.get(header::HOST).map(HeaderValue::as_bytes))
}

fn hash_of_host(head: &RequestHeader) -> u64 {
    host(head).and_then(|host| std::str::from_utf8(host).ok()).map_or(0, host_hash)
}

/// The framing of an HTTP/2 request, which its stream ends.
fn framing_of_stream(fields: &Fields<'_>) -> std::result::Result<Framing, Refusal> {
    let body = match fields.content_length.value {
        Some(_) if fields.content_length.repeated => {
            return Err(Refusal::Malformed("Content-Length stands there twice"));
        }
        Some(length) => BodyLength::Bytes(announced(length)?),
        None => BodyLength::Stream,
    };
    Ok(Framing { may_follow: true, body, expects_continue: false })
}

/// Writes an answer without an endpoint.
///
/// # Errors
/// When the client is gone.
pub(super) async fn write_own(session: &mut ServerSession, ctx: &mut RequestCtx, answer: OwnAnswer) -> Result<bool> {
    let OwnAnswer { status, headers, body } = answer;
    (ctx.status, ctx.refusal) = (Some(status), Some(OWN));
    let mut head = ResponseHeader::build_no_case(status, Some(headers.len() + 3))?;
    headers.iter().for_each(|(name, value)| head.append(name, value));
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    session.write_response_header(Box::new(head)).await?;
    session.write_response_body(body, true).await?;
    Ok(true)
}
