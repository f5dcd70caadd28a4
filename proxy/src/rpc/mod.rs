//! JSON-RPC over HTTP: what a request is, how an attempt at an endpoint is made, and what its answer means.
//!
//! [`inspect`] reads the client's body, [`engine`] runs attempts until there is an answer, [`exchange`] makes one, and
//! [`classify`] is the only place that turns a response into an outcome. The engine asks a [`Pool`] for endpoints and
//! tells it how attempts ended; it doesn't know how endpoints are chosen. [`probe`] asks endpoints for their own sake.

pub mod classify;
pub mod engine;
pub mod exchange;
pub mod idle;
pub mod inspect;
pub mod probe;
pub mod refusal;
pub mod target;

pub use classify::Expected;
pub use engine::{Lease, Pool, Reply, ReplyBody, Trace};
pub use exchange::Outgoing;
pub use inspect::{Inspected, inspect};
pub use refusal::Refusal;
pub use target::{ClientSettings, Target};
