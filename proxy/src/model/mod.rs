//! Knowledge about endpoints, attempts and outcomes, as plain values and lock-free counters.
//!
//! Invariant: nothing in here reads a clock, a socket or a random number, and nothing here knows
//! Pingora or Wasmtime. Time is a parameter ([`Tick`]), so every rule is tested without waiting.

mod attempt;
mod bans;
mod blame;
mod budget;
mod buffered;
mod cooldown;
mod grpc;
mod guard_rails;
mod headroom;
mod health;
mod histogram;
mod http_facts;
mod outcome;
mod outlier;
mod pace;
mod policy_time;
mod probe_gate;
mod quarantine;
mod ranks;
mod request;
mod sampler;
mod share;
mod silence;
mod stats;
mod time;
mod trial_slot;
mod windows;
mod workload;

pub use attempt::{Action, AttemptResult, CooldownWish, Decision, OWN_LACK, Plan, Preference, RpcError, may_retry};
pub use bans::MethodBans;
pub use blame::{Blame, Elsewhere, is_provoked};
pub use budget::{BudgetLimits, RetryBudget};
pub use buffered::{Buffered, Held};
pub use cooldown::{Backoff, Cooldown, CooldownState};
pub use grpc::{GRPC_CONTENT_TYPE, GRPC_STATUS, GrpcCode, grpc_status};
pub use guard_rails::{Arm, ArmCounts, Breach, Rails};
pub use headroom::{BucketRate, Headroom};
pub use health::{EndpointHealth, HeadLag, HealthRules, HealthState, ProbeFailure, compare_heads};
pub use histogram::{LatencyBuckets, LatencyCounts, LatencyHistogram};
pub use http_facts::{HttpFacts, HttpMethod, Protocol, host_hash};
pub use outcome::Outcome;
pub use outlier::Outlier;
pub use pace::{FloorRate, Pace};
pub use policy_time::PolicyTime;
pub use probe_gate::ProbeGate;
pub use quarantine::{Entry, Quarantine};
pub use ranks::rank_correlation;
pub use request::{MethodClass, RequestFacts, RequestShape};
pub use sampler::{Draws, Sampler};
pub use share::Share;
pub use silence::Silence;
pub use stats::EndpointStats;
pub use time::Tick;
pub(crate) use time::millis_f32;
pub use trial_slot::TrialSlot;
pub use workload::Workload;
