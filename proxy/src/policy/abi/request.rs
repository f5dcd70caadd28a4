//! The request block.

use bytemuck::{Pod, Zeroable};

use super::{EndpointRow, fill, flag, size};
use crate::model::HttpFacts;

/// Bytes of a method name that fit into a request block.
const METHOD_BYTES: usize = 64;
/// Bytes of a path that fit into a request block.
const PATH_BYTES: usize = 96;

/// Bits of [`RequestBlock::flags`].
pub mod request_flags {
    /// The request may change something.
    pub const WRITE: u32 = 1;
    /// The body is an array.
    pub const BATCH: u32 = 1 << 1;
    /// A write that may be sent more than once.
    pub const IDEMPOTENT: u32 = 1 << 2;
    /// An earlier attempt was sent to an endpoint.
    pub const PRIOR_SENT: u32 = 1 << 3;
    /// The host may send it to another endpoint although one may have acted on it (1.2).
    pub const RESENDABLE: u32 = 1 << 4;
    /// Set by a guest of version 1.2 in answer to `score`: the request must go to no endpoint. The
    /// host never sets it.
    pub const REFUSE: u32 = 1 << 31;
    /// The bits that the host sets for guests of version 1.1.
    pub(in crate::policy) const OF_1_1: u32 = WRITE | BATCH | IDEMPOTENT | PRIOR_SENT;
}

/// The request, for both kinds of policy. The fields are those of `sdk/ABI.md`, section 4.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
#[expect(missing_docs, reason = "sdk/ABI.md documents every field")]
pub struct RequestBlock {
    pub size: u32,
    pub row_stride: u32,
    pub unix_ms: u64,
    pub seed: u64,
    pub client_key: u64,
    pub flags: u32,
    pub batch_size: u32,
    pub attempt: u32,
    pub max_attempts: u32,
    pub body_bytes: u32,
    pub deadline_left_ms: u32,
    pub method_len: u32,
    pub chain: u32,
    pub method: [u8; METHOD_BYTES],
    pub protocol: u32,
    pub http_method: u32,
    pub path_hash: u64,
    pub host_hash: u64,
    pub path_len: u32,
    pub path_bytes: u32,
    pub reserved: [u64; 8],
    pub path: [u8; PATH_BYTES],
}

/// The size of a request block in versions 1.0 and 1.1.
pub(in crate::policy) const REQUEST_SIZE_OF_1_1: u32 = 128;

const _: () = assert!(size_of::<RequestBlock>() == 320);
const _: () = assert!(std::mem::offset_of!(RequestBlock, protocol) == REQUEST_SIZE_OF_1_1 as usize);

impl RequestBlock {
    /// A block with everything else zero.
    pub fn new() -> Self {
        RequestBlock { size: size::<Self>(), row_stride: size::<EndpointRow>(), ..Zeroable::zeroed() }
    }

    /// Sets the method, truncated to its field.
    pub fn set_method(&mut self, method: &str) {
        self.method_len = fill(&mut self.method, method);
    }

    /// Sets the fields that only guests of version 1.2 and later get.
    pub fn set_http(&mut self, http: &HttpFacts, resendable: bool) {
        let path = http.path();
        self.flags |= flag(resendable, request_flags::RESENDABLE);
        self.protocol = http.protocol.code();
        self.http_method = http.method.code();
        self.path_hash = http.path_hash();
        self.host_hash = http.host_hash();
        self.path_len = fill(&mut self.path, path);
        self.path_bytes = u32::try_from(path.len()).unwrap_or(u32::MAX);
    }
}

impl Default for RequestBlock {
    fn default() -> Self {
        Self::new()
    }
}
