//! What clients see when endpoints fail: scripted faults behind Pointsman, and behind nginx,
//! HAProxy and Envoy where they are installed. Run with `make bench-faults`; `ARGS="--help"` lists
//! what can be chosen.
//!
//! Every proxy in turn serves the same load in front of the same scripted origins. Origins and
//! client live in this process, so each request is followed from its schedule to every endpoint
//! that it reached:
//!
//! - The load comes at a fixed rate, and a request's latency counts from the moment it was due. A
//!   proxy that holds requests up can't hide it by slowing the client down.
//! - *Answered* is a read that got HTTP 200 with a JSON-RPC result for its id. Percentiles are over
//!   all reads, answered or not.
//! - *Attempts* are requests that arrived at origins, divided by requests of the client; health
//!   checks don't count.
//! - A *doubled write* is an `eth_sendTransaction` that arrived more than once.
//!   `eth_sendRawTransaction` is known by its hash, so arriving twice does no harm; it has a column
//!   of its own.
//!
//! What an origin does depends on its seed, the request's number and the time alone. Which request
//! gets which number is up to the proxy and the scheduler: figures repeat closely, not exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]
#![allow(unreachable_pub, reason = "a benchmark exports nothing; `pub` marks what a module offers the others")]

#[path = "../../../tests/support/http.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod http;
#[path = "../peers/mod.rs"]
#[allow(dead_code, reason = "another benchmark needs more of it")]
mod peers;

mod ledger;
mod load;
mod options;
mod origin;
mod proxies;
mod report;
mod scenarios;
mod script;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use ledger::Ledger;
use load::{Connections, Plan};
use options::Options;
use origin::Pool;
use report::{Figures, Report};
use script::Script;

/// From the last preparation to the first request.
const LEAD: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<()> {
    let options = Options::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let met = runtime.block_on(measure(&options))?;
    // Aims are told, not enforced: a busy machine must not look like a broken build, unless that is
    // asked for.
    anyhow::ensure!(met || !options.strict, "an aim is missed");
    Ok(())
}

/// Every chosen proxy in every chosen scenario. Tells whether the aims are met.
async fn measure(options: &Options) -> anyhow::Result<bool> {
    let plan = options.plan();
    let mut report = Report::new();
    let good = good_endpoint(&plan).await?;
    report.add_good(&good);
    for scenario in scenarios::all(plan.length).iter().filter(|scenario| options.wants_scenario(scenario.name)) {
        for proxy in options.proxies() {
            let Some(binary) = proxy.find() else {
                report.skip(scenario.name, proxy);
                continue;
            };
            let pool = Pool::bind(scenario.scripts.len()).await?;
            let running = proxy.start(&binary, &pool.addresses(), options)?;
            let plan = Plan { poison: scenario.poison, ..plan };
            let figures = run(&plan, pool, &scenario.scripts, Some(running.address())).await?;
            report.add(scenario, proxy, figures);
        }
    }
    Ok(report.finish(&good))
}

/// What the client measures at a good endpoint with nothing between.
async fn good_endpoint(plan: &Plan) -> anyhow::Result<Figures> {
    let pool = Pool::bind(1).await?;
    run(plan, pool, &[Script::always(script::Conduct::Serve)], None).await
}

/// The load on `target`, or else on the first origin.
async fn run(plan: &Plan, pool: Pool, scripts: &[Script], target: Option<SocketAddr>) -> anyhow::Result<Figures> {
    let address = target.or(pool.addresses().first().copied()).context("a target")?;
    let ledger = Arc::new(Ledger::new(plan.requests()));
    // Scripts begin with what is measured: the warm-up is spent in their first step.
    let first = Instant::now() + LEAD;
    let origins = pool.serve(scripts, first + plan.warm_up, plan.seed, &ledger);
    let connections = Connections::open(address, plan.connections).await?;
    let samples = plan.run(first, connections).await;
    drop(origins);
    Ok(Figures::of(plan, &samples, &ledger))
}
