//! Strict reading of chunked bodies (RFC 9112, section 7.1).
//!
//! Pingora's parser, httparse's, reads an empty chunk size as zero and accepts any byte, LF
//! included, in an extension; and for a chunk of 2^63 bytes it waits for the first. A reader in
//! front of this proxy may then see another end of the body. So the bytes are held against the
//! grammar on their way to Pingora ([`Bounds`](super::bounds::Bounds)). Anything
//! outside it is refused.
//!
//! Invariants: a size beyond the limit is refused when the size is read, not when the data arrives;
//! extensions and trailers, which are ignored, have one limit together; the result doesn't depend
//! on how the bytes are split.

use crate::jsonrpc::Refusal;

/// Hexadecimal digits of a 64-bit number.
const MAX_DIGITS: u32 = 16;
/// Maximum bytes of extensions and trailers in one body (RFC 9112, section 7.1.1, requires a
/// limit): the size of a usual head limit.
const MAX_EXTRA: usize = 8 << 10;

/// Parser state of one body.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// The sizes of all chunks so far.
    total: u64,
    /// The limit of `total`.
    max: usize,
    /// While in `Size`, the digits read so far; then the bytes left of the chunk.
    size: u64,
    extra: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After this many digits of a size.
    Size(u32),
    /// Blanks between a size and the `;` of an extension.
    Blank,
    Extension,
    /// The LF that ends a size line.
    SizeEnd,
    Data,
    /// The CR, then the LF after a chunk's data.
    DataCr,
    DataLf,
    /// The beginning of a line after the last chunk.
    Line,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// The LF of the final empty line.
    End,
    Done,
}

impl Chunks {
    /// A body of any length.
    pub(super) fn new() -> Self {
        Chunks { state: State::Size(0), total: 0, max: usize::MAX, size: 0, extra: 0 }
    }

    /// Limits the data of the whole body to `max` bytes.
    ///
    /// # Errors
    /// When the sizes so far exceed it.
    pub(super) fn limit(&mut self, max: usize) -> Result<(), Refusal> {
        self.max = max;
        if self.total > max as u64 { Err(Refusal::BodyTooLarge(max)) } else { Ok(()) }
    }

    /// Whether the body has ended.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Done
    }

    /// Reads the next bytes. Once the body has ended, returns the number of bytes that follow it.
    ///
    /// # Errors
    /// When the bytes aren't valid chunks, or exceed a limit.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while self.state != State::Done {
            if self.state == State::Data {
                let count = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
                self.size -= count as u64;
                bytes = &bytes[count..];
                if self.size > 0 {
                    return Ok(None);
                }
                self.state = State::DataCr;
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(None) };
            self.state = self.step(byte)?;
            if self.state == State::Data {
                self.total = self.total.saturating_add(self.size);
                self.limit(self.max)?;
            }
            bytes = rest;
        }
        Ok(Some(bytes.len()))
    }

    /// Advances by one byte outside of chunk data.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        let next = match (self.state, byte) {
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = (self.size << 4) | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(1..) | State::Extension, b'\r') => State::SizeEnd,
            (State::Size(1..) | State::Blank, b' ' | b'\t') => self.extra(State::Blank)?,
            (State::Size(1..) | State::Blank, b';') => self.extra(State::Extension)?,
            (State::Extension, _) if is_text(byte) => self.extra(State::Extension)?,
            (State::SizeEnd, b'\n') if self.size == 0 => State::Line,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0),
            (State::Line, b'\r') => State::End,
            (State::End, b'\n') => State::Done,
            (State::Line | State::TrailerName, _) if is_token(byte) => self.extra(State::TrailerName)?,
            (State::TrailerName, b':') => self.extra(State::TrailerValue)?,
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, _) if is_text(byte) => self.extra(State::TrailerValue)?,
            (State::TrailerEnd, b'\n') => State::Line,
            _ => return Err(Refusal::BrokenBody),
        };
        Ok(next)
    }

    fn extra(&mut self, next: State) -> Result<State, Refusal> {
        self.extra += 1;
        if self.extra > MAX_EXTRA { Err(Refusal::BrokenBody) } else { Ok(next) }
    }
}

