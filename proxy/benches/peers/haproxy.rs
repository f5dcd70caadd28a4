//! HAProxy.

use std::path::PathBuf;

use super::in_path;

/// The conf's path comes last.
pub const ARGUMENTS: &[&str] = &["-db", "-q", "-f"];

/// The program, if it is installed.
pub fn binary() -> Option<PathBuf> {
    in_path("haproxy")
}
