//! A client that keeps its connection, exposes every byte, and can send any bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use tokio_rustls::rustls::{ClientConnection, HandshakeKind, StreamOwned};

use crate::http::{Head, dechunk};
use crate::http2::Http2Client;
use crate::wait::PATIENCE;

/// Headers that HTTP/2 hasn't.
const OF_HTTP1: [&str; 4] = ["connection", "host", "keep-alive", "upgrade"];

/// A connection to a server.
pub struct Client {
    stream: Wire,
    buffer: Vec<u8>,
    /// Carries posts, if there is one.
    http2: Option<Http2Client>,
}

/// What carries a connection's bytes.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Status line and headers.
    pub head: Head,
    /// The body without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The `result` of a single answer, a text: the name of the origin that sent it.
    #[track_caller]
    pub fn result(&self) -> String {
        let json = self.json();
        json["result"].as_str().unwrap_or_else(|| panic!("{} has no result: {json}", self.status)).to_owned()
    }

    /// The code of a single answer's `error`.
    #[track_caller]
    pub fn error_code(&self) -> i64 {
        let json = self.json();
        json["error"]["code"].as_i64().unwrap_or_else(|| panic!("{} has no error code: {json}", self.status))
    }
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// Connects; an error if the connection is refused.
    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: Wire::Plain(stream), buffer: Vec::new(), http2: None })
    }

    /// A connection whose handshake is over.
    pub(crate) fn over_tls(stream: StreamOwned<ClientConnection, TcpStream>) -> Client {
        Client { stream: Wire::Tls(Box::new(stream)), buffer: Vec::new(), http2: None }
    }

    /// The same client, whose posts take another connection.
    pub(crate) fn posting_over(self, http2: Http2Client) -> Client {
        Client { http2: Some(http2), ..self }
    }

    /// Its own address.
    pub fn local(&self) -> SocketAddr {
        self.stream.socket().local_addr().expect("an open connection")
    }

    /// The server's own certificate.
    pub fn certificate(&self) -> Vec<u8> {
        let Wire::Tls(stream) = &self.stream else { panic!("a connection without TLS") };
        stream.conn.peer_certificates().expect("a handshake")[0].to_vec()
    }

    /// Whether the handshake resumed an earlier session.
    pub fn is_resumed(&self) -> bool {
        let Wire::Tls(stream) = &self.stream else { panic!("a connection without TLS") };
        stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Posts `body` to `/` and reads the answer.
    #[track_caller]
    pub fn post(&mut self, body: impl AsRef<[u8]>) -> Response {
        self.post_with("/", &[], body)
    }

    /// Posts `body` to `path` with further headers, and reads the answer.
    #[track_caller]
    pub fn post_with(&mut self, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Response {
        let is_of_http1 = |(name, _): &(&str, &str)| OF_HTTP1.iter().any(|of| of.eq_ignore_ascii_case(name));
        if let Some(http2) = self.http2.as_ref().filter(|_| !headers.iter().any(is_of_http1)) {
            let exchange = http2.post_with(path, headers, body).unwrap_or_else(|error| panic!("can't send: {error}"));
            return exchange.response().unwrap_or_else(|error| panic!("no answer: {error}"));
        }
        let host = self.host();
        self.send(post_to(&host, path, headers, body));
        self.read()
    }

    /// Posts `body` and reads the answer; an error if the connection ends before the answer's end.
    pub fn try_post(&mut self, body: impl AsRef<[u8]>) -> io::Result<Response> {
        if let Some(http2) = &self.http2 {
            return http2.try_post(body)?.response();
        }
        self.try_send(post("/", &[], body))?;
        self.try_read()
    }

    /// Gets `path`.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host()));
        self.read()
    }

    fn host(&self) -> String {
        self.stream.socket().peer_addr().expect("an open connection").to_string()
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("can't send: {error}"));
    }

    /// Sends these bytes, unless the connection is closed.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Reads the next answer.
    #[track_caller]
    pub fn read(&mut self) -> Response {
        self.try_read().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Reads the next answer; an error if the connection ends before the answer's end.
    pub fn try_read(&mut self) -> io::Result<Response> {
        let head = self.read_head()?;
        let status = status(&head);
        if status == 204 || status / 100 == 1 {
            return Ok(Response { status, head, body: Vec::new() });
        }
        let body = if head.is_chunked() {
            self.read_chunked()?
        } else if let Some(length) = head.content_length() {
            self.read_exactly(length)?
        } else {
            self.read_rest()?
        };
        Ok(Response { status, head, body })
    }

    /// Reads the next head and leaves the body.
    pub fn read_head(&mut self) -> io::Result<Head> {
        loop {
            if let Some((head, length)) = Head::parse(&self.buffer) {
                self.buffer.drain(..length);
                return Ok(head);
            }
            self.read_more()?;
        }
    }

    /// Reads to the end of the connection.
    pub fn read_rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.read_more() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the server closes (or resets) the connection now, without another byte.
    #[track_caller]
    pub fn is_closed_by_server(&mut self) -> bool {
        match self.read_more() {
            Ok(()) => false,
            Err(error) if is_timeout(&error) => false,
            Err(_) => true,
        }
    }

    /// Whether bytes of an answer have arrived.
    pub fn has_answer(&mut self) -> bool {
        self.stream.socket().set_nonblocking(true).expect("an open connection");
        let _ = self.read_more();
        self.stream.socket().set_nonblocking(false).expect("an open connection");
        !self.buffer.is_empty()
    }

    /// Closes the sending side.
    pub fn finish_sending(&self) {
        self.stream.socket().shutdown(Shutdown::Write).expect("an open connection");
    }

    /// Reads this many bytes.
    pub fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.read_more()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn read_chunked(&mut self) -> io::Result<Vec<u8>> {
        loop {
            // Parses only a buffer that may contain the end.
            if self.buffer.ends_with(b"0\r\n\r\n")
                && let Some((body, length)) = dechunk(&self.buffer)
            {
                self.buffer.drain(..length);
                return Ok(body);
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(socket) => socket.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// A POST request as bytes.
pub fn post(path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    post_to("proxy", path, headers, body)
}

fn post_to(host: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn status(head: &Head) -> u16 {
    let status = head.first_line.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.unwrap_or_else(|| panic!("no status line: {:?}", head.first_line))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
