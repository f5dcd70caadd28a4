//! wrk, for HTTP/1.1. Over TLS it resumes sessions, so it can't measure handshakes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context;
use serde::Deserialize;

use super::{Counted, binary, output};
use crate::options::Settings;
use crate::parts::{Case, Protocol};
use crate::peers::{Process, Site, pinned};

/// wrk's timeout for a response.
const TIMEOUT: &str = "10s";
/// Posts the file `request`. wrk builds the request once: Lua isn't called per request.
const POST: &str = r#"
local file = assert(io.open("request", "rb"))
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = file:read("*a")
file:close()
"#;
/// Prints one line of JSON at the end. Times are in microseconds.
const REPORT: &str = r#"
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
struct Summary {
    /// Number of responses, including errors.
    requests: u64,
    /// In microseconds, as are the following fields.
    duration: u64,
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
    /// Number of errors by kind.
    errors: BTreeMap<String, u64>,
}

pub(super) fn run(
    address: SocketAddr,
    case: &Case,
    settings: &Settings,
    look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Counted> {
    let site = Site::new(0)?;
    site.write("request", &case.request)?;
    let script = match case.protocol {
        Protocol::JsonRpc => [POST, REPORT].concat(),
        Protocol::Http => REPORT.to_owned(),
    };
    let script = site.write("script.lua", script)?;
    let mut command = pinned(&binary("wrk").context("wrk is missing")?, settings.load_cpus.as_deref());
    // wrk refuses more threads than connections.
    let threads = settings.load_threads.min(case.connections);
    command.arg(format!("--threads={threads}")).arg(format!("--connections={}", case.connections));
    command.arg(format!("--duration={}s", case.seconds)).args(["--latency", "--timeout", TIMEOUT]);
    let scheme = if case.downstream.uses_tls() { "https" } else { "http" };
    command.arg("--script").arg(script).arg(format!("{scheme}://{address}/"));
    let said = output(&mut Process::spawn(site, command)?, look)?;
    let line = said.lines().find(|line| line.starts_with('{')).with_context(|| format!("wrk says: {said}"))?;
    Ok(serde_json::from_str::<Summary>(line)?.into())
}

impl From<Summary> for Counted {
    fn from(summary: Summary) -> Counted {
        Counted {
            requests: summary.requests,
            seconds: summary.duration as f64 / 1e6,
            latencies_ms: [summary.p50, summary.p99, summary.p999, summary.max].map(|micros| micros / 1e3),
            errors: summary.errors.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }
}
