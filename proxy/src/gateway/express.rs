//! The express lane: a plain request is read from its connection and answered on it directly.
//!
//! It saves the session of Pingora, which prepares for everything that HTTP/1.1 allows. A plain
//! request is a POST over HTTP/1.1 to a JSON-RPC route that changes no headers, with one
//! `Content-Length` and nothing that needs more than a body and a response: no `Upgrade`, `Expect`
//! or `Origin`, no coding. Any other request goes to Pingora from its first byte on
//! ([`hooks`](super::hooks)).
//!
//! Invariant: both lanes give the same bytes, apart from `Date`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::protocols::Stream;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::accepted::Accepted;
use super::alarm::Alarm;
use super::body::read_rest;
use super::ctx::RequestCtx;
use super::downstream::{Downstream, ResponseHead};
use super::framing::BodyLength;
use super::head::drain;
use super::path::normalise;
use super::raw_head::RawHead;
use super::rpc::{self, Arrived};
use crate::config::{ClientKeySource, Protocol};
use crate::jsonrpc::whole_secs;
use crate::model::{Buffered, HttpFacts};
use crate::snapshot::{Route, Target};
use crate::upstream::Upstream;

/// Capacity for a response's head: all of ours are shorter.
const HEAD_BYTES: usize = 320;

/// A plain request, as far as its head describes it.
pub(super) struct Plain {
    upstream: Arc<Upstream>,
    http: HttpFacts,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Length of the head.
    head: usize,
    /// Length of the body.
    body: usize,
}

impl Plain {
    /// The request with this head, if it is plain.
    pub(super) fn of(head: &RawHead<'_>, ctx: &RequestCtx) -> Option<Self> {
        let server = &ctx.snapshot.config.server;
        let BodyLength::Bytes(body) = head.framing.body else { return None };
        let (line, fields) = (&head.line, &head.fields);
        // The key may be in any header, of which few are read here, or in the certificate.
        let is_keyed = server.client_key_source != ClientKeySource::Address;
        let odd = is_keyed || fields.upgrades || fields.has_origin || fields.expect.value.is_some() || !line.knows_11;
        if !server.express_lane || line.method != "POST" || odd || body > server.max_body {
            return None;
        }
        let path = line.target.split('?').next().filter(|path| path.starts_with('/') && path.is_ascii())?;
        let Ok(Cow::Borrowed(path)) = normalise(path) else { return None };
        let route = ctx.snapshot.route(fields.host.value, path).filter(|route| is_plain(route))?;
        let Target::Upstream(target) = &route.target else { return None };
        let accepted = Accepted::of(fields);
        if !accepted.json && !target.accept_any_content_type {
            return None;
        }
        let headers = accepted.forwarded.ok()?;
        let http = HttpFacts::json_rpc().at(path).of_host(fields.host_hash());
        Some(Plain { upstream: Arc::clone(&target.upstream), http, headers, head: head.length, body })
    }

    /// Reads the rest of the request and answers it. `bytes` begin with its head. Returns the bytes
    /// that follow it, if the connection is kept.
    pub(super) async fn serve(
        self,
        buffered: &Arc<Buffered>,
        stream: &mut Stream,
        bytes: BytesMut,
        ctx: &mut RequestCtx,
        alarm: &mut Alarm,
        may_follow: bool,
    ) -> Option<BytesMut> {
        let mut client = Express { stream, next: bytes, kept: may_follow, chunked: false };
        match self.take(buffered, &mut client, ctx, alarm).await {
            Ok(()) if client.kept => Some(client.next),
            Ok(()) => {
                drain(client.stream).await;
                None
            }
            // The client went away, or the response broke off.
            Err(_) => None,
        }
    }

    async fn take(
        self,
        buffered: &Arc<Buffered>,
        client: &mut Express<'_>,
        ctx: &mut RequestCtx,
        alarm: &mut Alarm,
    ) -> Result<()> {
        let Plain { upstream, http, headers, head, body } = self;
        ctx.upstream = Some(Arc::clone(&upstream));
        drop(client.next.split_to(head));
        let read = read_rest(buffered, client.stream, &mut client.next, ctx, alarm, body).await;
        if read.is_err() {
            // The rest of the body would be read as a request.
            client.close();
        }
        match read.and_then(|body| Arrived { upstream, http, headers, body }.inspect(buffered, ctx)) {
            Ok(prepared) => prepared.answer(client, ctx).await,
            Err(refusal) => rpc::refuse(client, ctx, &refusal, None).await,
        }
    }
}

