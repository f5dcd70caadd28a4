//! Proxies as processes, for the benchmarks that compare Pointsman with others: their binaries,
//! start and end, and the parts of a conf that don't depend on the measurement.
//!
//! Every process has its own folder and its own loopback ports. It ends when its value is dropped;
//! no other process is ended.

pub mod envoy;
pub mod haproxy;
pub mod nginx;
pub mod pointsman;
mod process;
mod site;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use process::Process;
pub use site::Site;

/// Finds a program in `PATH` or in the system folders that `PATH` may lack.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A command that runs a program on these processors only (a list for taskset), if set.
pub fn pinned(program: &Path, cpus: Option<&str>) -> Command {
    match cpus {
        None => Command::new(program),
        Some(cpus) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", cpus]).arg(program);
            command
        }
    }
}
