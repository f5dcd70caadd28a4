//! Reloads of Pointsman without load: the conf is read and checked, the plugin folder scanned, one
//! endpoint replaced, everything else reused.

use std::time::Instant;

use anyhow::{Context, ensure};

use super::{Case, Part, cases};
use crate::contenders::{Installed, pointsman_conf};
use crate::data::Data;
use crate::figures::Times;
use crate::options::Settings;
use crate::origin::Origin;
use crate::peers::Process;
use crate::table;
use testkit::Client;

const ENDPOINTS: [usize; 3] = [10, 1_000, 10_000];
/// Reloads per round of the other parts.
const RELOADS: usize = 5;

/// Measures and prints it.
pub fn run(contenders: &[&Installed], data: &mut Data) -> anyhow::Result<()> {
    for installed in contenders {
        for endpoints in ENDPOINTS {
            let case = Case { endpoints, ..cases::small(&data.settings) };
            let origin = Origin::start(&case, &data.settings)?;
            let process = installed.start(&case, &origin, &data.settings)?;
            let times = Times {
                part: Part::Reload.name().to_owned(),
                case: format!("{endpoints} endpoints"),
                x: endpoints as f64,
                proxy: installed.contender.name().to_owned(),
                ms: reloads(&process, &case, &origin, &data.settings)?,
            };
            table::times(&times.case, std::slice::from_ref(&times));
            data.times.push(times);
        }
    }
    Ok(())
}

fn reloads(process: &Process, case: &Case, origin: &Origin, settings: &Settings) -> anyhow::Result<Vec<f64>> {
    let reload = |turn: usize| {
        process.site.write("pointsman.toml", pointsman_conf(&process.site, case, origin, settings, turn))?;
        // The admin address closes after each response.
        let mut admin = Client::try_connect(process.site.addresses[1])?;
        let begin = Instant::now();
        let response = admin.post_with("/reload", &[], "");
        let time = begin.elapsed();
        let report = response.json();
        let added = report["changes"]["endpoints_added"].as_array().context("a report")?.len();
        ensure!(response.status == 200 && added == 1, "a reload failed: {report}");
        Ok(time.as_secs_f64() * 1e3)
    };
    (1..=settings.rounds * RELOADS).map(reload).collect()
}
