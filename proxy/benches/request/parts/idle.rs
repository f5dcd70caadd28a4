//! Memory of idle connections. Each has made one request, or is an open WebSocket connection.
//!
//! Before the first measurement some connections were opened and closed again, so that the figure
//! has no part of what the first ones bring. After the second, each connection makes another
//! request, which shows those that were closed meanwhile. (Pingora alone closes one WebSocket
//! connection in some thousands as it opens.) Memory of the kernel isn't included.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::{Case, Downstream, Part, rounds};
use crate::clients::{Connection, RUNTIME};
use crate::contenders::Installed;
use crate::data::Data;
use crate::figures::{Footprint, Resident};
use crate::measure::ready;
use crate::options::Settings;
use crate::origin::Origin;
use crate::table;
use crate::usage;

/// Connections opened, or asked, at the same time.
const AT_ONCE: usize = 64;
/// Connections before the first measurement.
const FIRST: usize = 2 * AT_ONCE;
/// With more than one in so many closed, there is no figure.
const MOST_CLOSED: usize = 100;
/// A process's memory has settled when it changes by less than this share ...
const CHANGE: f64 = 0.002;
/// ... in this time, ...
const QUIET: Duration = Duration::from_secs(1);
/// ... or isn't expected to after this one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures and prints it.
///
/// # Errors
/// If an origin doesn't start.
pub fn run(contenders: &[&Installed], open_files: u64, data: &mut Data) -> anyhow::Result<()> {
    let settings = data.settings.clone();
    for case in Part::Idle.possible_cases(&settings, open_files) {
        let origin = Origin::start(&case, &settings)?;
        let rounds = rounds(contenders, &settings, |installed| measure(installed, &case, &origin, &settings));
        let rows = contenders.iter().zip(rounds).map(|(installed, rounds)| Footprint {
            part: Part::Idle.name().to_owned(),
            case: case.name.clone(),
            x: case.x,
            proxy: installed.contender.name().to_owned(),
            rounds,
        });
        let rows: Vec<Footprint> = rows.collect();
        table::footprints(&case.name, &rows);
        data.footprints.extend(rows);
    }
    Ok(())
}

fn measure(installed: &Installed, case: &Case, origin: &Origin, settings: &Settings) -> anyhow::Result<Resident> {
    let process = ready(installed, case, origin, settings)?;
    drop(open(process.address(), case, FIRST)?);
    let before = settled(process.id())?;
    let connections = open(process.address(), case, case.connections)?;
    let after = settled(process.id())?;
    let closed = closed(connections, case);
    ensure!(closed <= case.connections / MOST_CLOSED, "{closed} of {} connections were closed", case.connections);
    Ok(Resident { connections: case.connections, closed, before, after })
}

/// Opens connections, each of which has made a request.
fn open(address: SocketAddr, case: &Case, count: usize) -> anyhow::Result<Vec<Connection>> {
    let opening = (0..AT_ONCE).map(|number| {
        let (case, count) = (case.clone(), (count + number) / AT_ONCE);
        RUNTIME.spawn(async move {
            let mut connections = Vec::with_capacity(count);
            for _ in 0..count {
                let mut connection = Connection::open(address, &case).await?;
                if case.downstream != Downstream::WebSocket {
                    connection.exchange(&case).await?;
                }
                connections.push(connection);
            }
            anyhow::Ok(connections)
        })
    });
    let opening: Vec<_> = opening.collect();
    let mut connections = Vec::with_capacity(count);
    for some in opening {
        connections.extend(RUNTIME.block_on(some)??);
    }
    Ok(connections)
}

/// Lets each connection make one more request. Returns the number of those that can't.
fn closed(connections: Vec<Connection>, case: &Case) -> usize {
    RUNTIME.block_on(async {
        let mut closed = 0;
        for mut connection in connections {
            closed += usize::from(connection.exchange(case).await.is_err());
        }
        closed
    })
}

/// The resident memory of a process and its children when it doesn't change any more, in bytes.
fn settled(id: u32) -> anyhow::Result<u64> {
    let begin = Instant::now();
    let mut last = usage::resident_now(id)?;
    loop {
        std::thread::sleep(QUIET);
        let now = usage::resident_now(id)?;
        if now.abs_diff(last) as f64 <= CHANGE * last as f64 || begin.elapsed() > PATIENCE {
            return Ok(now);
        }
        last = now;
    }
}
