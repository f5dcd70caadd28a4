//! The parts of the benchmark, each of which can run alone.

mod case;
mod cases;
mod idle;
mod rate;
mod reload;
mod start;
mod swap;

use clap::ValueEnum;

use super::contenders::{Contender, Installed};
use super::data::Data;
use super::figures::{Round, Row};
use super::options::Settings;
use super::origin::Origin;
use super::table;
use super::{load, measure};
pub use case::{Case, Downstream, Protocol};

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Small requests over the usual number of connections
    Base,
    /// The same over 1 to 5,000 connections
    Connections,
    /// Answers and requests of 1 KiB to 1 MiB
    Bodies,
    /// Batches of 1 to 100 members
    Batches,
    /// Endpoints behind TLS
    Https,
    /// 4 to 10,000 endpoints
    Endpoints,
    /// GETs through a pool of plain HTTP
    HttpPool,
    /// Clients over TLS: open connections, and new ones
    ClientTls,
    /// Clients over HTTP/2
    ClientHttp2,
    /// Memory of 5,000 idle connections
    Idle,
    /// Latencies at a constant rate, half of what is possible
    Rate,
    /// From the start of the process to the first answer
    Start,
    /// Reloads of 10 to 10,000 endpoints
    Reload,
    /// Latencies after a publish, beside all others
    Swap,
}

