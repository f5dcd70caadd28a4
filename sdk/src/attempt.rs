//! The attempt block.

use std::borrow::Cow;
use std::mem::offset_of;
use std::time::Duration;

/// Capacity of the message field, in bytes.
const MESSAGE_BYTES: usize = 192;
/// `retry_after_ms` of a response without `Retry-After`.
const NO_RETRY_AFTER: u32 = u32::MAX;
/// `grpc_status` of a response without one.
const NO_GRPC_STATUS: i32 = -1;

/// Outcome of an attempt. The proxy classifies each attempt once; a policy never parses a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum Outcome {
    /// A response without an error. The proxy doesn't call the retry policy for it.
    Success = 0,
    /// DNS, connect or TLS failure. No bytes were sent.
    ConnectFailed = 1,
    /// The per-try timeout expired.
    Timeout = 2,
    /// The connection closed before the response was complete.
    Reset = 3,
    /// An HTTP status other than 2xx; see [`Attempt::http_status`].
    HttpError = 4,
    /// An HTTP 2xx whose body is a JSON-RPC error or contains one for a batch member
    /// ([`Attempt::is_member`]), or a gRPC response with an error status
    /// ([`Attempt::grpc_status`]).
    RpcError = 5,
    /// An HTTP 2xx that is not a valid response of its protocol, or has no response for a batch
    /// member.
    BadResponse = 6,
    /// An outcome of a later ABI version.
    Unknown = u32::MAX,
}

/// An attempt that was not a clean success: the ABI's attempt block, 264 bytes.
///
/// The fields are public so that tests can write
/// `Attempt { latency_ms: 40.0, ..Attempt::new(Outcome::Timeout) }`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Attempt {
    /// Size of the proxy's block in bytes: 256 in version 1.1, 264 in 1.2, more in later ones.
    pub size: u32,
    /// [`index`](crate::Endpoint::index) of the endpoint.
    pub endpoint: u32,
    /// Read it with [`Attempt::outcome`].
    pub outcome: u32,
    /// [`Attempt::BYTES_SENT`], [`Attempt::HAS_RPC_CODE`], [`Attempt::MAY_RETRY`],
    /// [`Attempt::MEMBER`].
    pub flags: u32,
    /// Read it with [`Attempt::rpc_code`].
    pub rpc_code: i64,
    /// 0 if no response was read.
    pub http_status: u32,
    /// Read it with [`Attempt::retry_after`].
    pub retry_after_ms: u32,
    /// Duration of the attempt in milliseconds.
    pub latency_ms: f32,
    /// Number of candidates left for another attempt.
    pub candidates_left: u32,
    /// Failures of the endpoint since its last success, without this attempt.
    pub consecutive_failures: u32,
    /// Cooldowns of the endpoint since its last success.
    pub cooldown_attempts: u32,
    /// The per-try timeout in milliseconds.
    pub timeout_ms: f32,
    /// Used bytes of `message`, 0 to 192.
    pub message_len: u32,
    #[doc(hidden)]
    pub reserved: u64,
    /// Read it with [`Attempt::message`].
    pub message: [u8; MESSAGE_BYTES],
    /// Read it with [`Attempt::grpc_status`]. New in version 1.2.
    pub grpc_status: i32,
    #[doc(hidden)]
    pub reserved_2: u32,
}

impl Attempt {
    /// Flag: bytes of the request were sent.
    pub const BYTES_SENT: u32 = 1;
    /// Flag: `rpc_code` is set.
    pub const HAS_RPC_CODE: u32 = 1 << 1;
    /// Flag: the proxy allows another attempt.
    pub const MAY_RETRY: u32 = 1 << 2;
    /// Flag: the attempt is reported for members of a batch.
    pub const MEMBER: u32 = 1 << 3;

    /// Creates an attempt for tests: it took 10 ms, its bytes were sent unless `outcome` excludes
    /// that, and the proxy allows another one at one more endpoint.
    pub fn new(outcome: Outcome) -> Self {
        let sent = if outcome == Outcome::ConnectFailed { 0 } else { Self::BYTES_SENT };
        Attempt {
            size: crate::export::size::<Attempt>(),
            endpoint: 0,
            outcome: outcome as u32,
            flags: sent | Self::MAY_RETRY,
            rpc_code: 0,
            http_status: 0,
            retry_after_ms: NO_RETRY_AFTER,
            latency_ms: 10.0,
            candidates_left: 1,
            consecutive_failures: 0,
            cooldown_attempts: 0,
            timeout_ms: 5_000.0,
            message_len: 0,
            reserved: 0,
            message: [0; MESSAGE_BYTES],
            grpc_status: NO_GRPC_STATUS,
            reserved_2: 0,
        }
    }

    /// Creates an [`Outcome::HttpError`] for tests.
    pub fn http_error(status: u32) -> Self {
        Attempt { http_status: status, ..Attempt::new(Outcome::HttpError) }
    }

    /// Creates an [`Outcome::HttpError`] for tests with a body that is not JSON-RPC. The body is
    /// truncated to 192 bytes.
    pub fn http_error_with_body(status: u32, body: &str) -> Self {
        let mut attempt = Attempt::http_error(status);
        attempt.message_len = crate::export::fill(&mut attempt.message, body.as_bytes());
        attempt
    }

    /// Creates an [`Outcome::RpcError`] for tests. The message is truncated to 192 bytes.
    pub fn rpc_error(code: i64, message: &str) -> Self {
        let mut attempt = Attempt { http_status: 200, rpc_code: code, ..Attempt::new(Outcome::RpcError) };
        attempt.flags |= Self::HAS_RPC_CODE;
        attempt.message_len = crate::export::fill(&mut attempt.message, message.as_bytes());
        attempt
    }

