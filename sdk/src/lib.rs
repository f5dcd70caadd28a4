//! Write Pointsman policies in Rust.
//!
//! A policy is a WebAssembly module that the proxy calls on its hot path. A *scoring* policy ranks
//! the candidate endpoints. A *retry* policy decides what follows an attempt that was not a clean
//! success, and may plan a request ahead. This crate provides the types for both and exports the
//! functions that `sdk/ABI.md` specifies; a policy's author handles neither pointers nor layouts.
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
//! folder. Natively the macro exports nothing, so the same crate can have ordinary unit tests:
//!
//! ```
//! # use pointsman_sdk::{Endpoint, Endpoints};
//! let rows = [Endpoint { weight: 60, in_flight: 3, ..Endpoint::default() }, Endpoint::default()];
//! let endpoints = Endpoints::from(&rows[..]);
//! assert_eq!(endpoints[0].in_flight, 3);
//! ```
//!
//! # Rules for policies
//!
//! - **Pure.** Time and a random seed are fields of [`Request`]; there is no clock, no file and no
//!   network. The same input gives the same result on every machine.
//! - **Stateless.** Every worker thread has its own instance, which may be replaced at any time. A
//!   hot call can rely only on what `configure` built; that is why hot calls take `&self`.
//! - **Frugal.** A hot call has a budget of 100,000 units of fuel and 2,000 per row. Allocation is
//!   possible, but costs more than scoring sixteen rows.
//! - A panic is a *fault*: the proxy logs its message and uses its native policy instead.

mod attempt;
mod decision;
mod endpoint;
mod endpoints;
#[doc(hidden)]
pub mod export;
mod http;
mod log;
mod macros;
mod plan;
mod request;
mod tags;

pub use attempt::{Attempt, Outcome};
pub use decision::{Cooldown, Decision};
pub use endpoint::Endpoint;
pub use endpoints::{Endpoints, Iter};
pub use http::{HttpMethod, Protocol, hash};
pub use log::{Level, log};
pub use plan::Plan;
pub use request::{Chain, Request};
pub use tags::tag_number;

/// The ABI version that this crate implements, `major << 16 | minor`: 1.2.
pub const ABI_VERSION: u32 = 1 << 16 | 2;

/// A policy with its configuration.
///
/// `Send + Sync` because the configured policy is stored in a static; plain data is both.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The conf's `[policies.<name>.config]` table. Without one the proxy passes an empty table, so
    /// give keys a default where possible. Use `#[serde(deny_unknown_fields)]`, so that a misspelt
    /// key is an error at load time. [`NoConfig`] is for policies without keys.
    type Config: serde::de::DeserializeOwned;

    /// The tags that the policy reads: bit *n* of [`Endpoint::tags`] is the *n*-th of this list,
    /// whatever other tags the conf has. At most 64 different ones of 1 to 64 printable ASCII
    /// characters. Without a list the bits follow the alphabetical order of the upstream's tags, so
    /// a new tag in the conf can move them. Since version 1.2; an older proxy ignores the list.
    const TAGS: &'static [&'static str] = &[];

    /// Validates the configuration and builds the policy. Called once per instance. The operator
    /// sees an error, and the conf is refused, so name the key, its value and the expected value.
    fn configure(config: Self::Config) -> Result<Self, String>;
}

/// A policy that ranks the candidate endpoints.
pub trait Scoring: Policy {
    /// Writes a score for each row. `scores` has as many elements as `endpoints`, initially 0.
    ///
    /// Higher is better; any finite number is valid. NaN and negative infinity exclude the endpoint
    /// from this attempt. Excluding all endpoints is a fault: the proxy's native policy chooses
    /// instead. Unknown inputs are NaN, and so is the result of arithmetic with NaN; [`Endpoint`]
    /// has methods that return an `Option` instead. To refuse a request, see [`Scoring::refuses`].
    /// The request's seed breaks ties. The proxy takes the best endpoint whose rate limiter admits
    /// the request; the others are fallbacks in the order of their scores.
    fn score(&self, request: &Request, endpoints: Endpoints<'_>, scores: &mut [f64]);

    /// Returns `true` to refuse the request, which the error to the client reports. Called before
    /// [`Scoring::score`], which is skipped for a refused request. Since version 1.2; an older
    /// proxy answers that no endpoint is available.
    fn refuses(&self, _request: &Request, _endpoints: Endpoints<'_>) -> bool {
        false
    }
}

/// A policy that decides what follows an attempt that was not a clean success.
pub trait Retry: Policy {
    /// Decides on one attempt. The decision is a request: the proxy never sends a write's bytes
    /// twice, never exceeds the deadline or `max_attempts`, and never tries an endpoint twice in
    /// one request.
    fn retry(&self, request: &Request, attempt: &Attempt) -> Decision;
}

/// A retry policy that also plans each request: the number of attempts, their timeout and the delay
/// of a hedge. Since version 1.1; a proxy of version 1.0 never calls it.
pub trait Planning: Retry {
    /// Plans a request. Called once, after the endpoint of the first attempt was selected.
    ///
    /// `plan` is the upstream's configured plan; return it unchanged or changed. The proxy never
    /// allows more attempts than the conf, never waits beyond the deadline, and hedges reads only.
    fn plan(&self, request: &Request, endpoint: &Endpoint, plan: Plan) -> Plan;
}

/// The configuration of a policy without keys: any key in its table is an error.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
