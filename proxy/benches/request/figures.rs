//! Figures of one proxy in one case.

use serde::{Deserialize, Serialize};

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Number of answered requests.
    pub requests: u64,
    /// Duration.
    pub seconds: f64,
    /// Processor time of the proxy per request, in microseconds.
    pub cpu_us: f64,
    /// Requests per second.
    pub per_second: f64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of latency in milliseconds.
    pub p99_ms: f64,
    /// 99.9th percentile of latency in milliseconds.
    pub p999_ms: f64,
    /// Maximum latency in milliseconds.
    pub max_ms: f64,
    /// Peak memory of the proxy in MiB.
    pub resident_mib: f64,
    /// Pointsman only: attempts per request, including hedges.
    pub attempts: Option<f64>,
}

/// All measurements of one proxy in one case. A failed round is its error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The part's name.
    pub part: String,
    /// Name of the case within the part.
    pub case: String,
    /// The case as a number, for the axis of a plot.
    pub x: f64,
    /// The proxy's name.
    pub proxy: String,
    /// In chronological order; the n-th rounds of a case's rows belong together.
    pub rounds: Vec<Result<Round, String>>,
}

/// Times of one proxy in one case, one for each repetition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Times {
    /// The part's name.
    pub part: String,
    /// Name of the case within the part.
    pub case: String,
    /// The case as a number, for the axis of a plot.
    pub x: f64,
    /// The proxy's name.
    pub proxy: String,
    /// Times in milliseconds.
    pub ms: Vec<f64>,
}

/// Memory of idle connections to one proxy. A failed round is its error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Footprint {
    /// The part's name.
    pub part: String,
    /// Name of the case within the part.
    pub case: String,
    /// Number of connections.
    pub x: f64,
    /// The proxy's name.
    pub proxy: String,
    /// In chronological order.
    pub rounds: Vec<Result<Resident, String>>,
}

/// Resident memory of a proxy's processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resident {
    /// Number of idle connections.
    pub connections: usize,
    /// Number of those that the proxy closed.
    pub closed: usize,
    /// Bytes without them.
    pub before: u64,
    /// Bytes with them.
    pub after: u64,
}

impl Resident {
    /// Memory of one connection in KiB.
    pub fn kib_each(&self) -> f64 {
        (self.after as f64 - self.before as f64) / f64::from(1 << 10) / self.connections as f64
    }
}

impl Footprint {
    /// The median over the rounds.
    pub fn median(&self, of: impl Fn(&Resident) -> f64) -> Option<f64> {
        median(self.rounds.iter().flatten().map(of).collect())
    }
}

impl Row {
    /// The median over the rounds.
    pub fn median(&self, of: impl Fn(&Round) -> f64) -> Option<f64> {
        median(self.rounds.iter().flatten().map(of).collect())
    }

    /// The median over the rounds of the ratio to the other row.
    pub fn ratio_to(&self, other: &Row, of: impl Fn(&Round) -> f64) -> Option<f64> {
        let pairs = self
            .rounds
            .iter()
            .zip(&other.rounds)
            .filter_map(|(own, others)| Some((own.as_ref().ok()?, others.as_ref().ok()?)));
        median(pairs.map(|(own, others)| of(own) / of(others)).collect())
    }

    /// The range of the rounds as a share of their median. One round has no spread.
    pub fn spread(&self, of: impl Fn(&Round) -> f64) -> Option<f64> {
        spread(self.rounds.iter().flatten().map(of).collect())
    }
}

/// Errors of failed rounds.
pub fn failures<T>(rounds: &[Result<T, String>]) -> Vec<&str> {
    rounds.iter().filter_map(|round| round.as_ref().err().map(String::as_str)).collect()
}

/// The range as a share of the median. One value has no spread.
pub fn spread(values: Vec<f64>) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let [least, most] = [values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?];
    Some((most - least) / median(values)?)
}

/// The middle value, or the mean of the two middle values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
