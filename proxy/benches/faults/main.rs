//! Effect of endpoint faults on clients: scripted faults behind Pointsman, and behind nginx,
//! HAProxy and Envoy if they are installed. Run with `make bench-faults`; `ARGS="--help"` lists the
//! options.
//!
//! Every proxy in turn serves the same load in front of the same scripted origins. Origins and
//! client are part of this process, so each request is tracked from its schedule to every endpoint
//! that it reached:
//!
//! - The load has a fixed rate, and a request's latency counts from the time it was due. A proxy
//!   that delays requests can't hide it by slowing the client down.
//! - *Answered* is a read with HTTP 200 and a JSON-RPC result for its id. Percentiles are over all
//!   reads, answered or not.
//! - *Attempts* are requests that arrived at origins, divided by requests of the client; health
//!   checks don't count.
//! - A *doubled write* is an `eth_sendTransaction` that arrived more than once.
//!   `eth_sendRawTransaction` is idempotent, because nodes identify the transaction by its hash; it
//!   has its own column.
//!
//! An origin's behaviour depends only on its seed, the request's number and the time. The numbers
//! depend on the proxy and the scheduler: figures are closely, but not exactly, reproducible.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]
#![allow(unreachable_pub, reason = "a benchmark exports nothing; `pub` marks what a module offers the others")]

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

/// Delay before the first request.
const LEAD: Duration = Duration::from_millis(100);

fn main() -> anyhow::Result<()> {
    let options = Options::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let met = runtime.block_on(measure(&options))?;
    // Aims are reported, not enforced, unless `--strict` is set: a busy machine must not look like
    // a broken build.
    anyhow::ensure!(met || !options.strict, "an aim is missed");
    Ok(())
}

/// Measures every chosen proxy in every chosen scenario. Returns whether the aims are met.
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

/// Measures a good endpoint directly, without a proxy.
async fn good_endpoint(plan: &Plan) -> anyhow::Result<Figures> {
    let pool = Pool::bind(1).await?;
    run(plan, pool, &[Script::always(script::Conduct::Serve)], None).await
}

/// Loads `target`, by default the first origin.
async fn run(plan: &Plan, pool: Pool, scripts: &[Script], target: Option<SocketAddr>) -> anyhow::Result<Figures> {
    let address = target.or(pool.addresses().first().copied()).context("a target")?;
    let ledger = Arc::new(Ledger::new(plan.requests()));
    // Scripts begin with the measurement: the warm-up runs in their first step.
    let first = Instant::now() + LEAD;
    let origins = pool.serve(scripts, first + plan.warm_up, plan.seed, &ledger);
    let connections = Connections::open(address, plan.connections).await?;
    let samples = plan.run(first, connections).await;
    drop(origins);
    Ok(Figures::of(plan, &samples, &ledger))
}
