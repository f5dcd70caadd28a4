//! The outcome of an attempt. Decided once, in `jsonrpc::classify`; no later code looks at a status
//! code.

/// The classified result of an attempt. The numbers are those of the policy ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A clean answer.
    Success,
    /// DNS, connect or TLS failure: nothing was sent.
    ConnectFailed,
    /// The per-try timeout passed.
    Timeout,
    /// The connection broke before a whole answer was read.
    Reset,
    /// An HTTP status from 300 to 599.
    HttpError,
    /// A 2xx whose body is a JSON-RPC error, or a batch whose members are all errors.
    RpcError,
    /// A 2xx that isn't a valid JSON-RPC answer to the request, or a status that isn't one of a
    /// request.
    BadResponse,
    /// The client went away first. Not the endpoint's doing; no policy is asked.
    Canceled,
}

impl Outcome {
    /// Every outcome, in the order of the metrics' label values.
    pub const ALL: [Outcome; 8] = [
        Outcome::Success,
        Outcome::ConnectFailed,
        Outcome::Timeout,
        Outcome::Reset,
        Outcome::HttpError,
        Outcome::RpcError,
        Outcome::BadResponse,
        Outcome::Canceled,
    ];

    /// The name in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::ConnectFailed => "connect_failed",
            Outcome::Timeout => "timeout",
            Outcome::Reset => "reset",
            Outcome::HttpError => "http_error",
            Outcome::RpcError => "rpc_error",
            Outcome::BadResponse => "bad_response",
            Outcome::Canceled => "canceled",
        }
    }

    /// The value in the policy ABI's attempt block, which is also the position in [`Outcome::ALL`].
    pub const fn code(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_positions() {
        for (position, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.code() as usize, position, "{}", outcome.label());
        }
    }
}
