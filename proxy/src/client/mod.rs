//! HTTP to endpoints: addresses and connections, one exchange at a time, probes.
//!
//! [`exchange`] sends a request to a [`Target`] and reads as much of the response as decides the
//! outcome; [`probe`] sends requests of the proxy's own. Both send through [`request`] and read
//! through [`response`].

mod connect_failure;
mod duplex;
mod exchange;
mod gathered;
mod hedge_timer;
mod idle;
mod layer;
pub mod probe;
mod probe_http2;
mod replayed;
mod request;
mod response;
mod stream;
pub mod target;
mod transport;

pub use connect_failure::{NO_HTTP2, UNRESOLVED};
pub use exchange::{Answer, AnswerBody, Arriving, Outgoing};
pub(crate) use exchange::{Exchanged, exchange};
pub use gathered::Gathered;
pub(crate) use hedge_timer::HedgeTimer;
pub use idle::{Connection, WorkerId};
pub use layer::{Layer, Layered};
pub use replayed::Replayed;
pub use response::retry_after;
pub use stream::{PlainStream, socket_digest};
pub use target::{ClientSettings, HttpVersion, Target};
pub use transport::Transport;
