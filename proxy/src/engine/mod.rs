//! The attempt engine: tries endpoints until one answers or no further attempt is allowed.
//!
//! [`attempts`] makes attempts, [`follow_up`] settles one that ended and decides what follows. A
//! batch is dispatched in pieces if the endpoint takes no larger ones ([`dispatch`]), and is
//! retried without the members that have their answers ([`call`]). [`relay`] has the attempts of
//! requests whose bytes stream through the gateway.

mod attempts;
mod batch_response;
mod call;
mod dispatch;
mod extra;
mod fairness;
mod follow_up;
mod relay;
mod streaming;

pub use attempts::{Reply, ReplyBody, Trace, run};
pub use call::Call;
pub use relay::{Relay, classify, classify_grpc};
pub use streaming::{Piece, StreamingReply};

#[cfg(test)]
mod tests;
