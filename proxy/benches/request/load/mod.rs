//! Load generators: wrk, h2load for HTTP/2, and one of our own for handshakes. Each connection or
//! stream sends its next request after the previous response.

mod h2load;
mod handshakes;
mod wrk;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::options::Settings;
use super::parts::{Case, Downstream};
use super::peers::{Process, in_path};

/// Interval between samples of the proxy's memory.
const PERIOD: Duration = Duration::from_millis(50);
/// Load generators that are programs.
pub const PROGRAMS: [&str; 2] = ["wrk", "h2load"];

/// Results of a load.
pub struct Counted {
    /// Number of responses, including errors.
    pub requests: u64,
    /// Duration.
    pub seconds: f64,
    /// Median, p99, p99.9 and the longest, in milliseconds.
    pub latencies_ms: [f64; 4],
    /// Number of errors by kind.
    pub errors: BTreeMap<String, u64>,
}

/// A load generator, if it is installed.
pub fn binary(name: &str) -> Option<PathBuf> {
    in_path(name)
}

/// The load generator for this case.
pub fn program(case: &Case) -> Option<&'static str> {
    match case.downstream {
        Downstream::Cleartext | Downstream::Tls => Some("wrk"),
        Downstream::Http2 { .. } => Some("h2load"),
        Downstream::Handshakes | Downstream::WebSocket => None,
    }
}

/// Loads this address and calls `look` periodically.
///
/// # Errors
/// If the load generator fails or gets no response, and the errors of `look`.
pub fn run(
    address: SocketAddr,
    case: &Case,
    settings: &Settings,
    look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Counted> {
    let counted = match case.downstream {
        Downstream::Cleartext | Downstream::Tls => wrk::run(address, case, settings, look)?,
        Downstream::Http2 { streams } => h2load::run(address, case, streams, settings, look)?,
        Downstream::Handshakes => handshakes::run(address, case, look)?,
        Downstream::WebSocket => bail!("no load generator has WebSocket connections"),
    };
    ensure!(counted.requests > 0, "no answers");
    Ok(counted)
}

/// A few requests over HTTP/2.
///
/// # Errors
/// If one of them fails.
pub fn warm_up_http2(address: SocketAddr, case: &Case, streams: usize, settings: &Settings) -> anyhow::Result<()> {
    h2load::warm_up(address, case, streams, settings)
}

/// Waits for the end of a load generator and returns its output.
fn output(generator: &mut Process, mut look: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<String> {
    while generator.is_running() {
        look()?;
        std::thread::sleep(PERIOD);
    }
    Ok(generator.log())
}

/// Median, p99, p99.9 and the longest of sorted values.
fn percentiles(sorted: &[f64]) -> [f64; 4] {
    [0.5, 0.99, 0.999, 1.0].map(|share| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among the values")]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    })
}
