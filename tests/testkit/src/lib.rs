//! Shared by end-to-end tests, the soak test and benchmarks: scripted origins, the proxy as a
//! process, a raw client, policies in WAT.
//!
//! Invariants: ports are free, every wait has a condition and a deadline, and everything that a
//! test starts ends when its value is dropped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(clippy::new_without_default, reason = "a test names what it makes")]
#![allow(missing_docs, reason = "names in tests say what they are")]

mod answer;
mod client;
mod conf;
mod echo;
mod gate;
mod guests;
mod hostile;
mod http;
mod http2;
pub mod json;
mod lane;
mod load;
mod metrics;
mod node;
mod optional;
mod origin;
mod proxy;
mod signer;
mod site;
mod tls;
mod wait;

pub use answer::Answer;
pub use client::{Client, Response, post};
pub use conf::{Conf, Endpoint};
pub use echo::{CLOSE_1001, Echo, read_head};
pub use gate::Gate;
pub use guests::Guest;
pub use hostile::{GENERATED, harmless, hostile, hostile_files};
pub use http::{Head, chunked, dechunk};
pub use http2::{Exchange, Http2Client, Pieces};
pub use load::{Load, under_load};
pub use metrics::Samples;
pub use nix::sys::signal::Signal;
pub use node::{CALL, CHAIN_1, Node, health, json_result, probed, wait_health};
pub use optional::optional;
pub use origin::{Greeting, Origin, Request};
pub use proxy::Proxy;
pub use signer::Signer;
pub use site::{Output, Site, binary, workspace};
pub use tls::{Authority, Issued, TlsClient};
pub use wait::{PATIENCE, wait_for, wait_until};
