//! Connections that speak HTTP/2: each stream is a request of Pingora's.
//!
//! Limits, against known attacks: streams at once (`MAX_STREAMS`), their resets before they are
//! served ("rapid reset", `MAX_RESETS`), the size of a request's headers, decoded (HPACK bombs,
//! CONTINUATION floods, `MAX_HEADERS`), bytes that a client may send ahead (`WINDOW`), bytes that
//! wait for a slow client (`SEND_BUFFER`), and the time of the handshake and of idleness.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora::protocols::{Digest, Stream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::connections::ConnectionCount;
use super::head::HeadLimits;
use crate::clock;

/// The beginning of a connection by prior knowledge (RFC 9113, section 3.4), as far as it looks
/// like a head.
pub(super) const PREFACE_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// Requests of one connection under way at once (nginx's and Envoy's order of magnitude).
const MAX_STREAMS: u32 = 128;
/// Streams that a client reset before they were served. One more ends the connection.
const MAX_RESETS: usize = 32;
/// Streams that the proxy reset because of the client's errors. One more ends the connection.
const MAX_ERRORS: usize = 128;
/// Requests whose head is malformed. One more ends the connection.
const MAX_REJECTED: usize = 32;
/// Bytes of a request's headers, as for HTTP/1.
const MAX_HEADERS: u32 = 64 << 10;
/// Bytes that a client may send of one body before they are read, and of all of them.
const WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one response that wait for the client.
const SEND_BUFFER: usize = 128 << 10;
/// Time for a client's first frames.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The requests under way on a connection.
struct Active {
    count: AtomicUsize,
    ended: Notify,
    seat: ConnectionCount,
}

/// A request under way, until it is dropped.
struct Request(Arc<Active>);

/// Serves a connection until either side ends it.
pub(super) async fn serve(connection: Connection, stream: Stream) {
    let Connection { proxy, seat, mut shutdown, .. } = connection;
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let Ok(Ok(mut streams)) = timeout(HANDSHAKE_TIMEOUT, handshake(stream, Some(options()))).await else { return };
    let active = Arc::new(Active { count: AtomicUsize::new(0), ended: Notify::new(), seat });
    let watched = shutdown.clone();
    let (mut draining, mut rejected) = (false, 0);
    loop {
        let is_idle = active.count.load(Relaxed) == 0;
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|ending| *ending), if !draining => {
                streams.graceful_shutdown();
                draining = true;
            }
            () = active.shed() => return,
            next = HttpSession::from_h2_conn(&mut streams, Arc::clone(&digest)) => match next {
                Ok(Some(H2Accept::Rejected)) => {
                    rejected += 1;
                    if rejected > MAX_REJECTED {
                        return;
                    }
                }
                Ok(Some(H2Accept::Session(session))) => {
                    let Some(request) = Request::begin(&active) else { return };
                    let (proxy, shutdown) = (Arc::clone(&proxy), watched.clone());
                    tokio::spawn(async move {
                        let _request = request;
                        proxy.process_new_http(ServerSession::new_http2(session), &shutdown).await;
                    });
                }
                Ok(None) | Err(_) => return,
            },
            () = active.ended.notified() => {}
            () = sleep(HeadLimits::USUAL.idle), if is_idle => return,
        }
    }
}

fn options() -> H2Options {
    let mut options = H2Options::new();
    options
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERRORS))
        .max_header_list_size(MAX_HEADERS)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

impl Active {
    /// Waits until the connection is shed.
    async fn shed(&self) {
        poll_fn(|cx| if self.seat.is_shed(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

impl Request {
    /// Counts a request; `None` if the connection was shed meanwhile.
    fn begin(active: &Arc<Active>) -> Option<Self> {
        active.count.fetch_add(1, Relaxed);
        active.seat.wake_up().then(|| Request(Arc::clone(active)))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Relaxed) == 1 {
            self.0.seat.rest(clock::now());
            self.0.ended.notify_one();
        }
    }
}
