//! What to do with each outcome, as data.
//!
//! The first row that matches decides. A row says four things: whether the request may go to another endpoint, what is
//! held against the endpoint, whether it cools, and whether the attempt is the endpoint's success after all. To teach
//! the policy an outcome, add a row above those that would match it too.

use pointsman_sdk::{Attempt, Outcome};

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// What it is about, in a few words.
    pub name: &'static str,
    /// Which attempts it is about.
    pub signal: Signal,
    /// May another endpoint have a try?
    pub elsewhere: Elsewhere,
    /// What is held against the endpoint.
    pub penalty: Penalty,
    /// Is the endpoint left alone for a time?
    pub cools: Cools,
    /// Is it an answer, in the form of an error?
    pub success: bool,
}

/// What an attempt is recognised by.
#[derive(Debug)]
pub enum Signal {
    /// How it ended.
    Ended(Outcome),
    /// An HTTP error with a status from the first to the second.
    Status(u32, u32),
    /// A JSON-RPC error with this code.
    Code(i64),
}

/// Which requests may go to another endpoint. The proxy's own rules hold beyond this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// None: another endpoint would answer the same.
    No,
    /// Reads.
    Reads,
    /// Reads, writes that may be sent twice, and writes of which nothing was sent.
    Safe,
}

/// Which of the conf's penalties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// None.
    None,
    /// `connect_failed_ms`.
    ConnectFailed,
    /// `timeout_ms`.
    Timeout,
    /// `reset_ms`.
    Reset,
    /// `server_error_ms`.
    ServerError,
    /// `rate_limited_ms`.
    RateLimited,
    /// `client_error_ms`.
    ClientError,
}

/// Whether the endpoint cools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cools {
    /// No.
    No,
    /// By the upstream's backoff.
    Backoff,
    /// As long as `Retry-After` says; by the upstream's backoff without one.
    RetryAfter,
}

/// First match wins.
#[rustfmt::skip] // A table reads by its columns.
pub const TABLE: &[Row] = {
    use Elsewhere::{No, Reads, Safe};
    use Outcome::{BadResponse, ConnectFailed, Reset, RpcError, Timeout};
    use Signal::{Code, Ended, Status};
    &[
        row("connect, DNS or TLS failure", Ended(ConnectFailed), Safe,  Penalty::ConnectFailed, Cools::Backoff),
        row("timeout",                     Ended(Timeout),       Safe,  Penalty::Timeout,       Cools::Backoff),
        row("reset",                       Ended(Reset),         Safe,  Penalty::Reset,         Cools::Backoff),
        row("rate limited",                Status(429, 429),     Safe,  Penalty::RateLimited,   Cools::RetryAfter),
        row("server error",                Status(500, 599),     Reads, Penalty::ServerError,   Cools::Backoff),
        // A redirect is no answer either: somebody gave this endpoint the wrong URL.
        row("refused or redirected",       Status(300, 499),     Reads, Penalty::ClientError,   Cools::No),
        row("limit exceeded",              Code(-32005),         Safe,  Penalty::RateLimited,   Cools::RetryAfter),
        row("internal error",              Code(-32603),         Reads, Penalty::ServerError,   Cools::Backoff),
        Row { success: true, ..row("an error is the answer", Ended(RpcError), No, Penalty::None, Cools::No) },
        row("no JSON-RPC",                 Ended(BadResponse),   Reads, Penalty::ServerError,   Cools::No),
    ]
};

/// A row about a failure.
const fn row(name: &'static str, signal: Signal, elsewhere: Elsewhere, penalty: Penalty, cools: Cools) -> Row {
    Row { name, signal, elsewhere, penalty, cools, success: false }
}

impl Signal {
    /// Is the attempt one of these?
    pub fn matches(&self, attempt: &Attempt) -> bool {
        match *self {
            Signal::Ended(outcome) => attempt.outcome() == outcome,
            Signal::Status(from, to) => {
                attempt.outcome() == Outcome::HttpError && (from..=to).contains(&attempt.http_status)
            }
            Signal::Code(code) => attempt.outcome() == Outcome::RpcError && attempt.rpc_code() == Some(code),
        }
    }
}

/// The row that decides about an attempt. `None` for what the table doesn't know, such as a later version's outcome.
pub fn find(attempt: &Attempt) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.signal.matches(attempt))
}
