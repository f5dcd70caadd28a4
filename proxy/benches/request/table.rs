//! The printed tables.

use super::contenders::{Contender, Installed};
use super::data::Data;
use super::figures::{Footprint, Resident, Round, Row, Times, failures, median, spread};

/// Attempts per request above which they are reported.
const TOLD_ATTEMPTS: f64 = 1.005;
const NOTHING: &str = "-";

/// Prints the parts, the machine and the proxies.
pub fn head(data: &Data, chosen: &[Contender], installed: &[Installed]) {
    let (machine, settings) = (&data.machine, &data.settings);
    println!(
        "{}, {} cores, {} MiB, Linux {}; load {:.2} before",
        machine.cpu, machine.cores, machine.memory_mib, machine.kernel, machine.load
    );
    println!(
        "{} threads per proxy, {} for wrk {}; {} round(s) of {} s, {} s in the other parts",
        settings.threads,
        settings.load_threads,
        data.versions["wrk"],
        settings.rounds,
        settings.seconds,
        settings.part_seconds
    );
    if let (proxies, load) = (&settings.cpus, &settings.load_cpus)
        && (proxies.is_some() || load.is_some())
    {
        let list = |cpus: &Option<String>| cpus.clone().unwrap_or_else(|| "any".to_owned());
        println!("processors: {} for the proxies, {} for wrk and the origin", list(proxies), list(load));
    }
    if settings.quick {
        println!("A quick run shows that all works. Its figures aren't to be relied on.");
    }
    println!();
    for contender in chosen {
        match installed.iter().find(|known| known.contender == *contender) {
            Some(_) => {
                println!("{contender:<16} {}\n{:<16} {}", data.versions[contender.name()], "", contender.features())
            }
            None => println!("{contender:<16} not installed"),
        }
    }
}

/// The rows of one case.
pub fn rows(case: &str, rows: &[Row]) {
    println!(
        "\n{case:<26} {:>8} {:>7} {:>7} {:>7} {:>7} {:>10} {:>8} {:>8} {:>8} {:>9}",
        "CPU µs", "spread", "x nginx", "x bare", "x envoy", "requests", "p50", "p99", "p99.9", "resident"
    );
    println!(
        "{:<26} {:>8} {:>7} {:>7} {:>7} {:>7} {:>10} {:>8} {:>8} {:>8} {:>9}",
        "", "/request", "", "", "", "", "/s", "ms", "ms", "ms", "MiB"
    );
    for row in rows {
        println!("  {:<24} {}", row.proxy, cells(row, rows));
    }
}

fn cells(row: &Row, rows: &[Row]) -> String {
    let cpu = |round: &Round| round.cpu_us;
    let figure = |of: fn(&Round) -> f64, digits| number(row.median(of), digits);
    let ratios = Contender::REFERENCES.map(|reference| {
        let others = rows.iter().find(|other| other.proxy == reference.name() && other.proxy != row.proxy);
        format!(" {:>7}", number(others.and_then(|others| row.ratio_to(others, cpu)), 2))
    });
    let spread = percent(row.spread(cpu));
    format!(
        "{:>8} {spread:>7}{} {:>10} {:>8} {:>8} {:>8} {:>9}{}",
        figure(cpu, 1),
        ratios.concat(),
        figure(|round| round.per_second, 0),
        figure(|round| round.p50_ms, 2),
        figure(|round| round.p99_ms, 2),
        figure(|round| round.p999_ms, 2),
        figure(|round| round.resident_mib, 1),
        row_remarks(row)
    )
}

/// Remarks on the figures.
fn row_remarks(row: &Row) -> String {
    let attempts = median(row.rounds.iter().flatten().filter_map(|round| round.attempts).collect());
    let attempts = attempts.filter(|attempts| *attempts > TOLD_ATTEMPTS);
    let attempts = attempts.map(|attempts| format!("{attempts:.2} attempts per request"));
    let remarks: Vec<String> = attempts.into_iter().chain(failure(&row.rounds)).collect();
    if remarks.is_empty() { String::new() } else { format!("  {}", remarks.join("; ")) }
}

/// The failed rounds, if there are any.
fn failure<T>(rounds: &[Result<T, String>]) -> Option<String> {
    let failures = failures(rounds);
    let first = failures.first()?.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(match failures.len() == rounds.len() {
        true => format!("not measured: {first}"),
        false => format!("{} of {} rounds failed: {first}", failures.len(), rounds.len()),
    })
}

/// Memory of the connections of one case.
pub fn footprints(case: &str, rows: &[Footprint]) {
    println!(
        "\n{case:<26} {:>11} {:>7} {:>7} {:>7} {:>10} {:>10}",
        "KiB", "spread", "x nginx", "x bare", "before", "with them"
    );
    println!("{:<26} {:>11} {:>7} {:>7} {:>7} {:>10} {:>10}", "", "/connection", "", "", "", "MiB", "MiB");
    for row in rows {
        let mib = |of: fn(&Resident) -> u64| number(row.median(|one| of(one) as f64 / f64::from(1 << 20)), 1);
        let each = row.median(Resident::kib_each);
        let ratios = [Contender::Nginx, Contender::Bare].map(|reference| {
            let others = rows.iter().find(|other| other.proxy == reference.name() && other.proxy != row.proxy);
            let others = others.and_then(|others| others.median(Resident::kib_each));
            format!(" {:>7}", number(each.zip(others).map(|(own, others)| own / others), 2))
        });
        println!(
            "  {:<24} {:>11} {:>7}{} {:>10} {:>10}  {}",
            row.proxy,
            number(each, 1),
            percent(spread(row.rounds.iter().flatten().map(Resident::kib_each).collect())),
            ratios.concat(),
            mib(|one| one.before),
            mib(|one| one.after),
            footprint_remarks(row)
        );
    }
}

fn footprint_remarks(row: &Footprint) -> String {
    let closed = row.rounds.iter().flatten().map(|round| round.closed).max();
    let closed = closed.filter(|closed| *closed > 0).map(|closed| format!("up to {closed} were closed"));
    closed.into_iter().chain(failure(&row.rounds)).collect::<Vec<_>>().join("; ")
}

/// Times of one case.
pub fn times(case: &str, times: &[Times]) {
    println!("\n{case:<26} {:>10} {:>10} {:>10} {:>6}", "median ms", "least", "most", "times");
    for times in times {
        let [least, most] = [f64::min, f64::max].map(|of| times.ms.iter().copied().reduce(of));
        println!(
            "  {:<24} {:>10} {:>10} {:>10} {:>6}",
            times.proxy,
            number(median(times.ms.clone()), 2),
            number(least, 2),
            number(most, 2),
            times.ms.len()
        );
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or(NOTHING.to_owned(), |share| format!("{:.0} %", share * 100.0))
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or(NOTHING.to_owned(), |value| format!("{value:.digits$}"))
}
