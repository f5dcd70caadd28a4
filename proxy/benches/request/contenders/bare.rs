//! Pingora alone: `proxy/examples/bare.rs`.

use std::path::PathBuf;
use std::process::Command;

use super::Setting;
use crate::authority::{CERTIFICATE, KEY, NAMES};

pub const FEATURES: &str = "Pingora's own path with its pool of idle connections, round robin; no metrics, limits, log or \
                            look into bodies";

/// The binary that `cargo build --example bare` puts beside this benchmark, unless `BARE_BIN` names
/// another.
pub fn binary() -> Option<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("examples/bare"));
    let file = std::env::var_os("BARE_BIN").map(PathBuf::from).or_else(beside)?;
    file.is_file().then_some(file)
}

/// Version of Pingora, which is pinned.
pub fn version() -> Option<String> {
    let lock: toml::Table = toml::from_str(include_str!("../../../../Cargo.lock")).ok()?;
    let mut packages = lock.get("package")?.as_array()?.iter();
    let pingora = packages.find(|package| package.get("name").and_then(|name| name.as_str()) == Some("pingora"))?;
    Some(pingora.get("version")?.as_str()?.to_owned())
}

pub fn set_up(command: &mut Command, setting: &Setting<'_>) {
    command.args(["--listen", &setting.site.listen().to_string()]);
    command.args(["--threads", &setting.settings.threads.to_string()]);
    if setting.downstream.uses_tls() {
        command.args(["--certificate", CERTIFICATE, "--key", KEY]);
    }
    if let Some(file) = &setting.authority {
        command.arg("--ca").arg(file).args(["--name", NAMES[0]]);
    }
    command.args(setting.origins.iter().map(ToString::to_string));
}
