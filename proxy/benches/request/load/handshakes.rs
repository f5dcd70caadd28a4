//! New TLS connections: a full handshake, one request, the proxy closes.
//!
//! wrk and h2load resume sessions or don't connect again, so this client is our own. It resumes
//! nothing, because its configuration keeps no session.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Counted, PERIOD, percentiles};
use crate::clients::{Connection, RUNTIME};
use crate::parts::Case;

pub(super) fn run(
    address: SocketAddr,
    case: &Case,
    mut look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Counted> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(case.seconds);
    let clients: Vec<_> =
        (0..case.connections).map(|_| RUNTIME.spawn(keep_connecting(address, case.clone(), end))).collect();
    while Instant::now() < end {
        look()?;
        std::thread::sleep(PERIOD);
    }
    let mut counted = Counted { requests: 0, seconds: 0.0, latencies_ms: [0.0; 4], errors: Default::default() };
    let mut latencies = Vec::new();
    for client in clients {
        let (answered, error) = RUNTIME.block_on(client)?;
        latencies.extend(answered);
        if let Some(error) = error {
            *counted.errors.entry(format!("{error:#}")).or_default() += 1;
        }
    }
    latencies.sort_unstable_by(f64::total_cmp);
    counted.requests = latencies.len() as u64;
    counted.seconds = begin.elapsed().as_secs_f64();
    counted.latencies_ms = percentiles(&latencies);
    Ok(counted)
}

/// The latencies in milliseconds, up to the first error.
async fn keep_connecting(address: SocketAddr, case: Case, end: Instant) -> (Vec<f64>, Option<anyhow::Error>) {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let begin = Instant::now();
        let request = async { Connection::open(address, &case).await?.exchange(&case).await };
        match request.await {
            Ok(()) => latencies.push(begin.elapsed().as_secs_f64() * 1e3),
            Err(error) => return (latencies, Some(error)),
        }
    }
    (latencies, None)
}
