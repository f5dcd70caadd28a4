//! The kinds of failure.

use pointsman_sdk::{Attempt, Outcome};

use crate::config::Statuses;

/// The kind of an attempt's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// None: the response is the client's answer, whatever its status.
    None,
    /// DNS, connect or TLS failure. Nothing was sent.
    Connect,
    /// The per-try timeout expired.
    Timeout,
    /// The connection closed before the response was complete.
    Reset,
    /// A server error of `retry_statuses`, or a response that is not valid HTTP: the endpoint or
    /// the service behind it is not available.
    Gateway,
    /// Any other server error: most often a fault that the request triggers at each endpoint.
    Server,
    /// A status of `rate_limit_statuses`.
    RateLimit,
    /// A client error of `retry_statuses`: this endpoint refuses what another may accept.
    Refused,
    /// An outcome of a later ABI version.
    Unknown,
}

impl Failure {
    /// Returns the kind of an attempt. A gRPC status decides where there is one.
    pub(crate) fn of(attempt: &Attempt, retried: &Statuses, rate_limits: &Statuses) -> Self {
        let status = attempt.grpc_status().filter(|status| *status != 0).map(equivalent);
        let by_status = |status: u32| Failure::of_status(status, retried, rate_limits);
        match (status, attempt.outcome()) {
            (Some(status), _) => by_status(status),
            (None, Outcome::HttpError) => by_status(attempt.http_status),
            (None, Outcome::Success | Outcome::RpcError) => Failure::None,
            (None, Outcome::ConnectFailed) => Failure::Connect,
            (None, Outcome::Timeout) => Failure::Timeout,
            (None, Outcome::Reset) => Failure::Reset,
            (None, Outcome::BadResponse) => Failure::Gateway,
            (None, _) => Failure::Unknown,
        }
    }

    fn of_status(status: u32, retried: &Statuses, rate_limits: &Statuses) -> Self {
        let status = u16::try_from(status).unwrap_or(0);
        match status {
            _ if rate_limits.has(status) => Failure::RateLimit,
            500.. if retried.has(status) => Failure::Gateway,
            500.. => Failure::Server,
            _ if retried.has(status) => Failure::Refused,
            _ => Failure::None,
        }
    }

    /// Returns `true` if another endpoint may do better.
    pub(crate) fn is_retried(self) -> bool {
        match self {
            Failure::None | Failure::Server | Failure::Unknown => false,
            Failure::Connect
            | Failure::Timeout
            | Failure::Reset
            | Failure::Gateway
            | Failure::RateLimit
            | Failure::Refused => true,
        }
    }
}

/// Returns the HTTP status that means the same as a gRPC status: those of `google.rpc.Code`. All
/// statuses that a service chooses for its client are 400.
fn equivalent(grpc_status: i32) -> u32 {
    const UNKNOWN: i32 = 2;
    const RESOURCE_EXHAUSTED: i32 = 8;
    const INTERNAL: i32 = 13;
    const UNAVAILABLE: i32 = 14;
    const DATA_LOSS: i32 = 15;
    match grpc_status {
        UNAVAILABLE => 503,
        RESOURCE_EXHAUSTED => 429,
        UNKNOWN | INTERNAL | DATA_LOSS => 500,
        _ => 400,
    }
}
