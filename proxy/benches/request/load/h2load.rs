//! h2load, for HTTP/2 over TLS. It offers no other protocol: a proxy without HTTP/2 fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, ensure};

use super::{Counted, binary, output, percentiles};
use crate::options::Settings;
use crate::parts::{Case, Protocol};
use crate::peers::{Process, Site, pinned};

/// Time without a byte from the proxy until a connection fails.
const TIMEOUT: &str = "10s";
/// The file with a line for each response: its time, status and latency in microseconds.
const LOG: &str = "requests.log";
/// Maximum number of connections of the warm-up.
const WARM_CONNECTIONS: usize = 32;
/// Requests of the warm-up for each of those under way at once.
const WARM_UP: usize = 16;

pub(super) fn run(
    address: SocketAddr,
    case: &Case,
    streams: usize,
    settings: &Settings,
    look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Counted> {
    let site = Site::new(0)?;
    let mut command = command(&site, address, case, streams, settings)?;
    command.arg(format!("--duration={}", case.seconds)).args(["--log-file", LOG]);
    let mut h2load = Process::spawn(site, command)?;
    let said = output(&mut h2load, look)?;
    let log = std::fs::read_to_string(h2load.site.path(LOG))?;
    let mut latencies: Vec<f64> = log.lines().filter_map(latency_ms).collect();
    latencies.sort_unstable_by(f64::total_cmp);
    let (requests, errors) = summary(&said).with_context(|| format!("h2load says: {said}"))?;
    Ok(Counted { requests, seconds: case.seconds as f64, latencies_ms: percentiles(&latencies), errors })
}

pub(super) fn warm_up(address: SocketAddr, case: &Case, streams: usize, settings: &Settings) -> anyhow::Result<()> {
    let site = Site::new(0)?;
    let few = Case { connections: case.connections.min(WARM_CONNECTIONS), ..case.clone() };
    let mut command = command(&site, address, &few, streams, settings)?;
    let requests = few.concurrency() * WARM_UP;
    command.arg(format!("--requests={requests}"));
    let said = output(&mut Process::spawn(site, command)?, || Ok(()))?;
    let (_, errors) = summary(&said).with_context(|| format!("h2load says: {said}"))?;
    ensure!(errors.is_empty(), "h2load says: {said}");
    Ok(())
}

fn command(
    site: &Site,
    address: SocketAddr,
    case: &Case,
    streams: usize,
    settings: &Settings,
) -> anyhow::Result<Command> {
    let mut command = pinned(&binary("h2load").context("h2load is missing")?, settings.load_cpus.as_deref());
    let threads = settings.load_threads.min(case.connections);
    command.arg(format!("--threads={threads}")).arg(format!("--clients={}", case.connections));
    command.arg(format!("--max-concurrent-streams={streams}")).args(["--npn-list=h2"]);
    command.args(["--connection-inactivity-timeout", TIMEOUT]);
    if case.protocol == Protocol::JsonRpc {
        let request = site.write("request", &case.request)?;
        command.arg("--data").arg(request).args(["--header", "content-type: application/json"]);
    }
    command.arg(format!("https://{address}/"));
    Ok(command)
}

/// Responses, and errors by kind, from the line
/// `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`. Statuses
/// from 300 on count as failed.
fn summary(said: &str) -> Option<(u64, BTreeMap<String, u64>)> {
    let line = said.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let counts = line.split(", ").map(|part| {
        let (count, kind) = part.split_once(' ')?;
        Some((kind.to_owned(), count.parse().ok()?))
    });
    let counts: BTreeMap<String, u64> = counts.collect::<Option<_>>()?;
    let is_error = |kind: &str| matches!(kind, "failed" | "errored" | "timeout");
    let done = *counts.get("done")?;
    Some((done, counts.into_iter().filter(|(kind, count)| is_error(kind) && *count > 0).collect()))
}

fn latency_ms(line: &str) -> Option<f64> {
    Some(line.split_whitespace().nth(2)?.parse::<f64>().ok()? / 1e3)
}