/// Bytes allowed in a field value (RFC 9110, section 5.5).
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Bytes allowed in a field name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 100;

    /// The bytes of data and the number of bytes after the body; `None` while the end is missing.
    fn read(pieces: &[&[u8]]) -> Result<Option<(u64, usize)>, Refusal> {
        let mut chunks = Chunks::new();
        chunks.limit(MAX)?;
        let mut behind = None;
        for piece in pieces {
            match &mut behind {
                Some(count) => *count += piece.len(),
                None => behind = chunks.read(piece)?,
            }
        }
        Ok(behind.map(|count| (chunks.total, count)))
    }

    fn good(text: &str) -> (u64, usize) {
        read(&[text.as_bytes()]).unwrap().expect("an end")
    }

    #[test]
    fn a_body_ends_with_its_last_chunk() {
        for (text, size, behind) in [
            ("0\r\n\r\n", 0, 0),
            ("3\r\nabc\r\n0\r\n\r\n", 3, 0),
            ("3\r\nabc\r\n00\r\n\r\nPOST", 3, 4),
            ("0000000000000003\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 13, 0),
            ("3 \t;a=\"b;\";c\r\na\r\n\r\n0;d\r\nx:\r\ny: z \r\n\r\n", 3, 0),
        ] {
            assert_eq!(good(text), (size, behind), "{text:?}");
        }
    }

    #[test]
    fn what_leaves_the_grammar_is_broken() {
        for text in [
            "\r\n",
            "\n",
            ";a\r\n",
            " 3\r\n",
            "3\n",
            "3 \r\n",
            "3 3\r\n",
            "3\rx",
            "g\r\n",
            "-3\r\n",
            "+3\r\n",
            "0x3\r\n",
            "00000000000000003\r\n",
            "3;a\nb\r\n",
            "3;a\rb\r\n",
            "3;\0\r\n",
            "3\r\nabc\n",
            "3\r\nabcd",
            "3\r\nabc\r\r",
            "3\r\nabc\r\n\r\n",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\nx\r\n",
            "0\r\n x: y\r\n",
            "0\r\nx : y\r\n",
            "0\r\nx: y\n",
            "0\r\nx: y\r\n z\r\n",
            "0\r\n: y\r\n",
            "0\r\nx: \0\r\n",
            "\u{663}\r\n",
        ] {
            assert_eq!(read(&[text.as_bytes()]), Err(Refusal::BrokenBody), "{text:?}");
        }
    }

    #[test]
    fn a_size_beyond_the_limit_is_refused_at_once() {
        for text in ["65\r\n", "7fffffffffffffff\r\n", "8000000000000000\r\n", "ffffffffffffffff\r\n", "64\r\n"] {
            let read = read(&[b"1\r\na\r\n", text.as_bytes()]);
            assert_eq!(read, Err(Refusal::BodyTooLarge(MAX)), "{text:?}");
        }
        assert_eq!(read(&[b"1\r\na\r\n63\r\n"]), Ok(None));
    }

    #[test]
    fn a_limit_that_comes_late_counts_for_earlier_sizes() {
        let mut chunks = Chunks::new();
        assert_eq!(chunks.read(b"1\r\na\r\n64\r\n"), Ok(None));
        assert_eq!(chunks.limit(MAX), Err(Refusal::BodyTooLarge(MAX)));
        assert_eq!(chunks.limit(MAX + 1), Ok(()));
    }

    #[test]
    fn extensions_and_trailers_have_a_limit_together() {
        let text = |extension: usize, trailer: usize| {
            format!("1;{}\r\na\r\n0\r\nx:{}\r\n\r\n", "e".repeat(extension), "t".repeat(trailer))
        };
        let others = "; x:".len() - 1;
        assert_eq!(good(&text(4_000, MAX_EXTRA - 4_000 - others)).0, 1);
        assert!(read(&[text(4_000, MAX_EXTRA - 4_000 - others + 1).as_bytes()]).is_err());
        let many = "1;\r\na\r\n".repeat(MAX_EXTRA + 1);
        assert_eq!(Chunks::new().read(many.as_bytes()), Err(Refusal::BrokenBody));
    }

    #[test]
    fn cuts_change_nothing() {
        let texts =
            ["3 ;a\r\nabc\r\n0\r\nx: y\r\n\r\nrest", "3\r\nabc\r\n00\r\n\r\n", "3\r\nabc\rx", "ffffffffffffffff\r\n"];
        for text in texts.map(str::as_bytes) {
            let whole = read(&[text]);
            for cut in 0..=text.len() {
                assert_eq!(read(&[&text[..cut], &text[cut..]]), whole);
            }
            let bytes: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(read(&bytes), whole);
        }
    }
}
