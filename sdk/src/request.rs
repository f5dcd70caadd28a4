//! The request block.

use std::mem::offset_of;
use std::time::Duration;

use crate::Endpoint;

/// Bytes of a method name that fit into the block.
const METHOD_BYTES: usize = 64;

/// Whose JSON-RPC the upstream's endpoints speak, which tells what some error codes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum Chain {
    /// Ethereum, or one like it; also what a proxy of ABI 1.0 says.
    Ethereum = 0,
    /// Solana.
    Solana = 1,
    /// One that only a later version of the ABI knows.
    Unknown = u32::MAX,
}

/// The request that is being routed: the ABI's request block, 128 bytes.
///
/// The fields are public so that tests can write
/// `Request { seed: 7, ..Request::for_method("eth_call") }`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Request {
    /// Bytes of this block as the proxy wrote it: 128 in version 1.1, more in later ones.
    pub size: u32,
    /// Bytes from one endpoint row to the next. [`Endpoints`](crate::Endpoints) takes care of it.
    pub row_stride: u32,
    /// The proxy's time in milliseconds since 1970. Never goes back within a process.
    pub unix_ms: u64,
    /// Random, drawn once per request: every attempt of the request sees the same seed.
    pub seed: u64,
    /// A hash of the client's address, stable within a process.
    pub client_key: u64,
    /// [`Request::WRITE`], [`Request::BATCH`], [`Request::IDEMPOTENT`], [`Request::PRIOR_SENT`].
    pub flags: u32,
    /// Members of the batch; 1 for a single request.
    pub batch_size: u32,
    /// The number of the attempt at hand; 1 for the first.
    pub attempt: u32,
    /// How many attempts the upstream allows, the first included.
    pub max_attempts: u32,
    /// Bytes of the request's body, saturating.
    pub body_bytes: u32,
    /// Milliseconds until the request's deadline, saturating.
    pub deadline_left_ms: u32,
    /// Bytes of `method` in use, 0 to 64.
    pub method_len: u32,
    /// Read it with [`Request::chain`].
    pub chain: u32,
    /// The method's name, cut at 64 bytes; empty for a batch of different methods. Read it with
    /// [`Request::method`].
    pub method: [u8; METHOD_BYTES],
}

impl Request {
    /// Flag: the request may change something.
    pub const WRITE: u32 = 1;
    /// Flag: the body is an array.
    pub const BATCH: u32 = 1 << 1;
    /// Flag: a write that may be sent twice, such as `eth_sendRawTransaction`.
    pub const IDEMPOTENT: u32 = 1 << 2;
    /// Flag: an earlier attempt of this request was sent to an endpoint.
    pub const PRIOR_SENT: u32 = 1 << 3;
    /// Flag that a policy sets, and the proxy never: no endpoint is to get the request.
    /// [`Scoring::refuses`](crate::Scoring::refuses) does it.
    pub(crate) const REFUSE: u32 = 1 << 31;

    /// A single read of `method` on its first attempt, for tests. A longer name is cut at 64 bytes.
    pub fn for_method(method: &str) -> Self {
        let mut request = Request::default();
        request.method_len = crate::export::fill(&mut request.method, method.as_bytes());
        request
    }

    /// The method's name, up to the first byte that is not UTF-8 (the cut may split a character);
    /// empty for a batch of different methods.
    pub fn method(&self) -> &str {
        let len = (self.method_len as usize).min(METHOD_BYTES);
        self.method[..len].utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    /// May the request change something? A batch is a write if any member is.
    pub fn is_write(&self) -> bool {
        self.flags & Self::WRITE != 0
    }

    /// Is the body an array?
    pub fn is_batch(&self) -> bool {
        self.flags & Self::BATCH != 0
    }

    /// Is it a write that may be sent twice? False for reads, which always may.
    pub fn is_idempotent(&self) -> bool {
        self.flags & Self::IDEMPOTENT != 0
    }

    /// Was an earlier attempt of this request sent to an endpoint? It may have been acted on.
    pub fn prior_sent(&self) -> bool {
        self.flags & Self::PRIOR_SENT != 0
    }

    /// Whose JSON-RPC the upstream's endpoints speak.
    pub fn chain(&self) -> Chain {
        match self.chain {
            0 => Chain::Ethereum,
            1 => Chain::Solana,
            _ => Chain::Unknown,
        }
    }

    /// Time until the request's deadline.
    pub fn deadline_left(&self) -> Duration {
        Duration::from_millis(u64::from(self.deadline_left_ms))
    }
}

/// A single read without a method on Ethereum, on the first of three attempts, far from its
/// deadline.
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
        }
    }
}

// ABI.md, section 4, "Request block".
const _: () = {
    assert!(size_of::<Request>() == 128 && align_of::<Request>() == 8);
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
        assert_eq!(seen(flags(1)), [true, false, false, false]);
        assert_eq!(seen(flags(2)), [false, true, false, false]);
        assert_eq!(seen(flags(4)), [false, false, true, false]);
        assert_eq!(seen(flags(8)), [false, false, false, true]);
    }

    #[test]
    fn every_chain_reads_back() {
        for (chain, expected) in (0..).zip([Chain::Ethereum, Chain::Solana, Chain::Unknown]) {
            assert_eq!(Request { chain, ..Request::default() }.chain(), expected);
        }
    }
}
