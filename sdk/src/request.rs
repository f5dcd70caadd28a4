//! The request block.

use std::mem::offset_of;
use std::time::Duration;

use crate::{Endpoint, HttpMethod, Protocol};

/// Capacity of the method field, in bytes.
const METHOD_BYTES: usize = 64;
/// Capacity of the path field, in bytes.
const PATH_BYTES: usize = 96;

/// The JSON-RPC dialect of the upstream's endpoints. Some error codes depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum Chain {
    /// Ethereum or a compatible chain. A proxy of ABI 1.0 always reports it.
    Ethereum = 0,
    /// Solana.
    Solana = 1,
    /// A chain of a later ABI version.
    Unknown = u32::MAX,
}

/// The request to route: the ABI's request block, 320 bytes.
///
/// The fields are public so that tests can write
/// `Request { seed: 7, ..Request::for_method("eth_call") }`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Request {
    /// Size of the proxy's block in bytes: 128 in version 1.1, 320 in 1.2, more in later ones.
    pub size: u32,
    /// Bytes from one endpoint row to the next. [`Endpoints`](crate::Endpoints) applies it.
    pub row_stride: u32,
    /// The proxy's time in milliseconds since 1970. Monotonic within a process.
    pub unix_ms: u64,
    /// Random number, drawn once per request: all attempts share it.
    pub seed: u64,
    /// Hash of the client's address, stable within a process.
    pub client_key: u64,
    /// [`Request::WRITE`], [`Request::BATCH`], [`Request::IDEMPOTENT`], [`Request::PRIOR_SENT`],
    /// [`Request::RESENDABLE`].
    pub flags: u32,
    /// Number of batch members; 1 for a single request.
    pub batch_size: u32,
    /// Number of the current attempt, starting at 1.
    pub attempt: u32,
    /// The upstream's maximum number of attempts, including the first.
    pub max_attempts: u32,
    /// Size of the request's body in bytes, saturating.
    pub body_bytes: u32,
    /// Milliseconds until the request's deadline, saturating.
    pub deadline_left_ms: u32,
    /// Used bytes of `method`, 0 to 64.
    pub method_len: u32,
    /// Read it with [`Request::chain`].
    pub chain: u32,
    /// The method's name, truncated to 64 bytes; empty for a batch of different methods. The HTTP
    /// method's name if the protocol isn't JSON-RPC. Read it with [`Request::method`].
    pub method: [u8; METHOD_BYTES],
    /// Read it with [`Request::protocol`]. This and the following fields are new in version 1.2.
    pub protocol: u32,
    /// Read it with [`Request::http_method`].
    pub http_method: u32,
    /// [`hash`](crate::hash) of the whole path; 0 if the proxy is older than version 1.2.
    pub path_hash: u64,
    /// [`hash`](crate::hash) of the client's host name, in lower case and without its port; 0
    /// without one.
    pub host_hash: u64,
    /// Used bytes of `path`, 0 to 96.
    pub path_len: u32,
    /// Size of the whole path in bytes.
    pub path_bytes: u32,
    #[doc(hidden)]
    pub reserved: [u64; 8],
    /// The client's path in its normal form, without the query, truncated to 96 bytes. Read it with
    /// [`Request::path`].
    pub path: [u8; PATH_BYTES],
}

impl Request {
    /// Flag: the request is a write.
    pub const WRITE: u32 = 1;
    /// Flag: the body is an array.
    pub const BATCH: u32 = 1 << 1;
    /// Flag: a write that may be sent twice, such as `eth_sendRawTransaction`.
    pub const IDEMPOTENT: u32 = 1 << 2;
    /// Flag: an earlier attempt of this request was sent.
    pub const PRIOR_SENT: u32 = 1 << 3;
    /// Flag: the proxy may send the request to another endpoint although one may have executed it.
    /// Read it with [`Request::is_resendable`].
    pub const RESENDABLE: u32 = 1 << 4;
    /// Flag of the policy, never set by the proxy: the request is refused. See
    /// [`Scoring::refuses`](crate::Scoring::refuses).
    pub(crate) const REFUSE: u32 = 1 << 31;

    /// Creates a single read of `method` on its first attempt, for tests. The name is truncated to
    /// 64 bytes.
    pub fn for_method(method: &str) -> Self {
        let mut request = Request::default();
        request.method_len = crate::export::fill(&mut request.method, method.as_bytes());
        request
    }

