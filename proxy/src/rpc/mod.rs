//! JSON-RPC over HTTP: what a request is, how an attempt at an endpoint is made, and what its answer means.
//!
//! [`inspect`] reads the client's body, [`engine`] runs attempts until there is an answer, [`exchange`] makes one, and
//! [`classify`] is the only place that turns a response into an outcome. `batch` finds the answer of each member of a batch, `part`
//! makes requests of some of them. The engine asks a [`Pool`] for endpoints and tells it how attempts ended; it doesn't know how
//! endpoints are chosen. [`probe`] asks endpoints for their own sake.

mod answer;
mod batch;
mod buffered;
pub mod classify;
mod decimal;
mod duplex;
pub mod engine;
pub mod exchange;
mod fairness;
mod id;
pub mod idle;
pub mod inspect;
mod judge;
mod landed;
mod member;
mod part;
mod patience;
mod pieces;
mod pool;
pub mod probe;
mod quoted;
mod raw;
pub mod refusal;
mod replayed;
mod request;
mod response;
mod stream;
pub mod target;
mod transport;

pub use batch::{Expected, MemberRequest};
pub use buffered::{Buffered, Held};
pub use decimal::decimal;
pub use engine::{Reply, ReplyBody, Trace};
pub use exchange::{Arriving, Outgoing};
pub use id::Id;
pub use idle::{Connection, Home, become_worker};
pub use inspect::{Inspected, inspect};
pub use part::Call;
pub use pool::{Ask, Case, Extra, Lease, Pool};
pub use quoted::unquoted;
pub use refusal::Refusal;
pub use stream::PlainStream;
pub use target::{ClientSettings, Target};
pub use transport::Transport;
