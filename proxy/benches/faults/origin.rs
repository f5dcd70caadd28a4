//! Scripted endpoints.
//!
//! Invariants: a request is in the ledger before it is processed; the behaviour depends on the
//! script, the time, the origin's seed and the request's number at this origin.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::ledger::Ledger;
use super::load::POISON;
use super::script::{Conduct, Refusal, Script};
use super::wire::Wire;

/// The method that the proxies' probes call.
const PROBE: &str = "eth_blockNumber";
/// Minimum latency of a good endpoint.
const FASTEST_ANSWER: Duration = Duration::from_millis(6);
/// Maximum latency; the distribution is uniform, with a mean of 8 ms.
pub const SLOWEST_ANSWER: Duration = Duration::from_millis(10);
/// Length of the accept queue.
const BACKLOG: u32 = 1024;
/// Pause between attempts to bind the port again while connections hold it.
const PORT_PAUSE: Duration = Duration::from_millis(1);

/// Bound and listening ports of origins that don't serve yet.
pub struct Pool(Vec<(TcpListener, SocketAddr)>);

impl Pool {
    /// Binds `count` free ports.
    pub async fn bind(count: usize) -> Result<Pool> {
        let mut listeners = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let address = listener.local_addr()?;
            listeners.push((listener, address));
        }
        Ok(Pool(listeners))
    }

    /// Their addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, address)| *address).collect()
    }

    /// Serves each port by its script, which starts at `begin`. The origins end when the returned
    /// set is dropped.
    pub fn serve(self, scripts: &[Script], begin: Instant, seed: u64, ledger: &Arc<Ledger>) -> JoinSet<Result<()>> {
        let mut origins = JoinSet::new();
        for (((listener, address), script), number) in self.0.into_iter().zip(scripts).zip(1..) {
            let origin = Arc::new(Origin {
                address,
                script: script.clone(),
                begin,
                seed: seed.wrapping_mul(1_000_003).wrapping_add(number << 32),
                requests: AtomicU64::new(0),
                bucket: Mutex::new(None),
                ledger: Arc::clone(ledger),
            });
            origins.spawn(origin.run(listener));
        }
        origins
    }
}

struct Origin {
    address: SocketAddr,
    script: Script,
    begin: Instant,
    seed: u64,
    requests: AtomicU64,
    bucket: Mutex<Option<Bucket>>,
    ledger: Arc<Ledger>,
}

/// Token bucket of a rate limit.
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The parsed part of a request.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
}

/// Reaction to a request.
enum Act {
    Answer { after: Duration, head: String, body: String },
    Reset { after: Duration },
    Hang,
}

impl Origin {
    async fn run(self: Arc<Self>, mut listener: TcpListener) -> Result<()> {
        loop {
            if self.script.at(self.elapsed()) != Conduct::Refuse {
                self.accept(listener).await;
            } else {
                drop(listener);
            }
            // Bound but not listening: connections are refused, and the port stays reserved.
            let held = self.hold_port().await?;
            self.next_turn().await;
            listener = held.listen(BACKLOG)?;
        }
    }

    /// Serves until the script refuses connections. The open connections end with this future.
    async fn accept(self: &Arc<Self>, listener: TcpListener) {
        let end = self.script.next_turn(self.elapsed()).map(|turn| self.begin + turn);
        let mut connections = JoinSet::new();
        loop {
            let accepted = match end {
                Some(end) => timeout_at(end, listener.accept()).await,
                None => Ok(listener.accept().await),
            };
            match accepted {
                Ok(Ok((stream, _))) => {
                    let origin = Arc::clone(self);
                    connections.spawn(async move { origin.converse(Wire::new(stream)?).await });
                }
                Ok(Err(_)) => sleep(PORT_PAUSE).await,
                Err(_) => return,
            }
            while connections.try_join_next().is_some() {}
        }
    }

    async fn hold_port(&self) -> Result<TcpSocket> {
        loop {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            if socket.bind(self.address).is_ok() {
                return Ok(socket);
            }
            sleep(PORT_PAUSE).await;
        }
    }

    async fn next_turn(&self) {
        match self.script.next_turn(self.elapsed()) {
            Some(turn) => sleep_until(self.begin + turn).await,
            None => std::future::pending().await,
        }
    }