    /// Creates a request with this HTTP method and path on its first attempt, for tests. It is a
    /// write unless the method is safe, and idempotent if the method is.
    pub fn for_http(method: &str, path: &str) -> Self {
        let http_method = HttpMethod::named(method);
        let flags = match http_method {
            HttpMethod::Get | HttpMethod::Head | HttpMethod::Options | HttpMethod::Trace => Self::RESENDABLE,
            HttpMethod::Put | HttpMethod::Delete => Self::WRITE | Self::IDEMPOTENT | Self::RESENDABLE,
            _ => Self::WRITE,
        };
        let http =
            Request { protocol: Protocol::Http as u32, http_method: http_method as u32, flags, ..Self::default() };
        let mut request = http.at(path);
        request.method_len = crate::export::fill(&mut request.method, method.as_bytes());
        request
    }

    /// The values of fields that an older proxy doesn't write. It carries JSON-RPC only, and the
    /// path isn't known.
    pub(crate) fn unknown() -> Self {
        Request { path_len: 0, path_bytes: 0, path_hash: 0, path: [0; PATH_BYTES], ..Self::default() }
    }

    /// The same request for this path.
    fn at(mut self, path: &str) -> Self {
        self.path = [0; PATH_BYTES];
        self.path_len = crate::export::fill(&mut self.path, path.as_bytes());
        self.path_bytes = u32::try_from(path.len()).unwrap_or(u32::MAX);
        self.path_hash = crate::hash(path);
        self
    }

    /// Returns the method's name up to the first byte that is not UTF-8 (truncation may split a
    /// character); empty for a batch of different methods.
    pub fn method(&self) -> &str {
        text(&self.method, self.method_len)
    }

    /// Returns the path up to the first byte that is not UTF-8; the whole one if
    /// [`Request::is_path_whole`]. Empty if the proxy is older than version 1.2.
    pub fn path(&self) -> &str {
        text(&self.path, self.path_len)
    }

    /// Returns `true` if [`Request::path`] is not truncated.
    pub fn is_path_whole(&self) -> bool {
        self.path_bytes <= self.path_len
    }

    /// Returns the protocol.
    pub fn protocol(&self) -> Protocol {
        Protocol::of(self.protocol)
    }

    /// Returns the HTTP method. Of JSON-RPC it is `POST`.
    pub fn http_method(&self) -> HttpMethod {
        HttpMethod::of(self.http_method)
    }

    /// Returns `true` if the request is a write. A batch is a write if any member is.
    pub fn is_write(&self) -> bool {
        self.flags & Self::WRITE != 0
    }

    /// Returns `true` if the body is an array.
    pub fn is_batch(&self) -> bool {
        self.flags & Self::BATCH != 0
    }

    /// Returns `true` for a write that may be sent twice; `false` for reads, which always may.
    pub fn is_idempotent(&self) -> bool {
        self.flags & Self::IDEMPOTENT != 0
    }

    /// Returns `true` if the proxy may send the request to another endpoint although one may have
    /// executed it: a read, or an idempotent write.
    pub fn is_resendable(&self) -> bool {
        // An older proxy sets the other bits only.
        self.flags & (Self::RESENDABLE | Self::IDEMPOTENT) != 0 || !self.is_write()
    }

    /// Returns `true` if an earlier attempt of this request was sent. An endpoint may have executed
    /// it.
    pub fn prior_sent(&self) -> bool {
        self.flags & Self::PRIOR_SENT != 0
    }

    /// Returns the JSON-RPC dialect of the upstream's endpoints.
    pub fn chain(&self) -> Chain {
        match self.chain {
            0 => Chain::Ethereum,
            1 => Chain::Solana,
            _ => Chain::Unknown,
        }
    }

    /// Returns the time until the request's deadline.
    pub fn deadline_left(&self) -> Duration {
        Duration::from_millis(u64::from(self.deadline_left_ms))
    }
}

