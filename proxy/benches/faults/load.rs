//! The client: requests at a fixed rate, each over an idle connection or a new one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::Wire;

/// The client's timeout: longer than any proxy's deadline.
const PATIENCE: Duration = Duration::from_secs(12);
/// Maximum number of connections. A request waits if all are busy, and its latency includes the
/// wait.
const MAX_CONNECTIONS: usize = 900;
const READS: [&str; 3] = ["eth_blockNumber", "eth_call", "eth_getBalance"];
/// Share of all requests, for each of the two methods.
const WRITE_SHARE: f64 = 0.05;

/// A method that every endpoint fails.
pub const POISON: &str = "debug_traceCall";

/// Rate and duration of the load.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Requests per second.
    pub rate: u32,
    /// Connections opened at the start.
    pub connections: usize,
    /// Duration of the warm-up.
    pub warm_up: Duration,
    /// Duration of the measurement.
    pub length: Duration,
    /// Seed of methods and faults.
    pub seed: u64,
    /// The share of requests for [`POISON`].
    pub poison: f64,
}

/// Kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A read.
    Read,
    /// `eth_sendRawTransaction`: may arrive more than once.
    RawWrite,
    /// `eth_sendTransaction`: must arrive at most once.
    Write,
    /// [`POISON`]: no answer is expected.
    Poison,
}

/// The result of a request.
pub struct Sample {
    /// Its id.
    pub id: usize,
    /// Its kind.
    pub kind: Kind,
    /// Time since it was due.
    pub latency: Duration,
    /// `None` if it was answered; otherwise the error.
    pub instead: Option<String>,
}

impl Plan {
    /// Number of requests, including the warm-up's.
    pub fn requests(&self) -> usize {
        self.first_measured() + self.count(self.length)
    }

    /// Id of the first request after the warm-up.
    pub fn first_measured(&self) -> usize {
        self.count(self.warm_up)
    }

    /// Sends all requests, the first at `first`, and waits for their results.
    pub async fn run(&self, first: Instant, connections: Arc<Connections>) -> Vec<Sample> {
        let mut requests = JoinSet::new();
        for id in 0..self.requests() {
            let due = first + Duration::from_secs(1) * u32::try_from(id).expect("a few thousand") / self.rate;
            sleep_until(due).await;
            let (kind, method) = self.method(id);
            let connections = Arc::clone(&connections);
            requests.spawn(async move {
                let answer = timeout(PATIENCE, connections.exchange(id, method)).await;
                let instead = answer.unwrap_or_else(|_| Err("no answer".to_owned())).err();
                Sample { id, kind, latency: due.elapsed(), instead }
            });
        }
        requests.join_all().await
    }

    /// Kind and method of a request.
    fn method(&self, id: usize) -> (Kind, &'static str) {
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(id as u64));
        let read = READS[random.usize(..READS.len())];
        match random.f64() {
            draw if draw < WRITE_SHARE => (Kind::Write, "eth_sendTransaction"),
            draw if draw < 2.0 * WRITE_SHARE => (Kind::RawWrite, "eth_sendRawTransaction"),
            draw if draw < 2.0 * WRITE_SHARE + self.poison => (Kind::Poison, POISON),
            _ => (Kind::Read, read),
        }
    }

    fn count(&self, time: Duration) -> usize {
        usize::try_from(time.as_millis() * u128::from(self.rate) / 1000).expect("a few thousand")
    }
}

/// Keep-alive connections to a proxy.
pub struct Connections {
    address: SocketAddr,
    /// Taken from the front and returned to the back, so that all are used.
    idle: Mutex<VecDeque<Wire>>,
    slots: Semaphore,
}

impl Connections {
    /// Opens `count` connections.
    pub async fn open(address: SocketAddr, count: usize) -> std::io::Result<Arc<Connections>> {
        let mut idle = VecDeque::new();
        for _ in 0..count {
            idle.push_back(Wire::connect(address).await?);
        }
        Ok(Arc::new(Connections { address, idle: Mutex::new(idle), slots: Semaphore::new(MAX_CONNECTIONS) }))
    }

    /// Sends a request. The error describes the failure.
    async fn exchange(&self, id: usize, method: &str) -> Result<(), String> {
        let _slot = self.slots.acquire().await.expect("it is never closed");
        let idle = self.take_idle();
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::connect(self.address).await.map_err(|_| "no connection")?,
        };
        wire.write(request(id, method).as_bytes()).await.map_err(|_| "connection lost")?;
        let (head, body) = wire.read().await.map_err(|_| "connection lost")?;
        if !head.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.idle.lock().unwrap().push_back(wire);
        }
        match head.first_line.split(' ').nth(1) {
            Some("200") => check(id, &body),
            status => Err(format!("HTTP {}", status.unwrap_or("?"))),
        }
    }

    fn take_idle(&self) -> Option<Wire> {
        let mut idle = self.idle.lock().unwrap();
        std::iter::from_fn(|| idle.pop_front()).find(|wire| !wire.is_stale())
    }
}

/// The parsed part of a response.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
}

/// Checks for a result with this id.
fn check(id: usize, body: &[u8]) -> Result<(), String> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| "no JSON-RPC")?;
    match answer {
        _ if answer.id.get().parse() != Ok(id) => Err("another's answer".to_owned()),
        Answer { error: Some(error), .. } => Err(format!("code {}", error.code)),
        Answer { result: Some(_), .. } => Ok(()),
        _ => Err("no result".to_owned()),
    }
}

fn request(id: usize, method: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":["0x{id:x}"]}}"#);
    let length = body.len();
    let head = "POST / HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json";
    format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}")
}
