//! The machine, as far as figures depend on it.

use std::fs::read_to_string;

use serde::{Deserialize, Serialize};

const UNKNOWN: &str = "unknown";

/// A machine at the beginning of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// That this process may use.
    pub cores: usize,
    /// In MiB.
    pub memory_mib: u64,
    /// Its release.
    pub kernel: String,
    /// Processes that ran or wanted to, on average over the last minute: above 0.5 or so, figures
    /// are of little use.
    pub load: f64,
}

impl Machine {
    /// This one.
    pub fn look() -> Machine {
        let line = |file, key| field(&read_to_string(file).ok()?, key);
        let memory = line("/proc/meminfo", "MemTotal").and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
        let load = read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok());
        Machine {
            cpu: line("/proc/cpuinfo", "model name").unwrap_or_else(|| UNKNOWN.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.unwrap_or_default() >> 10,
            kernel: read_to_string("/proc/sys/kernel/osrelease").map_or(UNKNOWN.to_owned(), |text| text.trim().into()),
            load: load.unwrap_or_default(),
        }
    }
}

/// The value in the first line `key: value`.
fn field(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}
