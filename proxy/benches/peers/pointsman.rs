//! Pointsman.

use std::path::PathBuf;

/// The conf's path comes last.
pub const ARGUMENTS: &[&str] = &["--config"];
/// The folder of the shipped policies.
pub const PLUGINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/dist");

/// The binary built with the benchmark, unless `POINTSMAN_BIN` names another.
pub fn binary() -> PathBuf {
    std::env::var_os("POINTSMAN_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_pointsman")), PathBuf::from)
}