/// Whether the route's requests and responses pass as they are.
fn is_plain(route: &Route) -> bool {
    let changes_nothing = route.cors.is_none() && route.response_headers.is_empty();
    changes_nothing
        && matches!(&route.target, Target::Upstream(target) if target.request_headers.is_empty()
            && target.upstream.settings().protocol == Protocol::JsonRpc)
}

/// The client's side of a plain request.
struct Express<'s> {
    stream: &'s mut Stream,
    /// Bytes that were read and belong to no request yet.
    next: BytesMut,
    /// The connection is kept after the response.
    kept: bool,
    /// The response is sent in chunks.
    chunked: bool,
}

impl Downstream for Express<'_> {
    async fn write_head(&mut self, head: ResponseHead) -> Result<()> {
        self.chunked = head.content_type.is_some() && head.length.is_none();
        let bytes = render(&head, self.kept);
        self.stream.write_all(&bytes).await.map_err(broken)?;
        // Otherwise the head leaves with the body.
        if head.content_type.is_none() { self.stream.flush().await.map_err(broken) } else { Ok(()) }
    }

    async fn write_body(&mut self, bytes: Bytes, last: bool) -> Result<()> {
        if self.chunked && !bytes.is_empty() {
            let size = format!("{:X}\r\n", bytes.len());
            self.stream.write_all(size.as_bytes()).await.map_err(broken)?;
        }
        self.stream.write_all(&bytes).await.map_err(broken)?;
        if self.chunked {
            let end: &[u8] = match (bytes.is_empty(), last) {
                (false, false) => b"\r\n",
                (false, true) => b"\r\n0\r\n\r\n",
                (true, true) => b"0\r\n\r\n",
                (true, false) => b"",
            };
            self.stream.write_all(end).await.map_err(broken)?;
        }
        self.stream.flush().await.map_err(broken)
    }

    async fn gone(&mut self) -> Box<Error> {
        // The beginning of the next request: its client waits for this response.
        if !self.next.is_empty() {
            return std::future::pending().await;
        }
        match self.stream.read_buf(&mut self.next).await {
            Ok(0) => Error::new(ErrorType::ConnectionClosed),
            Ok(_) => std::future::pending().await,
            Err(error) => Error::because(ErrorType::ReadError, "while the client waits", error),
        }
    }

    fn close(&mut self) {
        self.kept = false;
    }
}

fn broken(error: std::io::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, "while the response is sent", error)
}

/// The head as bytes: the fields and their order are those of [`session`](super::session).
fn render(head: &ResponseHead, kept: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    let reason = head.status.canonical_reason().unwrap_or_default();
    put(&[b"HTTP/1.1 ", head.status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    if let Some(content_type) = &head.content_type {
        put(&[b"content-type: ", content_type.as_bytes(), b"\r\n"]);
    }
    put(&[b"x-content-type-options: nosniff\r\n"]);
    match head.length {
        _ if head.content_type.is_none() => {}
        Some(length) => put(&[b"content-length: ", itoa::Buffer::new().format(length).as_bytes(), b"\r\n"]),
        None => put(&[b"transfer-encoding: chunked\r\n"]),
    }
    if head.status == StatusCode::METHOD_NOT_ALLOWED {
        put(&[b"allow: POST\r\n"]);
    }
    if let Some(after) = head.retry_after {
        put(&[b"retry-after: ", itoa::Buffer::new().format(whole_secs(after)).as_bytes(), b"\r\n"]);
    }
    with_date(|date| put(&[b"date: ", date.as_bytes(), b"\r\n"]));
    put(&[b"connection: ", if kept { b"keep-alive" } else { b"close" }, b"\r\n\r\n"]);
    out
}

/// The date of this second, formatted once.
fn with_date(used: impl FnOnce(&str)) {
    thread_local!(static DATE: RefCell<(u64, String)> = RefCell::default());
    DATE.with_borrow_mut(|(second, text)| {
        let now = SystemTime::now();
        let this = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if *second != this || text.is_empty() {
            (*second, *text) = (this, httpdate::fmt_http_date(now));
        }
        used(text);
    });
}