impl Part {
    /// All parts, in execution order.
    pub const ALL: [Part; 14] = [
        Part::Base,
        Part::Connections,
        Part::Bodies,
        Part::Batches,
        Part::Https,
        Part::Endpoints,
        Part::HttpPool,
        Part::ClientTls,
        Part::ClientHttp2,
        Part::Idle,
        Part::Rate,
        Part::Start,
        Part::Reload,
        Part::Swap,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Part::Base => "base",
            Part::Connections => "connections",
            Part::Bodies => "bodies",
            Part::Batches => "batches",
            Part::Https => "https",
            Part::Endpoints => "endpoints",
            Part::HttpPool => "http-pool",
            Part::ClientTls => "client-tls",
            Part::ClientHttp2 => "client-http2",
            Part::Idle => "idle",
            Part::Rate => "rate",
            Part::Start => "start",
            Part::Reload => "reload",
            Part::Swap => "swap",
        }
    }

    /// Measures the part, prints it and adds it to the data. `open_files` is the limit of a
    /// process.
    ///
    /// # Errors
    /// If the origin doesn't start. Failures of a proxy are printed.
    pub fn run(self, contenders: &[Installed], open_files: u64, data: &mut Data) -> anyhow::Result<()> {
        let taking_part: Vec<&Installed> = contenders.iter().filter(|known| self.is_for(known.contender)).collect();
        println!("\n{}", self.about());
        match self {
            Part::Rate => rate::run(&taking_part, data),
            Part::Start => start::run(&taking_part, data),
            Part::Reload => reload::run(&taking_part, data),
            Part::Swap => swap::run(&taking_part, data),
            Part::Idle => idle::run(&taking_part, open_files, data),
            _ => self.run_cases(&taking_part, open_files, data),
        }
    }

    /// The heading of its figures.
    fn about(self) -> &'static str {
        match self {
            Part::Base => "base: a small request, a 46-byte answer, four endpoints",
            Part::Connections => "connections: the same over other numbers of connections",
            Part::Bodies => "bodies: longer answers, longer requests",
            Part::Batches => "batches: members of a batch, all answered by one endpoint",
            Part::Https => "https: TLS 1.3 between proxy and endpoints, which is verified",
            Part::Endpoints => "endpoints: the small request among more endpoints",
            Part::HttpPool => "http-pool: plain HTTP; Pointsman scores by peak-ewma and retries by http-retry",
            Part::ClientTls => "client-tls: clients over TLS 1.3; one connection each, or a new one for each request",
            Part::ClientHttp2 => {
                "client-http2: clients over HTTP/2 and TLS 1.3; connections x requests on each at once"
            }
            Part::Idle => "idle: memory of idle connections, each after one request; WebSocket connections are open",
            Part::Rate => "rate: a constant rate over 32 connections, latencies from the moment a request is due",
            Part::Start => "start: from the start of the process to its first answer",
            Part::Reload => "reload: from POST /reload to its answer; one endpoint of so many is another one each time",
            Part::Swap => "swap: a constant rate over 16 connections, while two generations a second are published",
        }
    }

    /// Whether the part applies to this proxy.
    fn is_for(self, contender: Contender) -> bool {
        match self {
            Part::Base | Part::HttpPool => true,
            // Envoy rejects duplicate addresses, and Pingora alone doesn't check its origins.
            Part::Endpoints => matches!(contender, Contender::Pointsman | Contender::Nginx | Contender::Haproxy),
            Part::Rate => matches!(contender, Contender::Pointsman | Contender::Bare | Contender::Nginx),
            Part::ClientTls | Part::ClientHttp2 | Part::Idle => {
                matches!(contender, Contender::Pointsman | Contender::Bare | Contender::Nginx | Contender::Haproxy)
            }
            Part::Reload | Part::Swap => contender == Contender::Pointsman,
            _ => !matches!(contender, Contender::PointsmanQuiet | Contender::PointsmanPlain),
        }
    }

    fn cases(self, settings: &Settings) -> Vec<Case> {
        let mut cases = match self {
            Part::Connections => cases::connections(settings),
            Part::Bodies => cases::bodies(settings),
            Part::Batches => cases::batches(settings),
            Part::Https => cases::https(settings),
            Part::Endpoints => cases::endpoints(settings),
            Part::HttpPool => cases::http(settings),
            Part::ClientTls => cases::client_tls(settings),
            Part::ClientHttp2 => cases::client_http2(settings),
            Part::Idle => cases::idle(settings),
            _ => vec![Case { seconds: settings.seconds, ..cases::small(settings) }],
        };
        if settings.quick && cases.len() > 2 {
            cases.drain(1..cases.len() - 1);
        }
        cases
    }

    fn run_cases(self, contenders: &[&Installed], open_files: u64, data: &mut Data) -> anyhow::Result<()> {
        let settings = data.settings.clone();
        for case in self.possible_cases(&settings, open_files) {
            let origin = Origin::start(&case, &settings)?;
            let rows = take_turns(self, &case, contenders, &settings, |installed| {
                measure::under_load(installed, &case, &origin, &settings)
            });
            table::rows(&case.name, &rows);
            data.rows.extend(rows);
        }
        Ok(())
    }

    /// The cases; those that can't be measured here are printed and left out.
    fn possible_cases(self, settings: &Settings, open_files: u64) -> Vec<Case> {
        let mut cases = self.cases(settings);
        cases.retain(|case| {
            let reason = match load::program(case).filter(|name| load::binary(name).is_none()) {
                Some(missing) => format!("{missing} is missing"),
                None if case.open_files() > open_files => format!("a process may open {open_files} files only"),
                None => return true,
            };
            println!("{}: left out, {reason}", case.name);
            false
        });
        cases
    }
}

/// Measures the proxies alternately, once per round.
fn take_turns(
    part: Part,
    case: &Case,
    contenders: &[&Installed],
    settings: &Settings,
    measure: impl Fn(&Installed) -> anyhow::Result<Round>,
) -> Vec<Row> {
    let row = |(installed, rounds): (&&Installed, _)| Row {
        part: part.name().to_owned(),
        case: case.name.clone(),
        x: case.x,
        proxy: installed.contender.name().to_owned(),
        rounds,
    };
    contenders.iter().zip(rounds(contenders, settings, measure)).map(row).collect()
}

/// The rounds of each proxy, measured alternately.
fn rounds<T>(
    contenders: &[&Installed],
    settings: &Settings,
    measure: impl Fn(&Installed) -> anyhow::Result<T>,
) -> Vec<Vec<Result<T, String>>> {
    let mut all: Vec<Vec<_>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..settings.rounds {
        for (rounds, installed) in all.iter_mut().zip(contenders) {
            rounds.push(measure(installed).map_err(|error| format!("{error:#}")));
        }
    }
    all
}
