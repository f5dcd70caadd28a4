//! The bytes sent to an endpoint: a head, which differs between requests only in its length field
//! and the client's headers, and the body.
//!
//! Invariant: a small request is sent in one write. Pingora's session flushes a head before its
//! body, which costs a system call and a packet per request.

use std::io::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::protocols::Stream;
use tokio::io::AsyncWriteExt;

use super::duplex::{Sent, send_and_listen};
use super::target::Destination;

/// A body up to this size is copied behind its head, and sent with it.
const SMALL: usize = 16 << 10;
/// Capacity for the length and the client's headers.
const REST_OF_HEAD: usize = 256;
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The head of requests to one endpoint. It may hold keys, so there is no `Debug`.
pub(super) struct Head {
    start: Vec<u8>,
    names: Vec<HeaderName>,
}

impl Head {
    /// The head of JSON-RPC requests.
    pub(super) fn of_posts(destination: &Destination) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, JSON);
        Self::new(&Method::POST, &destination.path, headers, destination)
    }

    /// The head of a request without a body.
    pub(super) fn of_get(path: &str, destination: &Destination) -> Self {
        Self::new(&Method::GET, path, HeaderMap::new(), destination)
    }

    fn new(method: &Method, path: &str, mut headers: HeaderMap, destination: &Destination) -> Self {
        headers.insert(header::HOST, destination.authority.clone());
        // The endpoint's own headers come last: they win.
        for (name, value) in &destination.headers {
            headers.insert(name, value.clone());
        }
        let mut start = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        headers.iter().for_each(|(name, value)| put(&mut start, name, value));
        Head { start, names: headers.keys().cloned().collect() }
    }

    /// The complete head, followed by the body if it is small. Adds the client's headers that the
    /// endpoint doesn't set, and the length of the body if there is one.
    fn finish(&self, headers: &[(HeaderName, HeaderValue)], body: Option<&[u8]>) -> Vec<u8> {
        let copied = body.filter(|body| body.len() <= SMALL).unwrap_or_default();
        let mut bytes = Vec::with_capacity(self.start.len() + REST_OF_HEAD + copied.len());
        bytes.extend_from_slice(&self.start);
        for (name, value) in headers.iter().filter(|(name, _)| !self.names.contains(name)) {
            put(&mut bytes, name, value);
        }
        if let Some(body) = body {
            // Writing to memory can't fail.
            let _ = write!(bytes, "content-length: {}\r\n", body.len());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(copied);
        bytes
    }

    /// Sends a request. `headers` are the client's; without a `body` no length is announced.
    pub(super) async fn send(
        &self,
        stream: &mut Stream,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<&[u8]>,
    ) -> Sent {
        let begin = self.finish(headers, body);
        if let Some(large) = body.filter(|body| body.len() > SMALL) {
            // Boxed, since it is rare: the future of each request would have room for it.
            return Box::pin(send_and_listen(stream, [&begin, large])).await;
        }
        let sent = async {
            stream.write_all(&begin).await?;
            stream.flush().await
        };
        let complete = sent.await.is_ok();
        Sent { complete, broken: !complete, ..Sent::default() }
    }
}

fn put(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        bytes.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination() -> Destination {
        Destination {
            tls: false,
            host: "h".into(),
            port: 80,
            path: "/v1?k=1".into(),
            authority: HeaderValue::from_static("h:80"),
            headers: vec![(HeaderName::from_static("user-agent"), HeaderValue::from_static("ours"))],
        }
    }

    #[test]
    fn the_endpoints_headers_win_over_the_clients_and_a_small_body_follows_at_once() {
        let client =
            ["user-agent", "traceparent"].map(|name| (name.parse().unwrap(), HeaderValue::from_static("theirs")));
        let bytes = Head::of_posts(&destination()).finish(&client, Some(b"[]"));
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        assert_eq!((lines.remove(0), body), ("POST /v1?k=1 HTTP/1.1", "[]"));
        lines.sort_unstable();
        let expected = [
            "content-length: 2",
            "content-type: application/json",
            "host: h:80",
            "traceparent: theirs",
            "user-agent: ours",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_large_body_is_announced_and_not_copied() {
        let text = String::from_utf8(Head::of_posts(&destination()).finish(&[], Some(&vec![b' '; SMALL + 1]))).unwrap();
        assert!(text.contains("content-length: 16385\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_get_announces_nothing() {
        let text = String::from_utf8(Head::of_get("/health", &destination()).finish(&[], None)).unwrap();
        assert!(text.starts_with("GET /health HTTP/1.1\r\n") && !text.contains("content-"), "{text}");
    }
}
