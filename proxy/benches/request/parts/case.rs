//! What is measured: request, response, load and pool.

/// How clients come to a proxy. TLS is TLS 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downstream {
    /// HTTP/1.1 without TLS.
    Cleartext,
    /// HTTP/1.1 over TLS.
    Tls,
    /// The same with a new connection and a full handshake for each request.
    Handshakes,
    /// HTTP/2 over TLS, with this many requests under way on each connection.
    Http2 { streams: usize },
    /// WebSocket connections without TLS.
    WebSocket,
}

/// The protocol of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Requests are posted.
    JsonRpc,
    /// Plain HTTP: requests are GETs without a body.
    Http,
}

/// A case of a part.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name within its part.
    pub name: String,
    /// The case as a number.
    pub x: f64,
    /// How clients come.
    pub downstream: Downstream,
    /// Connections of the clients.
    pub connections: usize,
    /// The pool's protocol.
    pub protocol: Protocol,
    /// Number of the proxy's endpoints.
    pub endpoints: usize,
    /// Body of the request.
    pub request: String,
    /// Body of the response.
    pub answer: String,
    /// Whether the origin uses TLS.
    pub https: bool,
    /// Measured seconds.
    pub seconds: u64,
}

impl Downstream {
    /// Whether clients use TLS.
    pub fn uses_tls(self) -> bool {
        matches!(self, Downstream::Tls | Downstream::Handshakes | Downstream::Http2 { .. })
    }

    /// Whether clients use HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Downstream::Http2 { .. })
    }
}

impl Case {
    /// Requests under way at once.
    pub fn concurrency(&self) -> usize {
        match self.downstream {
            Downstream::Http2 { streams } => self.connections * streams,
            _ => self.connections,
        }
    }

    /// Maximum number of open files of a proxy: connections on both sides and some others.
    pub fn open_files(&self) -> u64 {
        3 * self.concurrency() as u64 + 500
    }

    /// The request in HTTP/1.1.
    pub fn bytes(&self) -> Vec<u8> {
        let closes = self.downstream == Downstream::Handshakes;
        match self.protocol {
            Protocol::JsonRpc if closes => testkit::post("/", &[("connection", "close")], &self.request),
            Protocol::JsonRpc => testkit::post("/", &[], &self.request),
            Protocol::Http => b"GET / HTTP/1.1\r\nhost: proxy\r\n\r\n".to_vec(),
        }
    }
}
