//! The command line.

use std::time::Duration;

use clap::Parser;

use super::load::Plan;
use super::proxies::Proxy;

/// Faults behind Pointsman and, where they are installed, nginx, HAProxy and Envoy.
#[derive(Parser)]
#[command(name = "faults")]
pub struct Options {
    /// Only this scenario (several: repeat it)
    #[arg(long, value_parser = ["mixed-faults", "slow-turns", "rate-limited", "half-dies", "hang", "half-fails", "half-hangs", "calm", "poison", "all-down"])]
    scenario: Vec<String>,
    /// Only this proxy (several: repeat it)
    #[arg(long, value_enum)]
    proxy: Vec<Proxy>,
    /// Three seconds each instead of fifteen
    #[arg(long)]
    quick: bool,
    /// Seconds that are measured
    #[arg(long)]
    seconds: Option<u64>,
    /// Requests per second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Connections of the client; more are opened when all are busy
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Chooses methods, latencies and faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pointsman's scoring plugin; "none" for the built-in policy
    #[arg(long, default_value = "peak-ewma")]
    pub scoring: String,
    /// A line for Pointsman's [upstreams.main], such as 'max_attempts = 3' (several: repeat it)
    #[arg(long = "set", value_name = "TOML")]
    pub upstream: Vec<String>,
    /// Fail when an aim is missed
    #[arg(long)]
    pub strict: bool,
    /// Cargo adds it
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Parses the command line; ends the process if it is invalid.
    pub fn read() -> Options {
        Options::parse()
    }

    /// The load.
    pub fn plan(&self) -> Plan {
        let seconds = self.seconds.unwrap_or(if self.quick { 3 } else { 15 });
        let (rate, connections, seed) = (self.rate, self.connections, self.seed);
        let warm_up = if self.quick { Duration::from_secs(1) } else { Duration::from_secs(2) };
        Plan { poison: 0.0, rate, connections, warm_up, length: Duration::from_secs(seconds), seed }
    }

    /// Is this scenario chosen?
    pub fn wants_scenario(&self, name: &str) -> bool {
        self.scenario.is_empty() || self.scenario.iter().any(|chosen| chosen == name)
    }

    /// The chosen proxies.
    pub fn proxies(&self) -> Vec<Proxy> {
        if self.proxy.is_empty() { Proxy::ALL.to_vec() } else { self.proxy.clone() }
    }
}
