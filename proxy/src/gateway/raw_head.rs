//! The strict reading of an HTTP/1 head.
//!
//! Every head of HTTP/1 is read here first, before a lane is chosen. So the express lane and
//! Pingora's session get the same heads, and an ambiguous one reaches neither: see
//! [`framing`](super::framing).

use std::mem::MaybeUninit;

use httparse::{Request, Status};

use super::fields::Fields;
use super::framing::{self, Framing, RequestLine};
use crate::jsonrpc::Refusal;

/// Maximum lines of a head (Pingora's limit).
const MAX_LINES: usize = 256;

/// A whole head that passed the checks.
#[derive(Debug)]
pub(super) struct RawHead<'h> {
    pub(super) line: RequestLine<'h>,
    pub(super) fields: Fields<'h>,
    pub(super) framing: Framing,
    /// Its length in bytes, with the empty line.
    pub(super) length: usize,
}

impl<'h> RawHead<'h> {
    /// Reads the head at the beginning of `bytes`. `bare_lf`: one of its lines ends without CR.
    ///
    /// # Errors
    /// When it is malformed or ambiguous. The connection must be closed.
    pub(super) fn read(bytes: &'h [u8], bare_lf: bool) -> Result<Self, Refusal> {
        if bare_lf {
            return Err(Refusal::Malformed("a line of the head ends without a carriage return"));
        }
        let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut request = Request::new(&mut []);
        let Ok(Status::Complete(length)) = request.parse_with_uninit_headers(bytes, &mut lines) else {
            return Err(Refusal::Malformed("the head can't be parsed"));
        };
        let line = RequestLine {
            method: request.method.unwrap_or_default(),
            target: request.path.unwrap_or_default(),
            knows_11: request.version == Some(1),
        };
        let fields = Fields::of(request.headers.iter().map(|header| (header.name.as_bytes(), header.value)));
        let framing = framing::check(&line, &fields)?;
        Ok(RawHead { line, fields, framing, length })
    }
}

#[cfg(test)]
mod tests;
