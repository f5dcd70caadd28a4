//! What a whole request costs: Pointsman with everything on beside Pingora alone, nginx, HAProxy
//! and Envoy, as far as they are installed. Run with `make bench`; `ARGS="--help"` lists what can
//! be chosen.
//!
//! The load is wrk, the origin an nginx of its own, and both share the machine with the proxy. So
//! the steady figure is processor time per request; requests per second and latencies tell more
//! about the machine, and only the ratios within one run say something about a proxy.
//!
//! - The proxies take turns, round by round, each as a fresh process with the same number of
//!   threads. A figure is the median over the rounds, a ratio the median of the rounds' ratios.
//! - *Processor time* is that of the proxy's processes, all of their threads, user and system,
//!   between the first connection and the last answer, divided by the requests that wrk counted.
//!   Connections are opened within it, and what is under way at the end isn't counted: with
//!   thousands of connections the figure is too high, and more so for the slow.
//! - *Resident* is the most that the proxy's processes had in memory under the load. Pages that the
//!   processes of nginx share count for each of them.
//! - Before it is measured, a proxy must give the right answer and is warmed up. A round with an
//!   error (a status from 400 on, a broken connection, a timeout of 10 s) has no figures and is
//!   told as such.
//! - Latencies are wrk's, which waits for an answer before it sends the next request on a
//!   connection. Those of `rate` are counted from the moment when a request was due, at a rate that
//!   doesn't yield.
//!
//! `--plot FILE` draws the plots of a run's data and measures nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]
#![allow(unreachable_pub, reason = "a benchmark exports nothing; `pub` marks what a module offers the others")]

#[path = "../../../tests/support/client.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod client;
#[path = "../../../tests/support/http.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod http;
#[path = "../../../tests/support/metrics.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod metrics;
#[path = "../peers/mod.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod peers;
#[path = "../../../tests/support/wait.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod wait;

mod authority;
mod constant;
mod contenders;
mod data;
mod figures;
mod machine;
mod measure;
mod options;
mod origin;
mod parts;
mod plot;
mod table;
mod usage;
mod wrk;

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

/// Every chosen part, one after the other. What is measured is on disk after each of them.
fn run(options: &Options) -> anyhow::Result<()> {
    wrk::binary().context("wrk is missing: install it from your system's packages")?;
    peers::nginx::binary().context("nginx, the origin, is missing: install it from your system's packages")?;
    let open_files = raise_open_files()?;
    let contenders = Contender::installed(&options.proxies());
    let mut data = Data::new(options.settings(), &contenders)?;
    table::head(&data, &options.proxies(), &contenders);
    for part in options.parts() {
        part.run(&contenders, open_files, &mut data)?;
        data.write(&options.out)?;
    }
    println!("\nThe data: {}", options.out.display());
    Ok(())
}

/// As many files as may be: two for each connection of a proxy. Returns how many, which the
/// processes started here inherit.
fn raise_open_files() -> anyhow::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}
