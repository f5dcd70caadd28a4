//! The status of gRPC calls ("gRPC over HTTP2", "Status codes and their use in gRPC").

use http::{HeaderMap, HeaderName};

/// The content type, which a suffix or parameters may follow.
pub const GRPC_CONTENT_TYPE: &str = "application/grpc";
/// The header of the status.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The codes that the proxy distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "gRPC defines them")]
pub enum GrpcCode {
    /// No error.
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
}

impl GrpcCode {
    /// The value in `grpc-status`.
    pub const fn code(self) -> u32 {
        self as u32
    }
}

/// The status in the trailers of a response, or in the head of one without a body. A status that is
/// no number is `UNKNOWN`.
pub fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let value = headers.get(GRPC_STATUS)?;
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(number.unwrap_or(GrpcCode::Unknown.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_no_number_is_unknown() {
        for (text, expected) in [("0", 0), ("14", 14), ("99", 99), ("x", 2), ("-1", 2)] {
            let headers = HeaderMap::from_iter([(GRPC_STATUS, text.parse().unwrap())]);
            assert_eq!(grpc_status(&headers), Some(expected), "{text}");
        }
        assert_eq!(grpc_status(&HeaderMap::new()), None);
    }
}
