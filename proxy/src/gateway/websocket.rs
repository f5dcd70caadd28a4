//! WebSocket connections: their handshake, and what ends them.
//!
//! The endpoint is chosen as for any request, and tried again elsewhere until one has answered the
//! handshake. Then the connection is a [`Tunnel`] to its end: it closes with status 1001 when the
//! process drains, and some time after a reload that removed its endpoint.

use std::sync::Arc;

use http::{HeaderMap, Method, Version, header};
use pingora::http::RequestHeader;
use pingora::server::ShutdownWatch;

use super::tunnel::{Ending, Tunnel, TunnelLimits};
use crate::snapshot::Published;
use crate::upstream::Upstream;

/// The method of a WebSocket connection in the log and for policies.
pub(super) const METHOD: &str = "websocket";

/// Whether the request is the handshake of a WebSocket connection (RFC 6455, section 4.1).
pub(super) fn is_handshake(head: &RequestHeader) -> bool {
    let has = |name, token: &[u8]| {
        let values = head.headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        values.map(<[u8]>::trim_ascii).any(|value| value.eq_ignore_ascii_case(token))
    };
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && has(header::UPGRADE, b"websocket")
        && has(header::CONNECTION, b"upgrade")
}

/// Removes the headers that are no business of a node's provider, as for JSON-RPC requests: cookies
/// and credentials are meant for the proxy, and so is the client's origin.
pub(super) fn keep_own_headers(headers: &mut HeaderMap) {
    const FORWARDED: [&str; 6] = ["user-agent", "traceparent", "tracestate", "x-request-id", "upgrade", "connection"];
    let is_own = |name: &str| FORWARDED.contains(&name) || name.starts_with("sec-websocket-");
    let others: Vec<_> = headers.keys().filter(|name| !is_own(name.as_str())).cloned().collect();
    for name in others {
        headers.remove(&name);
    }
}

/// The connection to the endpoint at `index` of `upstream`.
pub(super) fn tunnel(
    published: Arc<Published>,
    shutdown: ShutdownWatch,
    (upstream, index): (Arc<Upstream>, u32),
) -> Tunnel {
    let limits = upstream.settings().websocket;
    let ending: Ending = Box::pin(ending(published, shutdown, upstream, index));
    Tunnel::new(TunnelLimits { idle: limits.idle_timeout, ping: limits.ping_interval }, ending)
}

/// Waits until the process drains, or for `shutdown_grace` after a reload that removed the endpoint.
async fn ending(published: Arc<Published>, mut shutdown: ShutdownWatch, upstream: Arc<Upstream>, index: u32) {
    let removed = async {
        let mut generations = published.subscribe();
        while generations.changed().await.is_ok() {
            let serving = published.load();
            let now = serving.upstreams().find(|now| now.name() == upstream.name());
            if !now.is_some_and(|now| now.has_endpoint_of(&upstream, index)) {
                return tokio::time::sleep(serving.config.server.shutdown_grace).await;
            }
        }
    };
    tokio::select! {
        _ = shutdown.wait_for(|ending| *ending) => {}
        () = removed => {}
    }
}
