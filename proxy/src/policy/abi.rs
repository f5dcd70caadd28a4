//! The blocks of policy ABI 1.2, as `sdk/ABI.md` specifies them.
//!
//! A published block is frozen: a later minor version appends fields, a later major version is a
//! second set of blocks. The host's structs have the guest's layout, so a hot call copies bytes and
//! converts nothing. `sdk/vectors` holds golden bytes, against which these structs and the SDK's
//! are tested.

mod request;

use bytemuck::{Pod, Zeroable};

pub(super) use request::REQUEST_SIZE_OF_1_1;
pub use request::{RequestBlock, request_flags};

#[cfg(target_endian = "big")]
compile_error!("the ABI's blocks are little-endian and are copied as they lie in memory");

/// The major version that this host implements.
pub(super) const ABI_MAJOR: u32 = 1;
/// The minor version from which on a guest gets the whole blocks, may refuse a request and may list
/// its tags.
pub(super) const MINOR_OF_1_2: u32 = 2;

/// Bytes of an error message that fit into an attempt block.
pub const MESSAGE_BYTES: usize = 192;

/// Bits of [`EndpointRow::flags`].
pub mod row_flags {
    /// The endpoint is in cooldown; visible only in a panic, like the other flags.
    pub const COOLING: u32 = 1;
    /// The endpoint fails its health checks.
    pub const UNHEALTHY: u32 = 1 << 1;
    /// The endpoint has reported that it doesn't support this method.
    pub const BANNED: u32 = 1 << 2;
}

/// Bits of [`AttemptBlock::flags`].
pub mod attempt_flags {
    /// A part of the request was written to the connection.
    pub const BYTES_SENT: u32 = 1;
    /// [`AttemptBlock::rpc_code`](super::AttemptBlock::rpc_code) holds a code.
    pub const HAS_RPC_CODE: u32 = 1 << 1;
    /// The host would allow another attempt.
    pub const MAY_RETRY: u32 = 1 << 2;
    /// The attempt is about members of a batch.
    pub const MEMBER: u32 = 1 << 3;
}

/// Bits of [`DecisionBlock::flags`].
pub(super) mod decision_flags {
    /// The attempt counts as a success.
    pub(in crate::policy) const SUCCESS: u32 = 1;
    /// Prefer an endpoint with more of the chain's history next.
    pub(in crate::policy) const PREFER_HISTORY: u32 = 1 << 1;
    /// Only an endpoint that allows a larger range is useful next.
    pub(in crate::policy) const LARGER_RANGE: u32 = 1 << 2;
    /// The answer is the transaction's hash.
    pub(in crate::policy) const LANDED: u32 = 1 << 3;
}

/// An endpoint that may take the attempt.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
#[expect(missing_docs, reason = "sdk/ABI.md documents every field")]
pub struct EndpointRow {
    pub index: u32,
    pub flags: u32,
    pub weight: u32,
    pub in_flight: u32,
    pub consecutive_failures: u16,
    pub cooldown_attempts: u16,
    pub latency_ms: f32,
    pub tags: u64,
    pub latency_peak_ms: f32,
    pub latency_p99_ms: f32,
    pub penalty_ms: f32,
    pub success_rate: f32,
    pub limiter_headroom: f32,
    pub head_lag_blocks: f32,
    pub price: f32,
    pub idle_ms: f32,
}

/// The end of an attempt, for the retry policy.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
#[expect(missing_docs, reason = "sdk/ABI.md documents every field")]
pub struct AttemptBlock {
    pub size: u32,
    pub endpoint: u32,
    pub outcome: u32,
    pub flags: u32,
    pub rpc_code: i64,
    pub http_status: u32,
    pub retry_after_ms: u32,
    pub latency_ms: f32,
    pub candidates_left: u32,
    pub consecutive_failures: u32,
    pub cooldown_attempts: u32,
    pub timeout_ms: f32,
    pub message_len: u32,
    pub reserved: u64,
    pub message: [u8; MESSAGE_BYTES],
    pub grpc_status: i32,
    pub reserved_2: u32,
}

/// The size of an attempt block in versions 1.0 and 1.1.
pub(super) const ATTEMPT_SIZE_OF_1_1: u32 = 256;

/// The retry policy's answer.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[expect(missing_docs, reason = "sdk/ABI.md documents every field")]
pub struct DecisionBlock {
    pub size: u32,
    pub action: u32,
    pub delay_ms: u32,
    pub cooldown: u32,
    pub cooldown_ms: u32,
    pub penalty_ms: f32,
    pub flags: u32,
    pub method_ban_ms: u32,
}

/// The retry policy's plan for a request: filled by the host, changed by the guest.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[expect(missing_docs, reason = "sdk/ABI.md documents every field")]
pub struct PlanBlock {
    pub size: u32,
    pub max_attempts: u32,
    pub timeout_ms: f32,
    pub hedge_delay_ms: f32,
    pub latency_p95_ms: f32,
    pub method_p75_ms: f32,
}

/// Value of [`AttemptBlock::retry_after_ms`] when the response had none.
pub const NO_RETRY_AFTER: u32 = u32::MAX;

/// Value of [`AttemptBlock::grpc_status`] when the answer had none.
pub const NO_GRPC_STATUS: i32 = -1;

/// The size of a block, as in its `size` field.
pub(super) const fn size<T>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "every block is at most 320 bytes")]
    let size = size_of::<T>() as u32;
    size
}

const _: () = assert!(size_of::<EndpointRow>() == 64 && size_of::<AttemptBlock>() == 264);
const _: () = assert!(std::mem::offset_of!(AttemptBlock, grpc_status) == ATTEMPT_SIZE_OF_1_1 as usize);
const _: () = assert!(size_of::<DecisionBlock>() == 32 && size_of::<PlanBlock>() == 24);

impl AttemptBlock {
    /// A block with everything else zero, no `Retry-After` and no gRPC status.
    pub fn new() -> Self {
        let size = size::<Self>();
        AttemptBlock { size, retry_after_ms: NO_RETRY_AFTER, grpc_status: NO_GRPC_STATUS, ..Zeroable::zeroed() }
    }

    /// Sets the error message, truncated to its field.
    pub fn set_message(&mut self, message: &str) {
        self.message_len = fill(&mut self.message, message);
    }
}

impl Default for AttemptBlock {
    fn default() -> Self {
        Self::new()
    }
}

impl PlanBlock {
    /// The upstream's own plan, and latencies of the endpoint and the method.
    pub fn new(max_attempts: u32, timeout_ms: f32, latency_p95_ms: f32, method_p75_ms: f32) -> Self {
        PlanBlock {
            size: size::<Self>(),
            max_attempts,
            timeout_ms,
            hedge_delay_ms: f32::INFINITY,
            latency_p95_ms,
            method_p75_ms,
        }
    }
}

/// Returns `bit` if `set`, else 0.
pub const fn flag(set: bool, bit: u32) -> u32 {
    if set { bit } else { 0 }
}

fn fill(field: &mut [u8], text: &str) -> u32 {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
