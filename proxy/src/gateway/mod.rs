//! Clients: from an accepted connection to the end of each response.
//!
//! ```text
//! listener ─► worker ─► connection ─┬─ express lane ─┬─► JSON-RPC: engine ─► pool
//!                                   └─ ProxyHttp ────┘
//! ```
//!
//! Pingora's [`ProxyHttp`](pingora_proxy::ProxyHttp) hosts every kind of request ([`hooks`]). A
//! plain JSON-RPC request may take the express lane ([`express`]), which gives the same answers for
//! less. Connections are accepted here, so that each stays on one thread ([`Acceptor`]).

mod accepted;
mod alarm;
mod body;
mod body_pace;
mod bounds;
mod chunked;
mod client_identity;
mod compression;
mod connection;
mod connections;
mod cors;
mod ctx;
mod direction;
mod downstream;
mod express;
mod failure;
mod fields;
mod forward;
mod forwarding;
mod frames;
mod framing;
mod grpc;
mod handshakes;
mod head;
mod hooks;
mod http2;
mod listener;
mod message_headers;
mod own_answers;
mod path;
mod proxy_protocol;
mod raw_head;
mod rpc;
mod sending;
mod session;
mod tls_stream;
mod tunnel;
mod websocket;
mod workers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::chain::{OTHER, method_label};
use crate::clock;
use crate::config::ClientKey;
use crate::logging::AccessLog;
use crate::metrics::Metrics;
use crate::model::Buffered;
use crate::snapshot::Published;
pub use connection::Lanes;
pub use connections::{ConnectionCount, Connections, Full, Most};
pub use ctx::RequestCtx;
pub use workers::{Acceptor, Bound};

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

    /// Writes the access log line and records the metrics.
    fn log(&self, ctx: &RequestCtx) {
        let latency = clock::now().since(ctx.began);
        let status = ctx.status.map_or(ctx::STATUS_CLIENT_GONE, |status| status.as_u16());
        // The methods with a label are those of JSON-RPC.
        let method = if ctx.forwarded.is_some() { OTHER } else { method_label(&ctx.method) };
        let seconds = latency.as_secs_f64();
        match &ctx.upstream {
            Some(upstream) => upstream.series().count_request(method, status, seconds),
            None => self.metrics.count_stray(method, status, seconds),
        }
        if AccessLog::is_wanted() {
            self.access.append(&ctx.access_line(status, latency));
        }
    }
}
