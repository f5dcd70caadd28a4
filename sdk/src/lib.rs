//! Write Pointsman policies in Rust.
//!
//! A policy is a WebAssembly module that the proxy calls on its hot path: a *scoring* policy ranks
//! the endpoints that may take an attempt, a *retry* policy says what to do after an attempt that
//! was not a clean success, and may plan a request ahead. This crate gives both their types and
//! exports the functions that `sdk/ABI.md` specifies; a policy's author sees neither a pointer nor
//! a layout.
//!
//! ```
//! use pointsman_sdk::{Endpoints, Policy, Request, Scoring};
//! use serde::Deserialize;
//!
//! /// Fewest requests under way wins, in proportion to weight.
//! struct LeastRequest {
//!     bias: f64,
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     #[serde(default)]
//!     bias: f64,
//! }
//!
//! impl Policy for LeastRequest {
//!     type Config = Config;
//!
//!     fn configure(config: Config) -> Result<Self, String> {
//!         if config.bias < 0.0 {
//!             return Err(format!("bias is {}, but must not be negative", config.bias));
//!         }
//!         Ok(LeastRequest { bias: config.bias })
//!     }
//! }
//!
//! impl Scoring for LeastRequest {
//!     fn score(&self, _request: &Request, endpoints: Endpoints<'_>, scores: &mut [f64]) {
//!         endpoints.score_each(scores, |endpoint| {
//!             f64::from(endpoint.weight) / (f64::from(endpoint.in_flight) + 1.0 + self.bias)
//!         });
//!     }
//! }
//!
//! pointsman_sdk::export_policy!(LeastRequest: scoring);
//! ```
//!
//! Build it as a `cdylib` for `wasm32-unknown-unknown` and put the `.wasm` into the proxy's plugin
//! folder. Natively the macro exports nothing, so that the same crate has ordinary unit tests:
//!
//! ```
//! # use pointsman_sdk::{Endpoint, Endpoints};
//! let rows = [Endpoint { weight: 60, in_flight: 3, ..Endpoint::default() }, Endpoint::default()];
//! let endpoints = Endpoints::from(&rows[..]);
//! assert_eq!(endpoints[0].in_flight, 3);
//! ```
//!
//! # What a policy must keep to
//!
//! - **Pure.** Time and a random seed are fields of [`Request`]; there is no clock, no file and no
//!   network. The same input gives the same answer on every machine.
//! - **Forgetful.** Every worker thread has an instance of its own, replaced at any time. What
//!   `configure` built is all that a hot call may count on; that is why hot calls get `&self`.
//! - **Frugal.** A hot call has a budget of 100,000 units of fuel and 2,000 per row. Allocation is
//!   possible, but costs more than scoring sixteen rows does.
//! - A panic is a *fault*: its message goes to the proxy's log and the proxy's native policy
//!   answers instead.

mod attempt;
mod decision;
mod endpoint;
mod endpoints;
#[doc(hidden)]
pub mod export;
mod log;
mod macros;
mod plan;
mod request;

pub use attempt::{Attempt, Outcome};
pub use decision::{Cooldown, Decision};
pub use endpoint::Endpoint;
pub use endpoints::{Endpoints, Iter};
pub use log::{Level, log};
pub use plan::Plan;
pub use request::{Chain, Request};

/// The ABI version that this crate implements, `major << 16 | minor`: 1.2.
pub const ABI_VERSION: u32 = 1 << 16 | 2;

/// What every policy has: a configuration.
///
/// `Send + Sync` because the configured policy lives in a static; plain data is both.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The conf's `[policies.<name>.config]` table. Without one the proxy passes an empty table, so
    /// give every key a default that can have one, and put `#[serde(deny_unknown_fields)]` on the
    /// type, so that a misspelt key is an error at load time. [`NoConfig`] is for policies without
    /// any key.
    type Config: serde::de::DeserializeOwned;

    /// Checks the configuration and computes from it what hot calls need. Called once per instance.
    /// An error is shown to the operator and refuses the conf, so name the key, its value and what
    /// it should be.
    fn configure(config: Self::Config) -> Result<Self, String>;
}

/// A policy that ranks the endpoints which may take an attempt.
pub trait Scoring: Policy {
    /// Writes a score for each row; `scores` has as many elements as `endpoints` and all are 0
    /// before the call.
    ///
    /// Higher is better, any finite number will do. NaN and negative infinity leave the endpoint
    /// out of this attempt. To leave out all is a fault: the proxy's native policy chooses instead.
    /// Mind that inputs which aren't known are NaN, and that whatever is computed of NaN is NaN;
    /// [`Endpoint`] has methods that give an `Option` in its place. To turn a request away, see
    /// [`Scoring::refuses`]. Ties are broken by the request's seed. The proxy takes the best
    /// endpoint whose rate limiter admits the request, so the order of the others is the order of
    /// fallbacks.
    fn score(&self, request: &Request, endpoints: Endpoints<'_>, scores: &mut [f64]);

    /// Is no endpoint to get this request? The client is then told that the policy refuses it.
    /// Asked before [`Scoring::score`], which isn't called for a request that is refused. Since
    /// version 1.2; an older proxy says that no endpoint is available.
    fn refuses(&self, _request: &Request, _endpoints: Endpoints<'_>) -> bool {
        false
    }
}

/// A policy that says what to do after an attempt that was not a clean success.
pub trait Retry: Policy {
    /// Decides on one attempt. The decision is a wish: the proxy never sends a write's bytes twice,
    /// never goes beyond the deadline or `max_attempts`, and never tries an endpoint twice in one
    /// request.
    fn retry(&self, request: &Request, attempt: &Attempt) -> Decision;
}

/// A retry policy that also plans each request: how often it may be tried, how long a try may take,
/// and when a second one starts beside the first. Since version 1.1; a proxy of version 1.0 never
/// asks.
pub trait Planning: Retry {
    /// Plans a request, once, after the endpoint of its first attempt was chosen.
    ///
    /// `plan` is what the upstream's conf says; answer it as it is, or changed. The proxy never
    /// allows more attempts than the conf does, never waits beyond the deadline, and hedges reads
    /// only.
    fn plan(&self, request: &Request, endpoint: &Endpoint, plan: Plan) -> Plan;
}

/// The configuration of a policy that has no keys: anything in its table is an error.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
