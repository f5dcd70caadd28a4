//! One measurement: a new process, a check of its response, a warm-up, the load.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::authority::{self, NAMES};
use super::contenders::{Contender, Installed};
use super::figures::Round;
use super::load;
use super::options::Settings;
use super::origin::Origin;
use super::parts::{Case, Downstream, Protocol};
use super::peers::Process;
use super::usage::{Meter, Used};
use testkit::{Client, Response, Samples};

/// Maximum number of threads for the warm-up.
const WARMERS: usize = 32;

/// Measures a proxy in this case under load.
///
/// # Errors
/// Describes the failure. A measurement with errors is discarded.
pub fn under_load(installed: &Installed, case: &Case, origin: &Origin, settings: &Settings) -> anyhow::Result<Round> {
    let process = ready(installed, case, origin, settings)?;
    let mut meter = Meter::start(process.id())?;
    let counted = load::run(process.address(), case, settings, || meter.look())?;
    let used = meter.stop()?;
    check(process.address(), case).context("after the load")?;
    let errors: Vec<String> = counted.errors.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
    ensure!(errors.is_empty(), "{} (of {} requests)", errors.join(", "), counted.requests);
    let attempts = attempts(installed.contender, &process);
    Ok(round(counted.requests, counted.seconds, counted.latencies_ms, &used, attempts))
}

/// Builds the figures of a round.
pub fn round(
    requests: u64,
    seconds: f64,
    [p50_ms, p99_ms, p999_ms, max_ms]: [f64; 4],
    used: &Used,
    attempts: Option<f64>,
) -> Round {
    Round {
        requests,
        seconds,
        cpu_us: used.processor.as_secs_f64() * 1e6 / requests as f64,
        per_second: requests as f64 / seconds,
        p50_ms,
        p99_ms,
        p999_ms,
        max_ms,
        resident_mib: used.resident as f64 / f64::from(1 << 20),
        attempts,
    }
}

/// Starts and warms up a new process of this proxy and checks its response.
///
/// # Errors
/// If it doesn't start, or a response is wrong.
pub fn ready(installed: &Installed, case: &Case, origin: &Origin, settings: &Settings) -> anyhow::Result<Process> {
    let process = installed.start(case, origin, settings)?;
    check(process.address(), case)?;
    warm_up(process.address(), case, settings)?;
    Ok(process)
}

/// Sends one request and checks the response.
///
/// # Errors
/// If the response isn't the origin's.
pub fn check(address: SocketAddr, case: &Case) -> anyhow::Result<()> {
    let mut client = connect(address, case)?;
    client.try_send(case.bytes())?;
    let response = client.try_read()?;
    match response.status == 200 && is_answer(&response, case)? {
        true => Ok(()),
        false => bail!("a wrong answer, with status {}: {:.200}", response.status, response.text()),
    }
}

/// Connects over HTTP/1.1, which every proxy also speaks where the case's clients use HTTP/2.
fn connect(address: SocketAddr, case: &Case) -> std::io::Result<Client> {
    match case.downstream.uses_tls() {
        true => authority::client().try_connect(address, NAMES[0]),
        false => Client::try_connect(address),
    }
}

fn is_answer(response: &Response, case: &Case) -> anyhow::Result<bool> {
    Ok(match case.protocol {
        Protocol::JsonRpc => {
            let expected: Value = serde_json::from_str(&case.answer)?;
            serde_json::from_slice::<Value>(&response.body).is_ok_and(|answer| answer == expected)
        }
        Protocol::Http => response.body == case.answer.as_bytes(),
    })
}

/// Pointsman only: attempts per request since its start.
pub fn attempts(contender: Contender, process: &Process) -> Option<f64> {
    if !contender.is_pointsman() {
        return None;
    }
    let metrics = Client::try_connect(process.site.addresses[1]).ok()?.get("/metrics").text();
    let samples = Samples::parse(&metrics);
    Some(samples.sum("attempts_total", &[]) / samples.sum("requests_total", &[]))
}

fn warm_up(address: SocketAddr, case: &Case, settings: &Settings) -> anyhow::Result<()> {
    if let Downstream::Http2 { streams } = case.downstream {
        return load::warm_up_http2(address, case, streams, settings).context("in the warm-up");
    }
    let end = Instant::now() + settings.warm_up;
    std::thread::scope(|scope| {
        let warmers = (0..case.connections.min(WARMERS)).map(|_| scope.spawn(|| keep_asking(address, case, end)));
        let warmers: Vec<_> = warmers.collect();
        warmers.into_iter().try_for_each(|warmer| warmer.join().expect("a warm-up doesn't panic"))
    })
    .context("in the warm-up")
}

fn keep_asking(address: SocketAddr, case: &Case, end: Instant) -> anyhow::Result<()> {
    let request = case.bytes();
    let mut client = connect(address, case)?;
    while Instant::now() < end {
        if case.downstream == Downstream::Handshakes {
            client = connect(address, case)?;
        }
        client.try_send(&request)?;
        let status = client.try_read()?.status;
        ensure!(status == 200, "status {status}");
    }
    Ok(())
}
