//! The retry table.
//!
//! The first row that matches decides. A row defines whether the request may go to another
//! endpoint, the penalty and the cooldown of the endpoint that was tried, and further effects. To
//! support another error, add a row above those that would match it too. The numbers are those of
//! the table in `docs/retry-table.md`; 0 is for rows that it omits.
//!
//! Invariant: no client can cause a cooldown or a method ban by the words of its request. If a
//! message quotes the request, the proxy calls the policy twice, the second time without the quoted
//! words, and follows the milder decision. But a contract chooses the words of its own revert,
//! which the request doesn't contain: the row for reverts comes before the rows that match by
//! words.

use pointsman_sdk::{Attempt, Chain, Outcome, Request};

use crate::signal::Signal::{self, Body, Both, Code, Ended, Message, Status};
use crate::signal::When::{self, Method, On, PriorSent};
use crate::text;

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number of the row in `docs/retry-table.md`.
    pub row: u8,
    /// Short description.
    pub name: &'static str,
    /// Signals, at least one of which must match.
    pub any: &'static [Signal],
    /// Conditions, all of which must hold too.
    pub when: &'static [When],
    /// Requests that may go to another endpoint.
    pub elsewhere: Elsewhere,
    /// Penalty of the endpoint.
    pub penalty: Penalty,
    /// Cooldown of the endpoint.
    pub cools: Cools,
    /// Further effect.
    pub also: Also,
}

/// Requests that may go to another endpoint. The proxy's own rules apply in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// None: another endpoint would return the same error.
    No,
    /// Reads.
    Reads,
    /// Reads, idempotent writes, and writes of which no bytes were sent.
    Safe,
    /// `trace_` and `debug_` methods: nodes differ in their checks before they replay a
    /// transaction.
    Traces,
    /// `eth_sendRawTransaction`, once.
    RawTransactionOnce,
}

/// A penalty of the conf.
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

/// A cooldown of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cools {
    /// None.
    No,
    /// The upstream's backoff.
    Backoff,
    /// The upstream's backoff from the third consecutive failure on: the request may be the cause
    /// of the first.
    BackoffLater,
    /// The delay of `Retry-After`; the upstream's backoff without one.
    RetryAfter,
    /// `quota_cooldown_ms`.
    Quota,
    /// `auth_cooldown_ms`.
    Auth,
}

/// A further effect of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    /// None.
    Nothing,
    /// The attempt counts as a success of the endpoint: a response in the form of an error.
    Success,
    /// The endpoint knows the transaction, so the client's goal is reached.
    Landed,
    /// The next endpoint must allow a larger range of blocks.
    LargerRange,
    /// The next endpoint should have more blocks or older state.
    History,
    /// The method is banned at the endpoint for `method_ban_ms`.
    BanMethod,
    /// A warning is logged: only the operator can fix it.
    Warning,
}

const SEND_RAW_TRANSACTION: When = Method("eth_sendRawTransaction");

