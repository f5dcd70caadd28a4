//! Cost of a whole request: Pointsman with all features compared with Pingora alone, nginx, HAProxy
//! and Envoy, if they are installed. Run with `make bench`; `ARGS="--help"` lists the options.
//!
//! wrk generates the load (h2load over HTTP/2, a client of our own for TLS handshakes), a separate
//! nginx is the origin, and both share the machine with the proxy. So the stable figure is processor time per request; requests per second and latencies
//! depend on the machine, and only the ratios within one run characterise a proxy.
//!
//! - The proxies alternate, round by round, each as a new process with the same number of threads.
//!   A figure is the median over the rounds, a ratio the median of the rounds' ratios.
//! - *Processor time* is the user and system time of all threads of the proxy's processes between
//!   the first connection and the last response, divided by the requests that the load generator counted. It
//!   includes opening connections, and requests in flight at the end aren't counted: with thousands
//!   of connections the figure is too high, especially for slow proxies.
//! - *Resident* is the peak memory of the proxy's processes under the load. Pages shared by nginx's
//!   processes count for each of them.
//! - Before the measurement, a proxy must return the right response and is warmed up. A round with
//!   an error (a status from 400 on, a broken connection, a timeout of 10 s) has no figures and is
//!   reported as failed.
//! - Clients with TLS use TLS 1.3, and every proxy has a certificate of the same kind (ECDSA P-256).
//! - Memory of an idle connection is the growth of resident memory with 5,000 of them: see
//!   `parts/idle.rs`.
//! - Latencies are wrk's and h2load's, which wait for a response before it sends the next request on a
//!   connection. Latencies of `rate` count from the time a request was due, at a fixed rate.
//!
//! `--plot FILE` draws the plots of a run's data and measures nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]
#![allow(unreachable_pub, reason = "a benchmark exports nothing; `pub` marks what a module offers the others")]

#[path = "../peers/mod.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod peers;

mod authority;
mod clients;
mod constant;
mod contenders;
mod data;
mod figures;
mod load;
mod machine;
mod measure;
mod options;
mod origin;
mod parts;
mod plot;
mod table;
mod usage;
mod websocket;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use contenders::Contender;
use data::Data;
use options::Options;

fn main() -> anyhow::Result<()> {
    let options = Options::read();
    match &options.plot {
        Some(file) => plot::draw(&Data::read(file)?, &options.into),
        None => run(&options),
    }
}

/// Runs every chosen part in sequence and writes the data to disk after each.
fn run(options: &Options) -> anyhow::Result<()> {
    load::binary("wrk").context("wrk is missing: install it from your system's packages")?;
    peers::nginx::binary().context("nginx, the origin, is missing: install it from your system's packages")?;
    let open_files = raise_open_files()?;
    let contenders = Contender::installed(&options.proxies());
    let mut data = Data::new(options.settings(), &contenders);
    table::head(&data, &options.proxies(), &contenders);
    for part in options.parts() {
        part.run(&contenders, open_files, &mut data)?;
        data.write(&options.out)?;
    }
    println!("\nThe data: {}", options.out.display());
    Ok(())
}

/// Raises the limit of open files to its maximum: a proxy needs two for each connection. Returns
/// the limit, which child processes inherit.
fn raise_open_files() -> anyhow::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}
