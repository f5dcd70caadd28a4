//! A client that speaks HTTP/2 over TLS. Its calls block; its connection runs beside the origins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::client::Response;
use crate::http::Head;
use crate::origin::RUNTIME;
use crate::tls::TlsClient;
use crate::wait::PATIENCE;

/// Bytes of responses that a server may send ahead: of one, and of all.
const WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A connection. Clones share it.
#[derive(Clone)]
pub struct Http2Client {
    requests: SendRequest<Bytes>,
    authority: String,
}

/// A request whose body may still be sent, and its answer.
pub struct Exchange {
    body: SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

/// The body of an answer, in pieces. Its window opens again as it is read.
pub struct Pieces(RecvStream);

impl Http2Client {
    /// Connects; an error if a handshake fails.
    pub fn try_connect(tls: &TlsClient, address: SocketAddr, name: &str) -> io::Result<Http2Client> {
        let mut config = (*tls.config()).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server = ServerName::try_from(name.to_owned()).expect("a name");
        let requests = wait(async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let mut builder = Builder::new();
            builder.initial_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
            let (requests, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
            // It ends with the last clone, or when the server ends it; then requests fail.
            RUNTIME.spawn(connection);
            io::Result::Ok(requests)
        })?;
        Ok(Http2Client { requests, authority: format!("{name}:{}", address.port()) })
    }

    /// Posts JSON to `/`.
    pub fn try_post(&self, body: impl AsRef<[u8]>) -> io::Result<Exchange> {
        self.try_send(Method::POST, "/", body)
    }

    /// Posts JSON to `path`, with further headers.
    pub(crate) fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> io::Result<Exchange> {
        let mut exchange = self.begin_with(Method::POST, path, headers)?;
        exchange.send(Bytes::copy_from_slice(body.as_ref()), true)?;
        Ok(exchange)
    }

    /// Sends a request whose answer may be read later.
    pub fn try_send(&self, method: Method, path: &str, body: impl AsRef<[u8]>) -> io::Result<Exchange> {
        let mut exchange = self.begin(method, path)?;
        exchange.send(Bytes::copy_from_slice(body.as_ref()), true)?;
        Ok(exchange)
    }

    /// Begins a request whose body follows.
    pub fn begin(&self, method: Method, path: &str) -> io::Result<Exchange> {
        self.begin_with(method, path, &[])
    }

    fn begin_with(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> io::Result<Exchange> {
        let request = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        let request = request.header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).map_err(io::Error::other)?;
        let mut requests = wait(self.requests.clone().ready()).map_err(io::Error::other)?;
        let (answer, body) = requests.send_request(request, false).map_err(io::Error::other)?;
        Ok(Exchange { body, answer })
    }
}

impl Exchange {
    /// Sends a piece of the body as the server makes room for it. `last`: the body ends.
    pub fn send(&mut self, mut piece: Bytes, last: bool) -> io::Result<()> {
        while !piece.is_empty() {
            self.body.reserve_capacity(piece.len());
            let room = wait(std::future::poll_fn(|context| self.body.poll_capacity(context)));
            let room = room.ok_or(io::ErrorKind::ConnectionReset)?.map_err(io::Error::other)?;
            let part = piece.split_to(room.min(piece.len()));
            let last = last && piece.is_empty();
            self.body.send_data(part, last).map_err(io::Error::other)?;
            if last {
                return Ok(());
            }
        }
        if last { self.body.send_data(Bytes::new(), true).map_err(io::Error::other) } else { Ok(()) }
    }

    /// The answer.
    pub fn response(self) -> io::Result<Response> {
        let (head, pieces) = self.answer()?;
        let body: Vec<Bytes> = pieces.collect::<io::Result<_>>()?;
        let body = body.concat();
        let status = head.first_line.parse().expect("a status");
        Ok(Response { status, head, body })
    }

    /// The head of the answer, whose first line is the status, and its body.
    pub fn answer(self) -> io::Result<(Head, Pieces)> {
        let (parts, body) = wait(self.answer).map_err(io::Error::other)?.into_parts();
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
        Ok((Head { first_line: parts.status.as_str().to_owned(), headers: headers.collect() }, Pieces(body)))
    }
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let piece = wait(self.0.data())?.map_err(io::Error::other);
        if let Ok(piece) = &piece {
            self.0.flow_control().release_capacity(piece.len()).expect("no more than has arrived");
        }
        Some(piece)
    }
}

/// Runs to its end, for no longer than any wait in a test.
#[track_caller]
fn wait<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async { timeout(PATIENCE, work).await.expect("the server went on in time") })
}