/// First match wins.
#[rustfmt::skip] // A row has a few lines: name, signals, effects.
pub const TABLE: &[Row] = &[
    on(1, "connect, DNS or TLS failure", &[Ended(Outcome::ConnectFailed)])
        .elsewhere(Elsewhere::Safe).penalty(Penalty::ConnectFailed).cools(Cools::Backoff),

    // These messages may contain the client's words: a revert's reason, a method's name, a tracer's
    // source.
    on(10, "a revert", &[Code(3), Message(&["revert", "vm exception", "vm execution error"])]).also(Also::Success),
    on(14, "no such method", &[Code(-32601)]).elsewhere(Elsewhere::Safe).also(Also::BanMethod),
    on(16, "the client's own tracer", &[Message(&["in server-side tracer function"])]).also(Also::Success),

    on(2, "the range of blocks is too large", &[Message(&[
        "range too large", "returned more than", "is too big", "max block range", "maximum block range",
        "range is too wide", "range is too large", "response size exceeded", "query exceeds max results",
    ]), Both(&["limited to a", "up to a"], &["range"])])
        .elsewhere(Elsewhere::Safe).also(Also::LargerRange),

    on(3, "the sender of a transaction is limited", &[Body(&["sender is over rate limit"])]),

    on(4, "the quota is used up", &[Status(402, 402), Body(&["monthly capacity", "/billing"])])
        .elsewhere(Elsewhere::Safe).cools(Cools::Quota),

    // Row 5 would match these: the code for a rate limit, and its words.
    on(8, "a Solana node is behind, or has no such block", SOLANA_HISTORY).when(&[On(Chain::Solana)])
        .elsewhere(Elsewhere::Safe).also(Also::History),
    on(11, "too much gas", &[Message(&["gas limit exceeded"])])
        .elsewhere(Elsewhere::Traces).also(Also::Success),

    on(5, "rate limited", &[Status(429, 429), Code(-32005), Code(429), Body(&[
        "rate limit", "limit exceeded", "too many requests", "request limit reached", "compute units per second",
    ])])
        .elsewhere(Elsewhere::Safe).penalty(Penalty::RateLimited).cools(Cools::RetryAfter),

    on(6, "the transaction is known", &[Message(&[
        "already known", "alreadyknown", "already imported", "known transaction",
    ])])
        .when(&[SEND_RAW_TRANSACTION]).also(Also::Landed),

    on(7, "the nonce was used, perhaps by an earlier attempt", &[Message(NONCE_TOO_LOW)])
        .when(&[SEND_RAW_TRANSACTION, PriorSent]).also(Also::Success),

    on(8, "a block or state that the endpoint lacks", &[Message(&[
        "header not found", "missing trie node", "unknown block", "historical state", "world state unavailable",
        "no state available", "is pruned", "greater than latest", "beyond current head",
    ])])
        .elsewhere(Elsewhere::Safe).also(Also::History),

    on(9, "a block tag or transaction type that the endpoint lacks", &[Message(&[
        "safe block not found", "finalized block not found", "pending block is not available",
        "transaction type not supported", "unsupported transaction type", "unknown transaction type",
    ]), Both(&["safe", "finalized", "pending"], &["unsupported", "not supported"])])
        .elsewhere(Elsewhere::Safe),

    // Reverts are above.
    on(10, "the EVM's verdict", &[Message(&[
        "evm error", "out of gas", "gas required exceeds", "invalid opcode", "invalid jump", "stack underflow",
        "stack limit reached",
    ])])
        .also(Also::Success),

    on(11, "the transaction is not valid", &[Message(&[
        "insufficient funds", "intrinsic gas", "nonce too high", "rlp", "exceeds block gas limit",
        "max fee per gas less than", "invalid sender",
    ]), Message(NONCE_TOO_LOW)])
        .elsewhere(Elsewhere::Traces).also(Also::Success),

    on(12, "the transaction pays too little", &[Message(&[
        "replacement transaction underpriced", "transaction underpriced",
    ])])
        .also(Also::Success),

    on(13, "the transaction was rejected", &[Code(-32003), Message(&["txpool is full"])])
        .elsewhere(Elsewhere::RawTransactionOnce),

    // The message may quote the parameters and so contain the words of rows 14 and 15.
    on(16, "the parameters are not valid", &[Code(-32602)]).also(Also::Success),

    on(14, "a method that the endpoint lacks", &[Code(-32004), Status(405, 405), Status(415, 415), Message(&[
        "disabled", "method not found", "method not supported", "method not enabled", "not whitelisted",
    ]), Both(&["method"], &["not available"])])
        .elsewhere(Elsewhere::Safe).also(Also::BanMethod),

    on(15, "the credentials are refused", &[Status(401, 401), Status(403, 403), Body(&["invalid api key"])])
        .elsewhere(Elsewhere::Reads).penalty(Penalty::ClientError).cools(Cools::Auth).also(Also::Warning),

    on(16, "the request is not valid", &[Code(-32600), Message(&["filter not found"])])
        .also(Also::Success),

    // The cause may be an expensive request alone.
    on(17, "the execution took too long", &[Message(&["execution timeout", "execution aborted"])])
        .elsewhere(Elsewhere::Reads).penalty(Penalty::ServerError).cools(Cools::BackoffLater),
    on(17, "server error", &[Status(500, 599), Code(-32603)])
        .elsewhere(Elsewhere::Reads).penalty(Penalty::ServerError).cools(Cools::Backoff),
    on(17, "no answer that makes sense", &[Ended(Outcome::BadResponse), Code(-32700), Code(-32000)])
        .elsewhere(Elsewhere::Reads).penalty(Penalty::ServerError).cools(Cools::BackoffLater),

    on(18, "timeout", &[Ended(Outcome::Timeout)])
        .elsewhere(Elsewhere::Safe).penalty(Penalty::Timeout).cools(Cools::Backoff),
    on(18, "reset", &[Ended(Outcome::Reset)])
        .elsewhere(Elsewhere::Safe).penalty(Penalty::Reset).cools(Cools::Backoff),

    // A redirect is no valid response either: the endpoint's URL is wrong.
    on(0, "refused or redirected", &[Status(300, 499)])
        .elsewhere(Elsewhere::Reads).penalty(Penalty::ClientError),
    on(0, "an error is the answer", &[Ended(Outcome::RpcError)]).also(Also::Success),
];

/// With a prior attempt, row 7; without one, the client's mistake of row 11.
const NONCE_TOO_LOW: &[&str] = &["nonce too low", "nonce is too low", "oldnonce"];

/// Cleaned up, not available, unhealthy or behind, status not available yet, context slot not
/// reached.
const SOLANA_HISTORY: &[Signal] = &[Code(-32001), Code(-32004), Code(-32005), Code(-32014), Code(-32016)];

/// Creates a row that returns the response, without effects on the endpoint.
const fn on(row: u8, name: &'static str, any: &'static [Signal]) -> Row {
    let (elsewhere, penalty, cools, also) = (Elsewhere::No, Penalty::None, Cools::No, Also::Nothing);
    Row { row, name, any, when: &[], elsewhere, penalty, cools, also }
}

impl Row {
    const fn when(self, when: &'static [When]) -> Self {
        Row { when, ..self }
    }

    const fn elsewhere(self, elsewhere: Elsewhere) -> Self {
        Row { elsewhere, ..self }
    }

    const fn penalty(self, penalty: Penalty) -> Self {
        Row { penalty, ..self }
    }

    const fn cools(self, cools: Cools) -> Self {
        Row { cools, ..self }
    }

    const fn also(self, also: Also) -> Self {
        Row { also, ..self }
    }
}

/// Returns the row that decides about an attempt, or `None` if no row matches, such as for a later
/// version's outcome.
pub fn find(request: &Request, attempt: &Attempt) -> Option<&'static Row> {
    let found = text::find_in(attempt.message());
    // Texts are numbered in the table's order, so each signal takes its entries from the front.
    let mut found = found.as_slice();
    TABLE.iter().find(|row| {
        let mut any = false;
        for signal in row.any {
            let (own, rest) = found.split_at(signal.texts());
            found = rest;
            any |= signal.matches(attempt, own);
        }
        any && row.when.iter().all(|when| when.holds(request))
    })
}