    async fn converse(&self, mut wire: Wire) -> Result<()> {
        loop {
            let (_, body) = wire.read().await?;
            let call: Call<'_> = serde_json::from_slice(&body)?;
            if let Ok(id) = call.id.get().parse() {
                self.ledger.arrived(id);
            }
            match self.act(&call) {
                Act::Answer { after, head, body } => {
                    sleep(after).await;
                    let length = body.len();
                    let head = format!("HTTP/1.1 {head}content-type: application/json\r\ncontent-length: {length}");
                    wire.write(format!("{head}\r\n\r\n{body}").as_bytes()).await?;
                }
                Act::Reset { after } => {
                    sleep(after).await;
                    wire.reset();
                    return Ok(());
                }
                Act::Hang => {
                    wire.closed().await;
                    return Ok(());
                }
            }
        }
    }

    fn act(&self, call: &Call<'_>) -> Act {
        let id = call.id.get();
        let number = self.requests.fetch_add(1, Relaxed);
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(number));
        let after = FASTEST_ANSWER + (SLOWEST_ANSWER - FASTEST_ANSWER).mul_f64(random.f64());
        let draw = random.f64();
        if call.method == POISON {
            return poisoned(id, after);
        }
        match self.script.at(self.elapsed()) {
            Conduct::Serve => result(id, after),
            Conduct::Slow(times) => result(id, after * times),
            Conduct::Flaky { errors, .. } if draw < errors => status("500 Internal Server Error", after),
            Conduct::Flaky { errors, resets } if draw < errors + resets => Act::Reset { after },
            Conduct::Flaky { .. } => result(id, after),
            Conduct::Lame { hangs } if call.method != PROBE && draw < 0.5 => {
                if hangs {
                    Act::Hang
                } else {
                    status("500 Internal Server Error", after)
                }
            }
            Conduct::Lame { .. } => result(id, after),
            Conduct::RpcErrors => error(id, if number.is_multiple_of(2) { -32_603 } else { -32_000 }, after),
            Conduct::Limited { per_second, .. } if self.takes_token(per_second.into()) => result(id, after),
            Conduct::Limited { refusal, .. } => refused(id, refusal),
            Conduct::Unavailable => status("503 Service Unavailable", Duration::ZERO),
            Conduct::Reset => Act::Reset { after: Duration::ZERO },
            // A refusing endpoint closes its open connections shortly.
            Conduct::Hang | Conduct::Refuse => Act::Hang,
        }
    }

    fn takes_token(&self, per_second: f64) -> bool {
        let mut bucket = self.bucket.lock().unwrap();
        let now = Instant::now();
        let bucket = bucket.get_or_insert(Bucket { tokens: per_second, at: now });
        let refill = (now - bucket.at).as_secs_f64() * per_second;
        *bucket = Bucket { tokens: (bucket.tokens + refill).min(per_second), at: now };
        let has_token = bucket.tokens >= 1.0;
        if has_token {
            bucket.tokens -= 1.0;
        }
        has_token
    }

    fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.begin)
    }
}

/// Fails a request in one of the ways of a poison request, the same at every endpoint.
fn poisoned(id: &str, after: Duration) -> Act {
    match id.parse().unwrap_or(0_usize) % 4 {
        0 => error(id, -32_603, after),
        1 => error(id, -32_005, after),
        2 => status("500 Internal Server Error", after),
        _ => Act::Reset { after },
    }
}

fn result(id: &str, after: Duration) -> Act {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x1"}}"#);
    Act::Answer { after, head: "200 OK\r\n".to_owned(), body }
}

fn error(id: &str, code: i32, after: Duration) -> Act {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"internal error"}}}}"#);
    Act::Answer { after, head: "200 OK\r\n".to_owned(), body }
}

fn status(line: &str, after: Duration) -> Act {
    Act::Answer { after, head: format!("{line}\r\n"), body: "{}".to_owned() }
}

/// Without latency: a limiter rejects before any work.
fn refused(id: &str, refusal: Refusal) -> Act {
    let line = if refusal.in_band { "200 OK" } else { "429 Too Many Requests" };
    let retry_after = if refusal.retry_after { "retry-after: 1\r\n" } else { "" };
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32005,"message":"limit exceeded"}}}}"#);
    Act::Answer { after: Duration::ZERO, head: format!("{line}\r\n{retry_after}"), body }
}
