//! The proxy as its users meet it: the real binary as a process, over real sockets, between
//! scripted origins and a client that sees every byte.
//!
//! Where a test belongs:
//! - `answers`: a good request gets an endpoint's answer, byte for byte, and nothing leaks either
//!   way.
//! - `bad_input`: what a client does wrong is its own trouble only.
//! - `framing`: raw bytes of clients, and where each request ends.
//! - `failover`: what an endpoint does wrong is not the client's trouble.
//! - `table`: each row of the shipped policy's table.
//! - `nonsense`: endpoints that send anything but an answer.
//! - `wire_endpoint`: a table of what endpoints send, byte by byte.
//! - `ids`: ids that JSON libraries write in another way.
//! - `streams`: long bodies and answers, and who reads or sends them slowly.
//! - `batches`: what belongs to which member, and what is asked again elsewhere.
//! - `hedging`: second attempts beside slow ones, and the retry budget.
//! - `property`: what must hold whatever endpoints do.
//! - `health`: which endpoints are fit, as probes find.
//! - `chain`: which of them are of the right chain, and up with it.
//! - `connections`: kept connections, names, answers in pieces.
//! - `limits`: rate limits, concurrency, batch sizes.
//! - `slow_clients`: clients that take their time with a request.
//! - `room`: what clients may hold of the process: connections, memory.
//! - `tls`: endpoints behind HTTPS.
//! - `lifecycle`: start, signals, clients that leave.
//! - `reload`: what a reload changes and keeps, also under load.
//! - `rollback`: what comes back of the previous generation.
//! - `watch`: changes of the plugin folder that nobody tells.
//! - `cache`: compiled code on disk.
//! - `signed`: signatures of plugins.
//! - `refusals`: confs and plugins that are refused, and how it is told.
//! - `admin`: health, status, metrics, secrets.
//! - `silence`: endpoints that accept requests and never answer, and their way back.
//! - `poison`: what one client can make of a pool for the others.
//! - `admin_wire`: raw bytes for the admin address, and who is kept away from it.
//! - `files`: paths in the conf that lead to anything but a file.
//! - `printed`: what reaches terminals and logs.
//! - `explain`: what the operator is told about the next request.
//! - `shadow`: policies that are tried without effect.
//! - `canary`: policies that decide a share of the requests.
//! - `policies`: modules that decide, well or badly.
//! - `examples`: policies in other languages, of the SDK's folder.
//! - `guests`: hostile and broken modules, each file of `tests/guests` and each generated one.
//! - `nodes`: two real Ethereum nodes.
//! - `layers`: what the source may import.
//! - `documents`: links, the book's pages, and the page of the metrics.
//!
//! A test reads as a script and an expectation. What more than one theme needs is in `support`. A
//! pure function is tested beside its code, not here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]
#![allow(unreachable_pub, reason = "the support is written like a library")]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod admin_wire;
mod answers;
mod bad_input;
mod batches;
mod cache;
mod canary;
mod chain;
mod connections;
mod documents;
mod examples;
mod explain;
mod failover;
mod files;
mod framing;
mod guests;
mod health;
mod hedging;
mod ids;
mod layers;
mod lifecycle;
mod limits;
mod nodes;
mod nonsense;
mod poison;
mod policies;
mod printed;
mod property;
mod refusals;
mod reload;
mod rollback;
mod room;
mod shadow;
mod signed;
mod silence;
mod slow_clients;
mod streams;
mod table;
mod tls;
mod watch;
mod wire_endpoint;
