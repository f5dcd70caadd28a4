//! The printed report.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ledger::Ledger;
use super::load::{Kind, Plan, Sample};
use super::origin::SLOWEST_ANSWER;
use super::proxies::Proxy;
use super::scenarios::{CALM, POISON, Scenario};

/// Maximum ratio of the reads' p99 to the good endpoints' own.
const MAX_P99_RATIO: f64 = 3.0;
/// Maximum ratio of the others' p99 to the p99 without poison.
const MAX_POISON_RATIO: f64 = 1.2;
/// Maximum ratio of requests at origins to the client's.
const MAX_ATTEMPTS: f64 = 1.3;

/// Results of a proxy in a scenario.
pub struct Figures {
    reads: usize,
    answered: usize,
    p50: Duration,
    p99: Duration,
    attempts: f64,
    doubled_writes: usize,
    repeated_raw: usize,
    /// Number of failed reads by error.
    instead: BTreeMap<String, usize>,
}

impl Figures {
    /// Computes the figures of all requests after the warm-up. Doubled writes include the warm-up.
    pub fn of(plan: &Plan, samples: &[Sample], ledger: &Ledger) -> Figures {
        let is_repeated = |sample: &&Sample| ledger.arrivals(sample.id) > 1;
        let repeated = |kind: Kind| samples.iter().filter(|sample| sample.kind == kind).filter(is_repeated).count();
        let measured = || samples.iter().filter(|sample| sample.id >= plan.first_measured());
        let arrivals: u32 = measured().map(|sample| ledger.arrivals(sample.id)).sum();
        let reads: Vec<&Sample> = measured().filter(|sample| sample.kind == Kind::Read).collect();
        let mut latencies: Vec<Duration> = reads.iter().map(|sample| sample.latency).collect();
        latencies.sort_unstable();
        let mut instead = BTreeMap::new();
        for what in reads.iter().filter_map(|sample| sample.instead.clone()) {
            *instead.entry(what).or_default() += 1;
        }
        Figures {
            reads: reads.len(),
            answered: reads.iter().filter(|sample| sample.instead.is_none()).count(),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            attempts: f64::from(arrivals) / measured().count().max(1) as f64,
            doubled_writes: repeated(Kind::Write),
            repeated_raw: repeated(Kind::RawWrite),
            instead,
        }
    }

    fn share(&self) -> f64 {
        100.0 * self.answered as f64 / self.reads.max(1) as f64
    }

    fn cells(&self) -> String {
        let instead: Vec<String> = self.instead.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        format!(
            "{:>8} {:>8.1} {:>8.1} {:>8.2} {:>8} {:>8}  {}",
            percent(self.share()),
            ms(self.p50),
            ms(self.p99),
            self.attempts,
            self.doubled_writes,
            self.repeated_raw,
            instead.join(", ")
        )
    }
}

/// The table, printed line by line, and the input of its evaluation.
pub struct Report {
    pointsman: Vec<(&'static str, Figures)>,
    /// Pointsman's p99 with a good pool, the baseline of `poison`.
    calm: Option<Duration>,
}

impl Report {
    /// Prints the head.
    pub fn new() -> Report {
        println!(
            "\n{:<14} {:<14} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}  reads that got something else",
            "", "", "answered", "p50", "p99", "attempts", "doubled", "raw sent"
        );
        println!(
            "{:<14} {:<14} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "scenario", "proxy", "reads, %", "ms", "ms", "/request", "writes", "again"
        );
        Report { pointsman: Vec::new(), calm: None }
    }

    /// A row for the good endpoints themselves.
    pub fn add_good(&self, figures: &Figures) {
        println!("{:<14} {:<14} {}", "(none)", "good endpoints", figures.cells());
    }

    /// A row for a proxy.
    pub fn add(&mut self, scenario: &Scenario, proxy: Proxy, figures: Figures) {
        println!("{:<14} {:<14} {}", scenario.name, proxy.name(), figures.cells());
        if proxy == Proxy::Pointsman && scenario.name == CALM {
            self.calm = Some(figures.p99);
        }
        if proxy == Proxy::Pointsman && scenario.has_aims {
            self.pointsman.push((scenario.name, figures));
        }
    }

    /// A row for a proxy that isn't installed.
    pub fn skip(&self, scenario: &str, proxy: Proxy) {
        println!("{scenario:<14} {:<14} not installed", proxy.name());
    }

    /// Prints whether Pointsman meets its aims. Returns `true` if all are met.
    pub fn finish(self, good: &Figures) -> bool {
        println!("\nPointsman's aims:");
        if good.p99 > SLOWEST_ANSWER * 2 {
            println!("(a busy machine: good endpoints answer within {SLOWEST_ANSWER:?}, but see their p99 above)");
        }
        let mut all_met = true;
        for (scenario, figures) in &self.pointsman {
            let calm = self.calm.filter(|_| *scenario == POISON);
            for (aim, met, figure) in
                aims(figures, good).into_iter().chain(calm.map(|calm| beside_poison(figures, calm)))
            {
                println!("{scenario:<14} {:<7} {aim}: {figure}", if met { "met" } else { "missed" });
                all_met &= met;
            }
        }
        all_met
    }
}

/// Each aim, whether it is met, and its figure.
fn aims(figures: &Figures, good: &Figures) -> [(&'static str, bool, String); 4] {
    let Figures { reads, answered, attempts, doubled_writes, .. } = *figures;
    let ratio = figures.p99.as_secs_f64() / good.p99.as_secs_f64();
    let of_reads = format!("{} % ({answered} of {reads})", percent(figures.share()));
    let p99s = format!("{ratio:.2} ({:.1} ms to {:.1} ms)", ms(figures.p99), ms(good.p99));
    [
        ("100 % of reads answered", answered == reads, of_reads),
        ("no doubled write", doubled_writes == 0, doubled_writes.to_string()),
        ("p99 at most 3 times the good endpoints' own", ratio <= MAX_P99_RATIO, p99s),
        ("at most 1.3 attempts per request", attempts <= MAX_ATTEMPTS, format!("{attempts:.3}")),
    ]
}

/// The latency of other requests in the presence of poison.
fn beside_poison(figures: &Figures, calm: Duration) -> (&'static str, bool, String) {
    let ratio = figures.p99.as_secs_f64() / calm.as_secs_f64();
    let p99s = format!("{ratio:.2} ({:.1} ms to {:.1} ms)", ms(figures.p99), ms(calm));
    ("p99 at most 1.2 times that without poison", ratio <= MAX_POISON_RATIO, p99s)
}

/// The smallest latency that this share of requests doesn't exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Rounded down, so that 100.00 means all.
fn percent(share: f64) -> String {
    format!("{:.2}", (share * 100.0).floor() / 100.0)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
