//! The demo's folder: a conf, the plugins and the log, like an operator's.

use std::fmt::Write;
use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::node::SCRIPTS;
use super::{ADMIN, PROXY};

/// The shipped policies that the demo uses or suggests.
const PLUGINS: [&str; 3] = ["tiers.wasm", "peak-ewma.wasm", "json-rpc-retry.wasm"];
const CONF: &str = "pointsman.toml";
const LOG: &str = "pointsman.log";
/// Only the owner may change what the proxy runs.
const MODE: u32 = 0o700;

pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// Creates and fills the folder, at `path` or among the system's temporary files.
    pub(super) fn create(
        path: Option<PathBuf>,
        plugins: Option<PathBuf>,
        endpoints: &[SocketAddr],
    ) -> anyhow::Result<Self> {
        let plugins = find_plugins(plugins)?;
        let kept = path.is_some();
        let path = path.unwrap_or_else(|| std::env::temp_dir().join(format!("pointsman-demo-{}", std::process::id())));
        // An existing folder of that name belongs to somebody else, unless `path` requests it.
        let made = DirBuilder::new().mode(MODE).recursive(kept).create(&path);
        made.with_context(|| format!("can't make the folder {}", path.display()))?;
        let folder = Folder { path, kept };
        if let Err(error) = folder.fill(&plugins, endpoints) {
            folder.remove();
            return Err(error);
        }
        Ok(folder)
    }

    fn fill(&self, plugins: &Path, endpoints: &[SocketAddr]) -> anyhow::Result<()> {
        let copies = self.path.join("plugins");
        fs::create_dir_all(&copies).with_context(|| format!("can't make the folder {}", copies.display()))?;
        for name in PLUGINS {
            let from = plugins.join(name);
            fs::copy(&from, copies.join(name)).with_context(|| {
                format!("can't copy {} into the demo's folder ('make plugins' builds it)", from.display())
            })?;
        }
        fs::write(self.conf(), conf(endpoints)).with_context(|| format!("can't write {}", self.conf().display()))
    }

    /// Creates an empty log.
    pub(super) fn create_log(&self) -> anyhow::Result<File> {
        File::create(self.log()).with_context(|| format!("can't write {}", self.log().display()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }

    pub(super) fn conf(&self) -> PathBuf {
        self.path.join(CONF)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Removes the folder unless it is to be kept. Repeated calls do nothing.
    pub(super) fn remove(&self) {
        if !self.kept {
            // A folder that can't be removed stays, as after a crash.
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// Removes the folder on TERM, which ends the process inside the server, where the folder is
    /// unknown.
    pub(super) fn remove_when_terminated(self: &Arc<Self>) -> anyhow::Result<()> {
        let folder = Arc::clone(self);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut terminate = runtime.block_on(async { signal(SignalKind::terminate()) })?;
        std::thread::Builder::new().name("demo-end".into()).spawn(move || {
            runtime.block_on(terminate.recv());
            folder.remove();
        })?;
        Ok(())
    }
}

fn find_plugins(asked_for: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let is_there = |folder: &PathBuf| PLUGINS.iter().all(|name| folder.join(name).is_file());
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("plugins")));
    let places = match asked_for {
        Some(folder) => vec![folder],
        None => [Some("plugins/dist".into()), beside].into_iter().flatten().collect(),
    };
    match places.iter().find(|folder| is_there(folder)) {
        Some(folder) => Ok(folder.clone()),
        None => {
            let places: Vec<String> = places.iter().map(|folder| folder.display().to_string()).collect();
            bail!(
                "{} are not all in {}: build them with 'make plugins', or name their folder with --plugins",
                PLUGINS.join(", "),
                places.join(" or ")
            )
        }
    }
}

fn conf(addresses: &[SocketAddr]) -> String {
    let mut text = format!(
        r#"# The demo's conf. Change it while the demo runs; SIGHUP or `pointsman reload` loads it.

[server]
listen = ["{PROXY}"]

[admin]
listen = "{ADMIN}"

[plugins]
dir = "plugins"

# Which endpoint takes a request: tiers goes by weight, peak-ewma by latency and load.
[policies.routing]
plugin = "tiers"

[policies.retries]
plugin = "json-rpc-retry"

[upstreams.demo]
scoring = "routing"
retry = "retries"
max_attempts = 4
deadline = "5s"
client = {{ timeout = "2s" }}
cooldown = {{ base = "500ms", max = "4s" }}
"#
    );
    for (script, address) in SCRIPTS.iter().zip(addresses) {
        let (name, about, weight) = (script.name, script.about, script.weight);
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "\n# {about}\n[[upstreams.demo.endpoints]]\nname = \"{name}\"\nurl = \"http://{address}\"\nweight = {weight}\n"
        );
        if let Some(limit) = script.limit {
            let _ = writeln!(text, "rate_limit_per_sec = {limit}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conf_is_good() {
        let addresses: Vec<SocketAddr> = (1..).map(|port| ([127, 0, 0, 1], port).into()).take(SCRIPTS.len()).collect();
        let config = crate::config::parse(&conf(&addresses), Path::new(CONF), &|_| None).unwrap();
        let endpoints = &config.upstreams["demo"].endpoints;
        assert!(endpoints.iter().map(|e| (e.name.as_str(), e.weight)).eq(SCRIPTS.iter().map(|s| (s.name, s.weight))));
        assert!(endpoints.iter().zip(SCRIPTS).all(|(e, s)| e.rate_limit.map(|r| r.per_sec.get()) == s.limit));
    }

    #[test]
    fn missing_plugins_say_how_to_build_them() {
        let missing = find_plugins(Some("no/such/folder".into())).unwrap_err().to_string();
        assert!(missing.contains("make plugins") && missing.contains("no/such/folder"), "{missing}");
    }
}
