//! A load at a fixed rate, independent of the responses.
//!
//! Each connection has its own thread and schedule. A request's latency counts from the time it was
//! due, so it includes waiting for the previous response on its connection and for its thread.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::Client;

/// Delay before the first request.
const LEAD: Duration = Duration::from_millis(20);

/// Rate and duration of the load.
pub struct Plan {
    /// Requests per second.
    pub per_second: f64,
    /// Connections, used in rotation.
    pub connections: usize,
    /// Duration of the warm-up.
    pub warm_up: Duration,
    /// Duration of the measurement.
    pub length: Duration,
}

/// Results of the requests that were due after the warm-up.
#[derive(Default)]
pub struct Answers {
    /// Due time and latency of responses with status 200, sorted by latency.
    answered: Vec<(Instant, Duration)>,
    /// Number of all others.
    pub failed: u64,
}

impl Plan {
    /// Sends this request repeatedly and calls `begin` at the end of the warm-up.
    ///
    /// # Errors
    /// The errors of `begin`.
    pub fn run<T>(
        &self,
        address: SocketAddr,
        request: &[u8],
        begin: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(Answers, T)> {
        let first = Instant::now() + LEAD;
        std::thread::scope(|scope| {
            let threads =
                (0..self.connections).map(|number| scope.spawn(move || self.converse(number, first, address, request)));
            let threads: Vec<_> = threads.collect();
            std::thread::sleep((first + self.warm_up).saturating_duration_since(Instant::now()));
            let begun = begin();
            let mut all = Answers::default();
            for thread in threads {
                let answers = thread.join().expect("a conversation doesn't panic");
                all.answered.extend(answers.answered);
                all.failed += answers.failed;
            }
            all.answered.sort_unstable_by_key(|(_, latency)| *latency);
            Ok((all, begun?))
        })
    }

    /// Sends the requests of one connection, which is reopened if it breaks.
    fn converse(&self, number: usize, first: Instant, address: SocketAddr, request: &[u8]) -> Answers {
        let (begin, end) = (first + self.warm_up, first + self.warm_up + self.length);
        let mut answers = Answers::default();
        let mut client = None;
        let due =
            |turn: usize| first + Duration::from_secs_f64((turn * self.connections + number) as f64 / self.per_second);
        for due in (0..).map(due).take_while(|due| *due < end) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let is_good = exchange(&mut client, address, request);
            match due >= begin {
                true if is_good => answers.answered.push((due, due.elapsed())),
                true => answers.failed += 1,
                false => {}
            }
        }
        answers
    }
}

impl Answers {
    /// Answers with status 200.
    pub fn good(&self) -> u64 {
        self.answered.len() as u64
    }

    /// Splits into the requests whose due time satisfies `at` and the others. Failures are in
    /// neither.
    pub fn split(self, at: impl Fn(Instant) -> bool) -> (Answers, Answers) {
        let (those, others) = self.answered.into_iter().partition(|(due, _)| at(*due));
        let of = |answered| Answers { answered, failed: 0 };
        (of(those), of(others))
    }

    /// Median, p99, p99.9 and the longest, in milliseconds.
    pub fn latencies_ms(&self) -> [f64; 4] {
        [0.5, 0.99, 0.999, 1.0].map(|share| self.percentile(share).as_secs_f64() * 1e3)
    }

    /// The smallest latency that this share of requests doesn't exceed.
    fn percentile(&self, share: f64) -> Duration {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among the answers")]
        let rank = (self.answered.len() as f64 * share).ceil() as usize;
        self.answered.get(rank.saturating_sub(1)).map_or(Duration::ZERO, |(_, latency)| *latency)
    }
}

/// Whether the answer has status 200.
fn exchange(client: &mut Option<Client>, address: SocketAddr, request: &[u8]) -> bool {
    let mut open = match client.take().map_or_else(|| Client::try_connect(address), Ok) {
        Ok(open) => open,
        Err(_) => return false,
    };
    let answer = open.try_send(request).and_then(|()| open.try_read());
    let is_good = answer.as_ref().is_ok_and(|response| response.status == 200);
    *client = answer.is_ok().then_some(open);
    is_good
}
