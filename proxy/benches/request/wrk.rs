//! The load generator wrk, which sends the next request on a connection after the previous
//! response.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::options::Settings;
use super::parts::Case;
use super::peers::{Process, Site, in_path, pinned};

/// wrk's timeout for a response.
const TIMEOUT: &str = "10s";
/// Interval between samples of the proxy's memory.
const PERIOD: Duration = Duration::from_millis(50);
/// Posts the file `request` and prints one line of JSON at the end. Times are in microseconds. wrk
/// builds the request once: Lua isn't called per request.
const SCRIPT: &str = r#"
local file = assert(io.open("request", "rb"))
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = file:read("*a")
file:close()

done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration":%d,"p50":%.0f,"p99":%.0f,"p999":%.0f,"max":%.0f,"errors":{' ..
    '"connections refused":%d,"reads failed":%d,"writes failed":%d,"bad statuses":%d,"timeouts":%d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    latency.max, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"#;

/// wrk's results.
#[derive(Deserialize)]
pub struct Counted {
    /// Number of responses, including errors.
    pub requests: u64,
    /// In microseconds.
    duration: u64,
    /// In microseconds, as are the following fields.
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
    /// Number of errors by kind.
    errors: BTreeMap<String, u64>,
}

impl Counted {
    /// Duration of the run.
    pub fn seconds(&self) -> f64 {
        self.duration as f64 / 1e6
    }

    /// Median, p99, p99.9 and the longest, in milliseconds.
    pub fn latencies_ms(&self) -> [f64; 4] {
        [self.p50, self.p99, self.p999, self.max].map(|micros| micros / 1e3)
    }

    /// Errors that occurred, by kind.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| (kind.clone(), *count)).collect()
    }
}

/// The program, if it is installed.
pub fn binary() -> Option<PathBuf> {
    in_path("wrk")
}

/// Loads this address and calls `look` periodically.
///
/// # Errors
/// If wrk fails, and the errors of `look`.
pub fn run(
    address: SocketAddr,
    case: &Case,
    settings: &Settings,
    mut look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Counted> {
    let site = Site::new(0)?;
    site.write("request", &case.request)?;
    let script = site.write("script.lua", SCRIPT)?;
    let mut command = pinned(&binary().context("wrk is missing")?, settings.load_cpus.as_deref());
    // wrk refuses more threads than connections.
    let threads = settings.load_threads.min(case.connections);
    command.arg(format!("--threads={threads}")).arg(format!("--connections={}", case.connections));
    command.arg(format!("--duration={}s", case.seconds)).args(["--latency", "--timeout", TIMEOUT]);
    command.arg("--script").arg(script).arg(format!("http://{address}/"));
    let mut wrk = Process::spawn(site, command)?;
    while wrk.is_running() {
        look()?;
        std::thread::sleep(PERIOD);
    }
    let said = wrk.log();
    let line = said.lines().find(|line| line.starts_with('{')).with_context(|| format!("wrk says: {said}"))?;
    let counted: Counted = serde_json::from_str(line)?;
    ensure!(counted.requests > 0, "no answers");
    Ok(counted)
}
