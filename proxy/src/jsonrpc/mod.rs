//! The protocol: requests and batches, ids, classification of responses, error answers.
//!
//! [`inspect`] reads a client's body, [`classify`] alone turns a response into an outcome, `batch`
//! finds the answer of each member of a batch.

mod answer;
pub mod batch;
pub mod classify;
mod decimal;
pub mod id;
pub mod inspect;
mod member;
mod quoted;
mod raw;
pub mod refusal;

pub use batch::{Expected, MemberAnswer, MemberRequest};
pub use decimal::decimal;
pub use id::Id;
pub use inspect::{Inspected, inspect};
pub use quoted::{RequestText, RequestWords, unquoted};
pub use refusal::{Refusal, whole_secs};