    /// Creates an [`Outcome::RpcError`] for tests: a gRPC response with this status.
    pub fn grpc_error(status: i32) -> Self {
        Attempt { http_status: 200, grpc_status: status, ..Attempt::new(Outcome::RpcError) }
    }

    /// Returns the attempt's outcome.
    pub fn outcome(&self) -> Outcome {
        match self.outcome {
            0 => Outcome::Success,
            1 => Outcome::ConnectFailed,
            2 => Outcome::Timeout,
            3 => Outcome::Reset,
            4 => Outcome::HttpError,
            5 => Outcome::RpcError,
            6 => Outcome::BadResponse,
            _ => Outcome::Unknown,
        }
    }

    /// Returns `true` if bytes of the request were sent. The endpoint may then have executed it.
    pub fn bytes_sent(&self) -> bool {
        self.flags & Self::BYTES_SENT != 0
    }

    /// Returns `true` if the proxy allows another attempt.
    pub fn may_retry(&self) -> bool {
        self.flags & Self::MAY_RETRY != 0
    }

    /// Returns `true` if the attempt is reported for members of a batch. The request block then
    /// describes one of them.
    pub fn is_member(&self) -> bool {
        self.flags & Self::MEMBER != 0
    }

    /// Returns the JSON-RPC error code. An HTTP error has one if its body is JSON-RPC.
    pub fn rpc_code(&self) -> Option<i64> {
        (self.flags & Self::HAS_RPC_CODE != 0).then_some(self.rpc_code)
    }

    /// Returns the status of a gRPC response.
    pub fn grpc_status(&self) -> Option<i32> {
        (self.grpc_status >= 0).then_some(self.grpc_status)
    }

    /// Returns the delay of the response's `Retry-After` header.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.retry_after_ms != NO_RETRY_AFTER).then(|| Duration::from_millis(u64::from(self.retry_after_ms)))
    }

    /// Returns the JSON-RPC error's message, or the start of the body of an HTTP error that is not
    /// JSON-RPC. It is truncated to 192 bytes, possibly inside a character.
    pub fn message(&self) -> &[u8] {
        &self.message[..(self.message_len as usize).min(MESSAGE_BYTES)]
    }

    /// Returns [`Attempt::message`] as text. Allocates only if it is not UTF-8.
    pub fn message_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.message())
    }
}

// ABI.md, section 4, "Attempt block".
const _: () = {
    assert!(size_of::<Attempt>() == 264 && align_of::<Attempt>() == 8);
    assert!(offset_of!(Attempt, size) == 0);
    assert!(offset_of!(Attempt, endpoint) == 4);
    assert!(offset_of!(Attempt, outcome) == 8);
    assert!(offset_of!(Attempt, flags) == 12);
    assert!(offset_of!(Attempt, rpc_code) == 16);
    assert!(offset_of!(Attempt, http_status) == 24);
    assert!(offset_of!(Attempt, retry_after_ms) == 28);
    assert!(offset_of!(Attempt, latency_ms) == 32);
    assert!(offset_of!(Attempt, candidates_left) == 36);
    assert!(offset_of!(Attempt, consecutive_failures) == 40);
    assert!(offset_of!(Attempt, cooldown_attempts) == 44);
    assert!(offset_of!(Attempt, timeout_ms) == 48);
    assert!(offset_of!(Attempt, message_len) == 52);
    assert!(offset_of!(Attempt, reserved) == 56);
    assert!(offset_of!(Attempt, message) == 64);
    assert!(offset_of!(Attempt, grpc_status) == 256);
    assert!(offset_of!(Attempt, reserved_2) == 260);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_reads_back() {
        use Outcome::*;
        for (value, outcome) in
            (0..).zip([Success, ConnectFailed, Timeout, Reset, HttpError, RpcError, BadResponse, Unknown])
        {
            assert_eq!(Attempt { outcome: value, ..Attempt::new(Success) }.outcome(), outcome);
        }
    }

    #[test]
    fn absent_is_none_and_zero_is_not() {
        let absent = Attempt::new(Outcome::HttpError);
        assert_eq!((absent.rpc_code(), absent.retry_after(), absent.grpc_status()), (None, None, None));
        assert_eq!(Attempt::grpc_error(0).grpc_status(), Some(0));
        let zero = Attempt { retry_after_ms: 0, ..Attempt::rpc_error(0, "") };
        assert_eq!((zero.rpc_code(), zero.retry_after()), (Some(0), Some(Duration::ZERO)));
    }

    #[test]
    fn a_message_is_cut_at_its_field() {
        let attempt = Attempt::rpc_error(-32000, &format!("{}é", "x".repeat(191)));
        assert_eq!(attempt.message().len(), 192);
        assert_eq!(attempt.message_lossy(), format!("{}\u{fffd}", "x".repeat(191)));
        assert_eq!(Attempt { message_len: u32::MAX, ..attempt }.message().len(), 192);
    }

    #[test]
    fn an_http_error_may_bring_its_body_but_no_code() {
        let attempt = Attempt::http_error_with_body(402, "<html>");
        assert_eq!((attempt.http_status, attempt.rpc_code(), attempt.message()), (402, None, &b"<html>"[..]));
        assert!(!attempt.is_member());
        assert!(Attempt { flags: Attempt::MEMBER, ..attempt }.is_member());
    }

    #[test]
    fn only_a_failed_connect_sent_nothing() {
        assert!(!Attempt::new(Outcome::ConnectFailed).bytes_sent());
        assert!(Attempt::new(Outcome::Reset).bytes_sent() && Attempt::new(Outcome::Reset).may_retry());
    }
}
