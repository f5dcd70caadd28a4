//! A limit on how long a new connection may be silent before its first head is there, which Pingora offers no other place to set.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::ProxyService;
use super::downstream::{KEEPALIVE_SECS, READ_TIMEOUT};

/// Pingora's proxy, whose clients may not connect and be silent.
pub struct TimedHeads(pub Arc<HttpProxy<ProxyService>>);

#[async_trait]
impl HttpServerApp for TimedHeads {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // Pingora gives a new connection a keepalive of its own; ours tells one that has had a request before.
        if session.get_keepalive() != Some(KEEPALIVE_SECS) {
            session.set_keepalive(Some(READ_TIMEOUT.as_secs()));
        }
        self.0.process_new_http(session, shutdown).await
    }

    async fn http_cleanup(&self) {
        self.0.http_cleanup().await;
    }
}
