//! Properties of the machine that affect figures.

use std::fs::read_to_string;

use serde::{Deserialize, Serialize};

const UNKNOWN: &str = "unknown";

/// The machine at the start of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors available to this process.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Load average of the last minute: above about 0.5, figures are unreliable.
    pub load: f64,
}

impl Machine {
    /// Inspects this machine.
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
