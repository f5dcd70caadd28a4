//! Cold starts: a new process, whose files may be in the page cache.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Case, Part, cases};
use crate::contenders::Installed;
use crate::data::Data;
use crate::figures::Times;
use crate::options::Settings;
use crate::origin::Origin;
use crate::peers::Process;
use crate::table;
use testkit::Client;

/// Starts per round of the other parts.
const STARTS: usize = 3;
/// Timeout of a start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_micros(200);

/// Measures and prints it.
pub fn run(contenders: &[&Installed], data: &mut Data) -> anyhow::Result<()> {
    let settings = &data.settings;
    let case = cases::small(settings);
    let origin = Origin::start(&case, settings)?;
    let mut times: Vec<Times> = contenders.iter().map(|known| empty(known, &case)).collect();
    for _ in 0..settings.rounds * STARTS {
        for (times, installed) in times.iter_mut().zip(contenders) {
            match start(installed, &case, &origin, settings) {
                Ok(time) => times.ms.push(time.as_secs_f64() * 1e3),
                Err(error) => println!("{}: {error:#}", installed.contender),
            }
        }
    }
    table::times("", &times);
    data.times.extend(times);
    Ok(())
}

fn empty(installed: &Installed, case: &Case) -> Times {
    Times {
        part: Part::Start.name().to_owned(),
        case: case.name.clone(),
        x: case.x,
        proxy: installed.contender.name().to_owned(),
        ms: Vec::new(),
    }
}

fn start(installed: &Installed, case: &Case, origin: &Origin, settings: &Settings) -> anyhow::Result<Duration> {
    let (site, command) = installed.prepare(case, origin, settings)?;
    let begin = Instant::now();
    let mut process = Process::spawn(site, command)?;
    loop {
        let answer = Client::try_connect(process.address()).and_then(|mut client| client.try_post(&case.request));
        if answer.is_ok_and(|response| response.status == 200) {
            return Ok(begin.elapsed());
        }
        ensure!(process.is_running() && begin.elapsed() < PATIENCE, "no answer:\n{}", process.log());
        std::thread::sleep(PAUSE);
    }
}
