//! The demo's clients: a few keepalive connections with a steady mix of single requests and
//! batches.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PROXY;

/// Connections through the proxy.
const CLIENTS: usize = 8;
/// Mean pause between a client's response and its next request: about 130 requests a second in all.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause, as a multiple of the mean.
const LONGEST_PAUSE: f64 = 5.0;
/// One request in this many is a batch.
const BATCH_EVERY: usize = 12;
const BATCH_SIZE: usize = 4;
/// Longer than the proxy's deadline, so that the proxy answers first.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The time span of rates and percentiles.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// The clients' methods; a repeated one is called more often.
const METHODS: [&str; 8] = [
    "eth_call",
    "eth_blockNumber",
    "eth_getBalance",
    "eth_call",
    "eth_chainId",
    "eth_getLogs",
    "eth_gasPrice",
    "eth_blockNumber",
];

/// The clients' results.
#[derive(Default)]
pub(super) struct Traffic(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    requests: u64,
    answered: u64,
    recent: VecDeque<(Instant, Duration)>,
}

/// A summary of the clients' results.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    /// Requests so far.
    pub(super) requests: u64,
    /// Requests with a result for each of their calls.
    pub(super) answered: u64,
    /// Mean over the last [`WINDOW`].
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

impl Traffic {
    /// Starts the clients, which end with the process.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let traffic = Arc::new(Traffic::default());
        for client in 0..CLIENTS {
            let traffic = Arc::clone(&traffic);
            std::thread::Builder::new().name(format!("client-{client}")).spawn(move || traffic.converse())?;
        }
        Ok(traffic)
    }

    fn converse(&self) -> ! {
        let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
        let agent = ureq::Agent::from(config.build());
        loop {
            let pause = -(1.0 - fastrand::f64()).ln();
            std::thread::sleep(PAUSE.mul_f64(pause.min(LONGEST_PAUSE)));
            let began = Instant::now();
            let answered = ask(&agent, &request()).is_some_and(|answer| is_answer(&answer));
            self.record(answered, Instant::now(), began.elapsed());
        }
    }

    fn record(&self, answered: bool, now: Instant, latency: Duration) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        seen.answered += u64::from(answered);
        seen.recent.push_back((now, latency));
        seen.forget(now);
    }

    /// The summary at `now`.
    pub(super) fn summary(&self, now: Instant, running: Duration) -> Summary {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget(now);
        let mut latencies: Vec<Duration> = seen.recent.iter().map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        let percentile = |p: usize| latencies.get(latencies.len() * p / 100).copied().unwrap_or_default();
        let window = WINDOW.min(running).as_secs_f64().max(1.0);
        Summary {
            requests: seen.requests,
            answered: seen.answered,
            per_second: latencies.len() as f64 / window,
            p50: percentile(50),
            p99: percentile(99),
        }
    }
}

impl Seen {
    fn forget(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW) {
            self.recent.pop_front();
        }
    }
}

fn ask(agent: &ureq::Agent, request: &Value) -> Option<Value> {
    let sent =
        agent.post(format!("http://{PROXY}/")).header("content-type", "application/json").send(request.to_string());
    let mut answer = sent.ok()?;
    let body = answer.body_mut().read_to_string().ok()?;
    if answer.status().is_success() { serde_json::from_str(&body).ok() } else { None }
}

fn request() -> Value {
    if fastrand::usize(..BATCH_EVERY) == 0 { (0..BATCH_SIZE).map(call).collect() } else { call(0) }
}

fn call(id: usize) -> Value {
    let method = METHODS[fastrand::usize(..METHODS.len())];
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [] })
}

/// Whether each call has a result, which is what an application needs.
fn is_answer(answer: &Value) -> bool {
    match answer {
        Value::Array(members) => members.len() == BATCH_SIZE && members.iter().all(is_answer),
        member => member.get("result").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_about_the_window() {
        let (traffic, start) = (Traffic::default(), Instant::now());
        traffic.record(false, start, Duration::from_secs(9));
        let later = start + WINDOW + Duration::from_millis(1);
        (1..=100).for_each(|ms| traffic.record(true, later, Duration::from_millis(ms)));
        let summary = traffic.summary(later, Duration::from_secs(60));
        assert_eq!((summary.requests, summary.answered), (101, 100));
        assert_eq!((summary.p50, summary.p99), (Duration::from_millis(51), Duration::from_millis(100)));
        assert!((summary.per_second - 10.0).abs() < 1e-9);
    }

    #[test]
    fn an_error_or_a_missing_member_is_no_answer() {
        let good = json!({"id": 1, "result": null});
        assert!(is_answer(&good));
        assert!(!is_answer(&json!({"id": 1, "error": {"code": -32603}})));
        assert!(is_answer(&json!([good, good, good, good])));
        assert!(!is_answer(&json!([good, good, good])));
    }
}
