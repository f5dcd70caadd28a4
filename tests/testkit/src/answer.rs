//! An origin's reaction to one request.

use std::time::Duration;

use crate::gate::Gate;
use crate::http::chunked;
use crate::json;
use crate::origin::Request;

/// A good or bad answer. A constructor sets the body, methods change the rest.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    framing: Framing,
    delay: Duration,
    gate: Option<Gate>,
    /// Bytes of each write, with pauses of 1 ms between writes; 0 for a single write.
    pub(crate) piece: usize,
    cut: Option<usize>,
    pub(crate) end: End,
}

#[derive(Clone, Debug)]
enum Body {
    /// A field under each id of the request.
    Rpc(String),
    /// The body as it is.
    Plain(Vec<u8>),
    /// The whole answer as it is, head and all.
    Raw(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Announced(usize),
    Chunked(usize),
    UntilClose,
}

/// The end of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    KeepAlive,
    Close,
    Reset,
    Hang,
    Forever(&'static str),
    Trickle(&'static str, Duration),
}

impl Answer {
    /// `"result"` is `text`.
    pub fn result(text: &str) -> Answer {
        Answer::new(200, Body::Rpc(format!(r#""result":"{text}""#)))
    }

    /// A JSON-RPC error, under status 200.
    pub fn rpc_error(code: i64, message: &str) -> Answer {
        Answer::new(200, Body::Rpc(format!(r#""error":{{"code":{code},"message":"{message}"}}"#)))
    }

    /// A 200 with this body.
    pub fn body(body: impl Into<Vec<u8>>) -> Answer {
        Answer::new(200, Body::Plain(body.into()))
    }

    /// A status with a body that is no JSON.
    pub fn status(status: u16) -> Answer {
        Answer::new(status, Body::Plain(b"<html>nothing for programs</html>".to_vec()))
            .header("content-type", "text/html")
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
        Answer::new(200, Body::Raw(bytes.into()))
    }

    /// The request is read, and the connection reset.
    pub fn reset() -> Answer {
        Answer::raw("").then_reset()
    }

    /// The request is read, and the connection closed.
    pub fn close() -> Answer {
        Answer::raw("").then_close()
    }

    /// The request is read and never answered.
    pub fn hang() -> Answer {
        Answer::raw("").then_hang()
    }

    /// With this status.
    pub fn with_status(self, status: u16) -> Answer {
        Answer { status, ..self }
    }

    /// With this header; it replaces one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Not before `delay` has passed.
    pub fn after(self, delay: Duration) -> Answer {
        Answer { delay, ..self }
    }

    /// Not before the gate is open.
    pub fn held_by(self, gate: &Gate) -> Answer {
        Answer { gate: Some(gate.clone()), ..self }
    }

    /// In chunks of `size` bytes.
    pub fn chunked(self, size: usize) -> Answer {
        Answer { framing: Framing::Chunked(size), ..self }
    }

    /// With this `Content-Length`, whatever the body's length is.
    pub fn announcing(self, length: usize) -> Answer {
        Answer { framing: Framing::Announced(length), ..self }
    }

    /// Without a length: the connection's end is the body's, as HTTP/1.0 has it.
    pub fn until_close(self) -> Answer {
        Answer { framing: Framing::UntilClose, end: End::Close, ..self }
    }

    /// In writes of `size` bytes.
    pub fn in_pieces(self, size: usize) -> Answer {
        Answer { piece: size, ..self }
    }

    /// Only `count` bytes of what follows the head are sent.
    pub fn cut_after(self, count: usize) -> Answer {
        Answer { cut: Some(count), ..self }
    }

    /// Then the connection is closed, without `Connection: close` in the head.
    pub fn then_close(self) -> Answer {
        Answer { end: End::Close, ..self }
    }

    /// Then the connection is reset.
    pub fn then_reset(self) -> Answer {
        Answer { end: End::Reset, ..self }
    }

    /// Then nothing more happens on this connection.
    pub fn then_hang(self) -> Answer {
        Answer { end: End::Hang, ..self }
    }

    /// Then this, again and again, until the connection breaks.
    pub fn then_forever(self, text: &'static str) -> Answer {
        Answer { end: End::Forever(text), ..self }
    }

    /// Then this, with a pause before each, until the connection breaks.
    pub fn then_trickle(self, text: &'static str, pause: Duration) -> Answer {
        Answer { end: End::Trickle(text, pause), ..self }
    }

    fn new(status: u16, body: Body) -> Answer {
        Answer {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body,
            framing: Framing::Length,
            delay: Duration::ZERO,
            gate: None,
            piece: 0,
            cut: None,
            end: End::KeepAlive,
        }
    }

    /// Waits until the answer may begin.
    pub(crate) async fn due(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if let Some(gate) = &self.gate {
            gate.passed().await;
        }
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self, request: &Request) -> Vec<u8> {
        let body = match &self.body {
            Body::Raw(bytes) => return bytes.clone(),
            Body::Plain(body) => body.clone(),
            Body::Rpc(field) => json::answer(&request.body, field),
        };
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut body = match self.framing {
            Framing::Length => {
                head += &format!("content-length: {}\r\n", body.len());
                body
            }
            Framing::Announced(length) => {
                head += &format!("content-length: {length}\r\n");
                body
            }
            Framing::Chunked(size) => {
                head += "transfer-encoding: chunked\r\n";
                chunked(&body, size)
            }
            Framing::UntilClose => body,
        };
        body.truncate(self.cut.unwrap_or(usize::MAX));
        [head.as_bytes(), b"\r\n", &body].concat()
    }
}
