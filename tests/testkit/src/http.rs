//! The subset of HTTP/1.1 for a client and an origin that inspect every byte and can misbehave.

/// A request's or an answer's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request or status line.
    pub first_line: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The head at the beginning of `bytes` and its length; `None` while its end is missing.
    pub fn parse(bytes: &[u8]) -> Option<(Head, usize)> {
        let end = find(bytes, b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Some((Head { first_line, headers: headers.collect() }, end + 4))
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of all headers, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// `Content-Length`.
    pub fn content_length(&self) -> Option<usize> {
        self.get("content-length").map(|text| text.parse().expect("a content length is a number"))
    }

    /// `Transfer-Encoding: chunked`.
    pub fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }
}

/// The chunked body at the beginning of `bytes` and its encoded length; `None` while its end is
/// missing.
pub fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let digits = String::from_utf8_lossy(&bytes[at..at + line]);
        let size = usize::from_str_radix(digits.trim(), 16).unwrap_or_else(|_| panic!("no chunk size: {digits:?}"));
        let start = at + line + 2;
        let piece = bytes.get(start..start + size)?;
        assert_eq!(bytes.get(start + size..start + size + 2)?, b"\r\n", "a chunk ends with a line's end");
        at = start + size + 2;
        if size == 0 {
            return Some((body, at));
        }
        body.extend_from_slice(piece);
    }
}

/// `body` in chunks of `size`.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 64);
    for piece in body.chunks(size.max(1)) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
