//! End-to-end tests: the real binary as a process, over real sockets, between scripted origins and
//! a client that inspects every byte.
//!
//! Themes:
//! - `answers`: good requests: the endpoint's answer byte for byte, and no leaks in either
//!   direction.
//! - `bad_input`: bad requests, which affect only their client.
//! - `framing`: raw bytes of clients, and the end of each request.
//! - `failover`: endpoint failures, which are hidden from clients.
//! - `table`: each row of the shipped policy's table.
//! - `nonsense`: endpoints that send invalid answers.
//! - `wire_endpoint`: a table of endpoints' raw bytes.
//! - `ids`: ids that JSON libraries rewrite.
//! - `http`: pools of plain HTTP, whose bytes stream through.
//! - `routes`: hosts, changed paths and headers, own answers, CORS, the client's identity.
//! - `http2`: HTTP/2 to clients, and its floods.
//! - `grpc`: gRPC calls on both sides.
//! - `http2_endpoints`: plain HTTP to endpoints that speak HTTP/2.
//! - `compression`: compressed responses.
//! - `route_details`: own answers, precedence of headers, reloads of routes.
//! - `cors`: pages of other sites.
//! - `websocket`: WebSocket connections and their ends.
//! - `streams`: long bodies and answers, and slow readers and senders.
//! - `batches`: answers of members, and retries of members.
//! - `hedging`: hedges of slow attempts, and the retry budget.
//! - `property`: properties under random faults.
//! - `health`: health checks by probes.
//! - `chain`: health checks of the chain and its head.
//! - `connections`: keep-alive, names, answers in pieces.
//! - `limits`: rate limits, concurrency, batch sizes.
//! - `slow_clients`: clients that send requests slowly.
//! - `room`: limits of clients' connections and memory.
//! - `tls`: endpoints behind HTTPS, their authorities and the proxy's certificate.
//! - `listeners`: TLS for clients.
//! - `certificates`: certificates as a part of the generation.
//! - `proxy_protocol`: clients that a load balancer's header names.
//! - `lifecycle`: start, signals, clients that disconnect.
//! - `reload`: changed and kept state, also under load.
//! - `mixed`: two hundred reloads under load of every kind.
//! - `rollback`: the previous generation's state.
//! - `watch`: changes of the plugin folder without a signal.
//! - `cache`: compiled code on disk.
//! - `signed`: signatures of plugins.
//! - `refusals`: refused confs and plugins, and their errors.
//! - `admin`: health, status, metrics, secrets.
//! - `silence`: endpoints that accept requests and never answer, and their recovery.
//! - `poison`: effects of one client's requests on the others.
//! - `admin_wire`: raw bytes for the admin address, and forbidden requests.
//! - `files`: paths in the conf to special files.
//! - `printed`: output to terminals and logs.
//! - `explain`: the explanation of the next request.
//! - `shadow`: policies that run without effect.
//! - `canary`: policies that decide a share of the requests.
//! - `abi`: modules of each minor version of the ABI, and tags by name.
//! - `policies`: good and bad decisions of modules.
//! - `examples`: policies in other languages, of the SDK's folder.
//! - `guests`: hostile and broken modules, each file of `tests/guests` and each generated one.
//! - `nodes`: two real Ethereum nodes.
//! - `large`: long bodies, and the proxy's memory.
//! - `libraries`: ethers, viem and web3.py before these nodes, over TLS.
//! - `tools`: curl and h2load.
//! - `layers`: allowed imports of the source.
//! - `documents`: links, the book's pages, and the page of the metrics.
//!
//! A test is a script and an expectation. Code shared by themes is in the package `testkit`, here
//! `support`. A pure function is tested beside its code, not here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

pub(crate) use testkit as support;

mod abi;
mod admin;
mod admin_wire;
mod answers;
mod bad_input;
mod batches;
mod cache;
mod canary;
mod certificates;
mod chain;
mod compression;
mod connections;
mod cors;
mod documents;
mod examples;
mod explain;
mod failover;
mod files;
mod framing;
mod grpc;
mod guests;
mod health;
mod hedging;
mod http;
mod http2;
mod http2_endpoints;
mod ids;
mod large;
mod layers;
mod libraries;
mod lifecycle;
mod limits;
mod listeners;
mod mixed;
mod nodes;
mod nonsense;
mod poison;
mod policies;
mod printed;
mod property;
mod proxy_protocol;
mod refusals;
mod reload;
mod rollback;
mod room;
mod route_details;
mod routes;
mod shadow;
mod signed;
mod silence;
mod slow_clients;
mod streams;
mod table;
mod tls;
mod tools;
mod watch;
mod websocket;
mod wire_endpoint;
