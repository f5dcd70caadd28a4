//! Conditions that match an attempt.

use pointsman_sdk::{Attempt, Chain, Outcome, Request};

/// The code for invalid parameters. Its message may quote them, so it is no evidence about the
/// endpoint.
const INVALID_PARAMS: i64 = -32602;

/// A signal. Texts are lower case and match at the start of a word, ignoring case.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// The attempt's outcome.
    Ended(Outcome),
    /// An HTTP error with a status in this inclusive range.
    Status(u32, u32),
    /// A JSON-RPC error with this code, whatever the HTTP status.
    Code(i64),
    /// A JSON-RPC error whose message contains one of these texts.
    Message(&'static [&'static str]),
    /// A JSON-RPC error whose message contains a text of each list.
    Both(&'static [&'static str], &'static [&'static str]),
    /// A JSON-RPC error or another error body that contains one of these texts. Not with code
    /// -32602, whose message may quote the client.
    Body(&'static [&'static str]),
}

/// A condition in addition to the signals.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// The request has this method.
    Method(&'static str),
    /// An earlier attempt was sent.
    PriorSent,
    /// The upstream has this chain.
    On(Chain),
}

impl Signal {
    /// Number of texts.
    pub const fn texts(&self) -> usize {
        match self {
            Signal::Message(texts) | Signal::Body(texts) => texts.len(),
            Signal::Both(first, second) => first.len() + second.len(),
            Signal::Ended(_) | Signal::Status(..) | Signal::Code(_) => 0,
        }
    }

    /// The text with number `at`.
    pub const fn text(&self, at: usize) -> &'static str {
        match *self {
            Signal::Message(texts) | Signal::Body(texts) => texts[at],
            Signal::Both(first, _) if at < first.len() => first[at],
            Signal::Both(first, second) => second[at - first.len()],
            Signal::Ended(_) | Signal::Status(..) | Signal::Code(_) => "",
        }
    }

    /// Returns whether the attempt matches. `found` has an entry for each text: whether the message
    /// contains it.
    pub fn matches(&self, attempt: &Attempt, found: &[bool]) -> bool {
        let outcome = attempt.outcome();
        let json_rpc = || outcome == Outcome::RpcError || attempt.rpc_code().is_some();
        match *self {
            Signal::Ended(ended) => outcome == ended,
            Signal::Status(from, to) => outcome == Outcome::HttpError && (from..=to).contains(&attempt.http_status),
            Signal::Code(code) => attempt.rpc_code() == Some(code),
            Signal::Message(_) => any(found) && json_rpc(),
            Signal::Both(first, _) => {
                let (first, second) = found.split_at(first.len());
                any(first) && any(second) && json_rpc()
            }
            Signal::Body(_) => any(found) && attempt.rpc_code() != Some(INVALID_PARAMS),
        }
    }
}

fn any(found: &[bool]) -> bool {
    found.iter().any(|found| *found)
}

impl When {
    /// Returns whether the condition holds.
    pub fn holds(&self, request: &Request) -> bool {
        match *self {
            When::Method(method) => request.method() == method,
            When::PriorSent => request.prior_sent(),
            When::On(chain) => request.chain() == chain,
        }
    }
}
