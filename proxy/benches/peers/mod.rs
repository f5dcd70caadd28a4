//! Proxies as processes, for the benchmarks that put Pointsman beside others: where their programs
//! are, how they are started and ended, and as much of a conf as doesn't depend on what is
//! measured.
//!
//! Every process has a folder of its own and listens on loopback ports of its own. It ends with the
//! value that stands for it, and nothing else is ended.

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

/// A program in `PATH`, or where servers lie that aren't in everybody's.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A command that runs a program on these processors only (a list as taskset takes it), if any are
/// named.
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
