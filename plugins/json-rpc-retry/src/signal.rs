//! What an attempt is recognised by.

use pointsman_sdk::{Attempt, Chain, Outcome, Request};

/// The code for wrong parameters. Its message may quote them, so it is no evidence about the
/// endpoint.
const INVALID_PARAMS: i64 = -32602;

/// One sign. Texts are lower case, and are found wherever a word begins, in either case.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// How the attempt ended.
    Ended(Outcome),
    /// An HTTP error with a status from the first to the second.
    Status(u32, u32),
    /// A JSON-RPC error with this code, whatever the HTTP status.
    Code(i64),
    /// A JSON-RPC error whose message holds one of these.
    Message(&'static [&'static str]),
    /// A JSON-RPC error whose message holds one of these and one of those.
    Both(&'static [&'static str], &'static [&'static str]),
    /// The endpoint says one of these, in a JSON-RPC error or a page. Not under -32602, whose
    /// message may quote the client.
    Body(&'static [&'static str]),
}

/// A condition beside the signs.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// The request is of this method.
    Method(&'static str),
    /// An earlier attempt was sent.
    PriorSent,
    /// The endpoints are of this chain.
    On(Chain),
}

impl Signal {
    /// How many texts it looks for.
    pub const fn texts(&self) -> usize {
        match self {
            Signal::Message(texts) | Signal::Body(texts) => texts.len(),
            Signal::Both(first, second) => first.len() + second.len(),
            Signal::Ended(_) | Signal::Status(..) | Signal::Code(_) => 0,
        }
    }

    /// One of those texts.
    pub const fn text(&self, at: usize) -> &'static str {
        match *self {
            Signal::Message(texts) | Signal::Body(texts) => texts[at],
            Signal::Both(first, _) if at < first.len() => first[at],
            Signal::Both(first, second) => second[at - first.len()],
            Signal::Ended(_) | Signal::Status(..) | Signal::Code(_) => "",
        }
    }

    /// Is it there? `found` says of each of its texts whether it is in the message.
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
    /// Does it hold?
    pub fn holds(&self, request: &Request) -> bool {
        match *self {
            When::Method(method) => request.method() == method,
            When::PriorSent => request.prior_sent(),
            When::On(chain) => request.chain() == chain,
        }
    }
}
