//! Latencies below saturation: at half of each proxy's own maximum rate, and of all proxies at half
//! of the slowest one's maximum rate.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;

use super::{Case, Part, cases, take_turns};
use crate::constant::Plan;
use crate::contenders::{Contender, Installed};
use crate::data::Data;
use crate::figures::{Round, Row};
use crate::measure::{self, attempts, ready};
use crate::options::Settings;
use crate::origin::Origin;
use crate::table;
use crate::usage::Meter;

/// Number of connections and of sending threads.
const CONNECTIONS: usize = 32;
/// Share of the maximum rate.
const SHARE: f64 = 0.5;
/// Minimum for p99.9.
const MIN_REQUESTS: u64 = 1_000;
/// Factor of the duration: p99.9 depends on one request in a thousand.
const LONGER: u64 = 2;

/// Measures and prints it.
///
/// # Errors
/// If the origin doesn't start.
pub fn run(contenders: &[&Installed], data: &mut Data) -> anyhow::Result<()> {
    let settings = data.settings.clone();
    let small = cases::small(&settings);
    let top = Case { name: "top rate, by wrk".to_owned(), x: 0.0, connections: CONNECTIONS, ..small };
    let origin = Origin::start(&top, &settings)?;
    let tops = take_turns(Part::Rate, &top, contenders, &settings, |installed| {
        measure::under_load(installed, &top, &origin, &settings)
    });
    let halves = halves(contenders, &tops);
    add(data, &top, tops);

    // Proxies without a maximum rate are skipped.
    let able: Vec<&Installed> = contenders.iter().copied().filter(|one| halves.contains_key(&one.contender)).collect();
    let Some(same) = halves.values().copied().reduce(f64::min) else { return Ok(()) };
    let own = Case { name: "half of its own top rate".to_owned(), ..top.clone() };
    let each = Case { name: format!("{same:.0}/s each"), x: same, ..top };
    let rows = take_turns(Part::Rate, &own, &able, &settings, |installed| {
        at_rate(halves[&installed.contender], installed, &own, &origin, &settings)
    });
    add(data, &own, rows);
    let rows = take_turns(Part::Rate, &each, &able, &settings, |installed| {
        at_rate(same, installed, &each, &origin, &settings)
    });
    add(data, &each, rows);
    Ok(())
}

/// Half of the maximum rate of each proxy that has one.
fn halves(contenders: &[&Installed], tops: &[Row]) -> BTreeMap<Contender, f64> {
    let half = |(installed, row): (&&Installed, &Row)| {
        Some((installed.contender, row.median(|round| round.per_second)? * SHARE))
    };
    contenders.iter().zip(tops).filter_map(half).collect()
}

fn add(data: &mut Data, case: &Case, rows: Vec<Row>) {
    table::rows(&case.name, &rows);
    data.rows.extend(rows);
}

fn at_rate(
    per_second: f64,
    installed: &Installed,
    case: &Case,
    origin: &Origin,
    settings: &Settings,
) -> anyhow::Result<Round> {
    let process = ready(installed, case, origin, settings)?;
    let length = Duration::from_secs(case.seconds * LONGER);
    let plan = Plan { per_second, connections: CONNECTIONS, warm_up: settings.warm_up, length };
    let request = case.bytes();
    let (answers, meter) = plan.run(process.address(), &request, || Meter::start(process.id()))?;
    let used = meter.stop()?;
    ensure!(answers.failed == 0, "{} of {} requests failed", answers.failed, answers.failed + answers.good());
    ensure!(answers.good() >= MIN_REQUESTS, "only {} requests", answers.good());
    let attempts = attempts(installed.contender, &process);
    Ok(measure::round(answers.good(), length.as_secs_f64(), answers.latencies_ms(), &used, attempts))
}