/// Returns the text of a field up to the first byte that is not UTF-8.
fn text(field: &[u8], len: u32) -> &str {
    let len = (len as usize).min(field.len());
    field[..len].utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

/// A single read on Ethereum without a method, on the first of three attempts, far from its
/// deadline. Its path is `/`.
impl Default for Request {
    fn default() -> Self {
        Request {
            size: crate::export::size::<Request>(),
            row_stride: crate::export::size::<Endpoint>(),
            unix_ms: 0,
            seed: 0,
            client_key: 0,
            flags: 0,
            batch_size: 1,
            attempt: 1,
            max_attempts: 3,
            body_bytes: 0,
            deadline_left_ms: u32::MAX,
            method_len: 0,
            chain: Chain::Ethereum as u32,
            method: [0; METHOD_BYTES],
            protocol: Protocol::JsonRpc as u32,
            http_method: HttpMethod::Post as u32,
            path_hash: 0,
            host_hash: 0,
            path_len: 0,
            path_bytes: 0,
            reserved: [0; 8],
            path: [0; PATH_BYTES],
        }
        .at("/")
    }
}

// ABI.md, section 4, "Request block".
const _: () = {
    assert!(size_of::<Request>() == 320 && align_of::<Request>() == 8);
    assert!(offset_of!(Request, size) == 0);
    assert!(offset_of!(Request, row_stride) == 4);
    assert!(offset_of!(Request, unix_ms) == 8);
    assert!(offset_of!(Request, seed) == 16);
    assert!(offset_of!(Request, client_key) == 24);
    assert!(offset_of!(Request, flags) == 32);
    assert!(offset_of!(Request, batch_size) == 36);
    assert!(offset_of!(Request, attempt) == 40);
    assert!(offset_of!(Request, max_attempts) == 44);
    assert!(offset_of!(Request, body_bytes) == 48);
    assert!(offset_of!(Request, deadline_left_ms) == 52);
    assert!(offset_of!(Request, method_len) == 56);
    assert!(offset_of!(Request, chain) == 60);
    assert!(offset_of!(Request, method) == 64);
    assert!(offset_of!(Request, protocol) == 128);
    assert!(offset_of!(Request, http_method) == 132);
    assert!(offset_of!(Request, path_hash) == 136);
    assert!(offset_of!(Request, host_hash) == 144);
    assert!(offset_of!(Request, path_len) == 152);
    assert!(offset_of!(Request, path_bytes) == 156);
    assert!(offset_of!(Request, reserved) == 160);
    assert!(offset_of!(Request, path) == 224);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_reads_back() {
        assert_eq!(Request::for_method("eth_call").method(), "eth_call");
        assert_eq!(Request::default().method(), "");
    }

    #[test]
    fn a_method_that_was_cut_inside_a_character_loses_only_that_character() {
        let request = Request::for_method(&format!("{}ü", "m".repeat(63)));
        assert_eq!(request.method_len, 64);
        assert_eq!(request.method(), "m".repeat(63));
    }

    #[test]
    fn a_length_beyond_the_field_is_taken_as_full() {
        let request = Request { method_len: 1_000, ..Request::for_method(&"m".repeat(80)) };
        assert_eq!(request.method(), "m".repeat(64));
    }

    #[test]
    fn each_flag_is_its_own() {
        let flags = |flags| Request { flags, ..Request::default() };
        let seen = |r: Request| [r.is_write(), r.is_batch(), r.is_idempotent(), r.prior_sent()];
        let resendable = [0, 1, 4, 5, 16, 17].map(|bits| flags(bits).is_resendable());
        assert_eq!(resendable, [true, false, true, true, true, true]);
        assert_eq!(seen(flags(1)), [true, false, false, false]);
        assert_eq!(seen(flags(2)), [false, true, false, false]);
        assert_eq!(seen(flags(4)), [false, false, true, false]);
        assert_eq!(seen(flags(8)), [false, false, false, true]);
    }

    #[test]
    fn an_http_request_has_its_path_and_a_long_one_is_cut() {
        let get = Request::for_http("GET", "/v1/orders");
        assert_eq!((get.method(), get.path(), get.is_path_whole()), ("GET", "/v1/orders", true));
        assert_eq!((get.protocol(), get.http_method()), (Protocol::Http, HttpMethod::Get));
        let path = format!("/{}", "x".repeat(200));
        let long = Request::for_http("PUT", &path);
        assert_eq!((long.path(), long.path_bytes, long.is_path_whole()), (&path[..96], 201, false));
        assert_eq!(long.path_hash, crate::hash(&path));
        let kinds = ["GET", "PUT", "POST"].map(|name| {
            let request = Request::for_http(name, "/");
            [request.is_write(), request.is_idempotent(), request.is_resendable()]
        });
        assert_eq!(kinds, [[false, false, true], [true, true, true], [true, false, false]]);
    }

    #[test]
    fn json_rpc_is_a_post_to_the_root() {
        let request = Request::for_method("eth_call");
        assert_eq!((request.protocol(), request.http_method()), (Protocol::JsonRpc, HttpMethod::Post));
        assert_eq!((request.path(), request.path_hash), ("/", crate::hash("/")));
    }

    #[test]
    fn every_chain_reads_back() {
        for (chain, expected) in (0..).zip([Chain::Ethereum, Chain::Solana, Chain::Unknown]) {
            assert_eq!(Request { chain, ..Request::default() }.chain(), expected);
        }
    }
}
