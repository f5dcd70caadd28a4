//! Latencies across a publish: requests that were due during a reload or in the 100 ms after its
//! publish, compared with all others of the same run.
//!
//! Each generation changes an endpoint, and its policies are new instances with another config. The
//! interval between two publishes is long enough for a reload's work before and after.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Case, Part, cases};
use crate::constant::{Answers, Plan};
use crate::contenders::{Installed, pointsman_conf};
use crate::data::Data;
use crate::figures::{Round, Row};
use crate::measure::{self, ready};
use crate::options::Settings;
use crate::origin::Origin;
use crate::peers::Process;
use crate::table;
use crate::usage::Meter;
use testkit::Client;

/// Number of connections and of sending threads.
const CONNECTIONS: usize = 16;
/// Requests per second: far below saturation, so that no queue hides or causes a delay.
const PER_SECOND: f64 = 1_000.0;
/// Interval between reloads.
const PERIOD: Duration = Duration::from_millis(400);
/// Time after a publish that belongs to it.
const AFTER: Duration = Duration::from_millis(100);
/// Factor of the duration: p99.9 depends on one request in a thousand, and a quarter of them
/// follows a publish.
const LONGER: u64 = 10;

/// Measures and prints it.
///
/// # Errors
/// If the origin doesn't start.
pub fn run(contenders: &[&Installed], data: &mut Data) -> anyhow::Result<()> {
    let settings = data.settings.clone();
    let case = Case { endpoints: 16, ..cases::small(&settings) };
    let origin = Origin::start(&case, &settings)?;
    for installed in contenders {
        let measured: Vec<_> =
            (0..settings.rounds).map(|_| measure_both(installed, &case, &origin, &settings)).collect();
        let ratios: Vec<f64> =
            measured.iter().flatten().map(|[after, others]| after.p999_ms / others.p999_ms).collect();
        for (name, which) in [("during a reload and for 100 ms after it", 0), ("at other times", 1)] {
            let round = |both: &anyhow::Result<[Round; 2]>| match both {
                Ok(both) => Ok(both[which].clone()),
                Err(error) => Err(format!("{error:#}")),
            };
            let row = Row {
                part: Part::Swap.name().to_owned(),
                case: name.to_owned(),
                x: 0.0,
                proxy: installed.contender.name().to_owned(),
                rounds: measured.iter().map(round).collect(),
            };
            table::rows(name, std::slice::from_ref(&row));
            data.rows.push(row);
        }
        println!("p99.9 across a reload, as a multiple of the other, round by round: {ratios:.2?}");
    }
    Ok(())
}

/// Measures after a publish, and at other times.
fn measure_both(
    installed: &Installed,
    case: &Case,
    origin: &Origin,
    settings: &Settings,
) -> anyhow::Result<[Round; 2]> {
    let process = ready(installed, case, origin, settings)?;
    let length = Duration::from_secs(case.seconds * LONGER);
    let plan = Plan { per_second: PER_SECOND, connections: CONNECTIONS, warm_up: settings.warm_up, length };
    let request = case.bytes();
    let ended = AtomicBool::new(false);
    let (answers, meter, reloads) = std::thread::scope(|scope| {
        let reloading = scope.spawn(|| reload_until(&ended, &process, case, origin, settings));
        let measured = plan.run(process.address(), &request, || Meter::start(process.id()));
        ended.store(true, Relaxed);
        let reloads = reloading.join().expect("a reload doesn't panic")?;
        measured.map(|(answers, meter)| (answers, meter, reloads))
    })?;
    let used = meter.stop()?;
    ensure!(answers.failed == 0, "{} of {} requests failed", answers.failed, answers.failed + answers.good());
    let all = answers.good();
    let is_after = |due: Instant| reloads.iter().any(|(begun, published)| due >= *begun && due < *published + AFTER);
    let (after, others) = answers.split(is_after);
    // Processor time and rate are of the whole run.
    let round = |answers: &Answers| Round {
        requests: answers.good(),
        ..measure::round(all, length.as_secs_f64(), answers.latencies_ms(), &used, None)
    };
    Ok([round(&after), round(&others)])
}

/// Returns the time of each reload's request and of its response, which shortly follows the
/// publish.
fn reload_until(
    ended: &AtomicBool,
    process: &Process,
    case: &Case,
    origin: &Origin,
    settings: &Settings,
) -> anyhow::Result<Vec<(Instant, Instant)>> {
    let mut reloads = Vec::new();
    while !ended.load(Relaxed) {
        let turn = reloads.len() + 1;
        let config = format!("\n[policies.scoring.config]\ntier1_min_weight = {}\n", 100 + turn % 50);
        let conf = pointsman_conf(&process.site, case, origin, settings, turn) + &config;
        process.site.write("pointsman.toml", conf)?;
        // The admin address closes after each response.
        let mut admin = Client::try_connect(process.site.addresses[1])?;
        let begun = Instant::now();
        let response = admin.post_with("/reload", &[], "");
        ensure!(response.status == 200, "a reload failed: {}", response.text());
        reloads.push((begun, Instant::now()));
        std::thread::sleep(PERIOD);
    }
    Ok(reloads)
}
