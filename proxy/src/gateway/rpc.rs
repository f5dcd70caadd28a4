//! A JSON-RPC request, whichever lane it came by: from its whole body to the end of its response.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::{Error, Result};

use super::ctx::RequestCtx;
use super::downstream::{Downstream, ResponseHead};
use super::sending::{JSON, Sending, json_type};
use crate::client::Outgoing;
use crate::clock;
use crate::engine::{self, Call, Reply, ReplyBody, Trace};
use crate::jsonrpc::{Expected, Inspected, Refusal, RequestWords, inspect};
use crate::model::{Buffered, Held, HttpFacts, PolicyTime, RequestFacts};
use crate::upstream::{Ticket, Upstream};

/// Bytes of a method name that are logged.
const LOGGED_METHOD: usize = 64;

/// The parts of a request, once its body has arrived.
pub(super) struct Arrived {
    pub(super) upstream: Arc<Upstream>,
    /// The facts from the head.
    pub(super) http: HttpFacts,
    /// The headers for the endpoint.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Arrived {
    /// Inspects the request.
    ///
    /// # Errors
    /// The refusal for the client.
    pub(super) fn inspect(self, buffered: &Arc<Buffered>, ctx: &mut RequestCtx) -> Result<Prepared, Refusal> {
        let Arrived { upstream, http, headers, body } = self;
        let (max_answer, max_buffered) = (ctx.snapshot.config.server.max_body, ctx.snapshot.config.server.max_buffered);
        let settings = upstream.settings();
        let inspected = inspect(&body, settings.max_batch_size, &settings.methods)?;
        // The copy exists before it is counted, but a worker makes only one at a time.
        let copied = inspected.renumbered.as_ref().map_or(0, Bytes::len);
        if copied > 0 && !ctx.held.cover(buffered, body.len() + copied, max_buffered) {
            return Err(Refusal::NoMemory);
        }
        ctx.method = inspected.shape.method[..inspected.shape.method.floor_char_boundary(LOGGED_METHOD)].to_owned();
        ctx.batch_size = inspected.shape.size();
        let mut call = good_call(settings.deadline, inspected, headers, body, max_answer, ctx.client_hash);
        call.facts.http = http;
        Ok(Prepared { upstream, call })
    }
}

fn good_call(
    deadline: Duration,
    inspected: Inspected,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    max_answer: usize,
    client_key: u64,
) -> Call {
    let resendable = inspected.shape.is_resendable();
    // The response to a renumbered batch is rebuilt.
    let whole = inspected.renumbered.is_some() && inspected.shape.is_batch();
    let facts = RequestFacts {
        shape: inspected.shape,
        http: HttpFacts::json_rpc(),
        body_bytes: body.len(),
        client_key,
        seed: fastrand::u64(..),
        deadline: clock::now().after(deadline),
        policy_time: PolicyTime::default(),
    };
    let outgoing = Outgoing {
        body: inspected.renumbered.unwrap_or(body),
        headers,
        expected: inspected.expected,
        resendable,
        max_answer,
        whole,
        words: RequestWords::default(),
    };
    Call { facts, outgoing }
}

/// A request that can be sent.
pub(super) struct Prepared {
    upstream: Arc<Upstream>,
    call: Call,
}

impl Prepared {
    /// Runs the request's attempts and sends the response.
    ///
    /// # Errors
    /// When the client is gone, or the response can't be completed.
    pub(super) async fn answer(self, client: &mut impl Downstream, ctx: &mut RequestCtx) -> Result<()> {
        let Prepared { upstream, call } = self;
        // Held until the endpoint has sent its whole response.
        let mut admission = None;
        let answer = tokio::select! {
            biased;
            answer = serve(&upstream, &mut admission, &call, &mut ctx.trace) => Ok::<_, Box<Error>>(answer),
            gone = client.gone() => Err(gone),
        };
        match answer? {
            Ok(reply) => {
                // A slow reader doesn't keep its request's memory.
                drop(call);
                ctx.held = Held::default();
                respond(client, ctx, reply, admission).await
            }
            Err(refusal) => {
                drop(admission);
                refuse(client, ctx, &refusal, Some(&call.outgoing.expected)).await
            }
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

/// Forwards an endpoint's response. `place` is the request's under `max_concurrency`.
async fn respond(
    client: &mut impl Downstream,
    ctx: &mut RequestCtx,
    reply: Reply,
    place: Option<Ticket>,
) -> Result<()> {
    let content_type = json_type(reply.content_type);
    ctx.status = Some(reply.status);
    match reply.body {
        ReplyBody::Whole(body) => {
            drop(place);
            write_whole(client, reply.status, content_type, reply.retry_after, body).await
        }
        ReplyBody::Streaming(body) => {
            let head = ResponseHead {
                content_type: Some(content_type),
                length: body.length,
                ..ResponseHead::without_body(reply.status)
            };
            let mut sending = Sending::new(client, place);
            sending.begin(head).await?;
            sending.pass_on(*body).await
        }
    }
}

/// Refuses a request. `answer` holds the ids for the error, if the request was valid.
pub(super) async fn refuse(
    client: &mut impl Downstream,
    ctx: &mut RequestCtx,
    why: &Refusal,
    answer: Option<&Expected>,
) -> Result<()> {
    ctx.status = Some(why.status());
    ctx.refusal = Some(why.label());
    // The end of the body is unknown: the bytes that follow can't be parsed as a request.
    if matches!(why, Refusal::Stalled | Refusal::BrokenBody | Refusal::Malformed(_)) {
        client.close();
    }
    write_whole(client, why.status(), JSON, why.retry_after(), why.render(answer)).await
}

async fn write_whole(
    client: &mut impl Downstream,
    status: StatusCode,
    content_type: HeaderValue,
    retry_after: Option<Duration>,
    body: Bytes,
) -> Result<()> {
    let mut sending = Sending::new(client, None);
    if status == StatusCode::NO_CONTENT {
        return sending.begin(ResponseHead::without_body(status)).await;
    }
    let head = ResponseHead { status, content_type: Some(content_type), length: Some(body.len()), retry_after };
    sending.begin(head).await?;
    sending.finish(body).await
}
