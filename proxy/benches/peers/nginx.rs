//! nginx.

use std::path::PathBuf;

use super::{Site, in_path};

/// The conf's path comes last.
pub const ARGUMENTS: &[&str] = &["-p", ".", "-e", "error.log", "-c"];
/// Folders for bodies that exceed the memory buffers.
const FOLDERS: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// The program, if it is installed.
pub fn binary() -> Option<PathBuf> {
    in_path("nginx")
}

/// A conf with `workers` workers of `connections` connections each, and `http` as the content of
/// its `http` block.
pub fn conf(site: &Site, workers: usize, connections: usize, http: &str) -> String {
    let folders = FOLDERS.map(|name| format!("  {name}_temp_path {};\n", site.path(name).display()));
    format!(
        "daemon off;
# Started by root, workers would be nobody, and the folder isn't for everybody.
user root;
worker_processes {workers};
pid nginx.pid;
error_log error.log crit;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
{}{http}}}
",
        folders.concat(),
    )
}
