//! The command line and the settings derived from it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};

use super::contenders::Contender;
use super::parts::Part;

/// Default file of the data, in the build folder.
const OUT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/request.json");
/// Default folder of the plots.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
/// Warm-up before a measurement.
const WARM_UP: Duration = Duration::from_millis(300);
const QUICK_WARM_UP: Duration = Duration::from_millis(100);
/// Seconds of a measurement of `base`; wrk takes whole seconds.
const SECONDS: u64 = 3;
/// Seconds in the other parts, and in all parts with `--quick`, unless a part needs more.
const PART_SECONDS: u64 = 1;
const ROUNDS: usize = 3;

/// A whole request through Pointsman and, where they are installed, nginx, HAProxy and Envoy.
#[derive(Parser)]
#[command(name = "request")]
pub struct Options {
    /// Only this part (several: repeat it)
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Only this proxy (several: repeat it)
    #[arg(long, value_enum)]
    proxy: Vec<Contender>,
    /// One round, and of each part the first and the last case only: to see that all works
    #[arg(long)]
    quick: bool,
    /// Rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement; some take a multiple of it
    #[arg(long)]
    seconds: Option<u64>,
    /// Worker threads of each proxy
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// wrk's connections, where the part doesn't say
    #[arg(long, short = 'c', default_value_t = 64)]
    connections: usize,
    /// wrk's threads
    #[arg(long, short = 't', default_value_t = 2)]
    load_threads: usize,
    /// Processors for the proxies, as taskset takes them
    #[arg(long, value_name = "LIST")]
    cpus: Option<String>,
    /// Processors for load generators that are programs, and for the origin
    #[arg(long, value_name = "LIST")]
    load_cpus: Option<String>,
    /// Pointsman's scoring plugin
    #[arg(long, default_value = "tiers")]
    scoring: String,
    /// The file for the data
    #[arg(long, value_name = "FILE", default_value = OUT)]
    pub out: PathBuf,
    /// Draw the plots of this data, or else of the last run's, and measure nothing
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = OUT)]
    pub plot: Option<PathBuf>,
    /// The folder for the plots
    #[arg(long, value_name = "FOLDER", default_value = DOCS)]
    pub into: PathBuf,
    /// Cargo adds it
    #[arg(long, hide = true)]
    bench: bool,
}

/// Settings of all measurements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Whether the run is only a smoke test.
    pub quick: bool,
    /// Number of measurements of each figure.
    pub rounds: usize,
    /// Seconds of a measurement of `base`.
    pub seconds: u64,
    /// Seconds of a measurement of most other parts.
    pub part_seconds: u64,
    /// Duration of the warm-up before a measurement.
    pub warm_up: Duration,
    /// Worker threads of each proxy.
    pub threads: usize,
    /// wrk's connections, unless the part sets them.
    pub connections: usize,
    /// wrk's threads.
    pub load_threads: usize,
    /// Processors for proxies; `None` for all.
    pub cpus: Option<String>,
    /// Processors for load generators that are programs, and for the origin.
    pub load_cpus: Option<String>,
    /// Pointsman's scoring plugin.
    pub scoring: String,
}

impl Options {
    /// Parses the command line; ends the process if it is invalid.
    pub fn read() -> Options {
        Options::parse()
    }

    /// The chosen parts.
    pub fn parts(&self) -> Vec<Part> {
        if self.only.is_empty() { Part::ALL.to_vec() } else { self.only.clone() }
    }

    /// The chosen proxies.
    pub fn proxies(&self) -> Vec<Contender> {
        if self.proxy.is_empty() { Contender::ALL.to_vec() } else { self.proxy.clone() }
    }

    /// The settings of the measurements.
    pub fn settings(&self) -> Settings {
        let (rounds, seconds, warm_up) = match self.quick {
            true => (1, PART_SECONDS, QUICK_WARM_UP),
            false => (ROUNDS, SECONDS, WARM_UP),
        };
        Settings {
            quick: self.quick,
            rounds: self.rounds.unwrap_or(rounds).max(1),
            seconds: self.seconds.unwrap_or(seconds).max(1),
            part_seconds: self.seconds.unwrap_or(PART_SECONDS).max(1),
            warm_up,
            threads: self.threads.max(1),
            connections: self.connections.max(1),
            load_threads: self.load_threads.max(1),
            cpus: self.cpus.clone(),
            load_cpus: self.load_cpus.clone(),
            scoring: self.scoring.clone(),
        }
    }
}
