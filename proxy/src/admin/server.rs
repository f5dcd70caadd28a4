//! The connections of the admin address: one request each, and a time limit for every step.
//!
//! A connection closes after its response. Keep-alive would gain nothing for a request every few
//! seconds, and bytes behind a request can never be taken for another one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode};
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::date::get_cached_date;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connections::{Connections, OpenConnection};
use super::request::{Head, Refused, end_of_head};
use super::{AdminService, Answer, refusal};

/// Time limit for a request head, from the start of the connection to the head's last byte.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Time limit for a request body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Time limit for a client to read its response. The metrics of a large conf are megabytes.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// How long bytes behind the request are read, so that the client gets its response and not a
/// reset.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// The largest head in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// The largest body in bytes. Bodies are discarded.
const BODY_BYTES: u64 = 64 << 10;

/// The admin service on its listeners.
pub struct AdminServer {
    service: AdminService,
    connections: Connections,
}

impl AdminServer {
    /// Serves `service`.
    pub fn new(service: AdminService) -> Self {
        AdminServer { service, connections: Connections::new() }
    }

    async fn converse(&self, stream: &mut Stream, seat: &OpenConnection<'_>) -> io::Result<()> {
        let (answer, method) = match read_head(stream).await? {
            None => return Ok(()),
            Some(Err(refused)) => (refusal(&refused), Method::GET),
            Some(Ok((head, read))) => (self.answer(&head, stream, read, seat).await?, head.method),
        };
        let sent = timeout(WRITE_TIME, send(stream, answer, &method)).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let _ = timeout(LINGER_TIME, discard(stream, BODY_BYTES)).await;
        Ok(())
    }

    /// Answers a request of whose body `read` bytes arrived with the head.
    async fn answer(
        &self,
        head: &Head,
        stream: &mut Stream,
        read: usize,
        seat: &OpenConnection<'_>,
    ) -> io::Result<Answer> {
        if let Err(refused) = self.service.check(head) {
            return Ok(refusal(&refused));
        }
        if head.body_bytes > BODY_BYTES {
            let why = format!("a request may have a body of {BODY_BYTES} bytes, and needs none");
            return Ok(refusal(&Refused::new(StatusCode::PAYLOAD_TOO_LARGE, why)));
        }
        let missing = head.body_bytes.saturating_sub(read as u64);
        if missing > 0 {
            if head.expects {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                stream.flush().await?;
            }
            if !timeout(BODY_TIME, discard(stream, missing)).await.is_ok_and(|whole| whole) {
                let why = "the body didn't come to its end in time";
                return Ok(refusal(&Refused::new(StatusCode::REQUEST_TIMEOUT, why)));
            }
        }
        Ok(self.service.answer(head, seat).await)
    }
}

#[async_trait]
impl ServerApp for AdminServer {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        let seat = self.connections.enter();
        tokio::select! {
            // A client that leaves before its response needs none.
            _ = self.converse(&mut stream, &seat) => {}
            () = seat.shed() => tracing::debug!("an admin connection made room for a newer one"),
        }
        None
    }
}

type ReadHead = Option<Result<(Head, usize), Refused>>;

/// A head, and the number of bytes that arrived behind it. `None` if the client sent nothing.
async fn read_head(stream: &mut Stream) -> io::Result<ReadHead> {
    let mut bytes = Vec::with_capacity(1 << 10);
    let refused = match timeout(HEAD_TIME, read_to_end_of_head(stream, &mut bytes)).await {
        Ok(Ok(Some(end))) => return Ok(Some(Head::parse(&bytes[..end]).map(|head| (head, bytes.len() - end)))),
        Ok(Ok(None)) => {
            let why = format!("a head may have {HEAD_BYTES} bytes");
            Refused::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why)
        }
        Ok(Err(_)) => return Ok(None),
        Err(_) if bytes.is_empty() => return Ok(None),
        Err(_) => Refused::new(StatusCode::REQUEST_TIMEOUT, "the head didn't come to its end in time"),
    };
    Ok(Some(Err(refused)))
}

/// Returns `None` if the head is too long.
async fn read_to_end_of_head(stream: &mut Stream, bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        let before = bytes.len();
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Only new bytes are searched: a head that arrives byte by byte costs no more than one that
        // arrives whole.
        match end_of_head(bytes, before) {
            Some(end) if end > HEAD_BYTES => return Ok(None),
            Some(end) => return Ok(Some(end)),
            None if bytes.len() >= HEAD_BYTES => return Ok(None),
            None => {}
        }
    }
}

/// Reads and discards `bytes` bytes. Returns whether that many arrived.
async fn discard(stream: &mut Stream, mut bytes: u64) -> bool {
    let mut piece = [0; 4 << 10];
    while bytes > 0 {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return false,
            Ok(count) => bytes = bytes.saturating_sub(count as u64),
        }
    }
    true
}

async fn send(stream: &mut Stream, answer: Answer, method: &Method) -> io::Result<()> {
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert(http::header::DATE, get_cached_date());
    parts.headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    if *method != Method::HEAD {
        bytes.extend(body);
    }
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    AsyncWriteExt::shutdown(stream).await
}
