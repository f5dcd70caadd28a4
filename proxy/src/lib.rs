//! The modules of Pointsman, in reading order: from data types to their use.
//!
//! Imports point downward only, from the end of this list to its start; `tests/e2e/layers.rs`
//! enforces this. ARCHITECTURE.md describes the two flows that cross all modules: the life of a
//! request and the life of a reload.

pub mod admin;
pub mod chain;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod dns;
pub mod engine;
pub mod files;
pub mod fingerprint;
pub mod gateway;
pub mod health;
pub mod hex;
pub mod housekeeping;
pub mod jsonrpc;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod policy;
pub mod progress;
pub mod reload;
pub mod report;
pub mod server;
pub mod signature;
pub mod snapshot;
pub mod text;
pub mod tls;
pub mod upstream;
pub mod watcher;
pub mod worker;
