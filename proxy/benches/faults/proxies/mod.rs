//! The proxies as processes, each with a conf that a careful operator would write for this pool.
//!
//! What all confs agree on: two threads, four attempts, 500 ms to connect, one second for an attempt and, where there is
//! such a thing, ten for a request; endpoints of equal weight; keep-alive on both sides; no access log.

mod envoy;
mod haproxy;
mod nginx;
mod pointsman;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::options::Options;

/// How long a proxy may take to listen, or to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(10);
/// Starts that may fail because a port was taken between its choice and its use.
const STARTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(20);

/// A proxy that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Proxy {
    /// This one.
    Pointsman,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
}

/// What a conf is written from.
struct Setting {
    folder: TempDir,
    listen: SocketAddr,
    admin: SocketAddr,
    origins: Vec<SocketAddr>,
    scoring: String,
    upstream: Vec<String>,
}

impl Setting {
    /// In a folder of its own, with free ports.
    fn new(origins: &[SocketAddr], options: &Options) -> anyhow::Result<Setting> {
        // Both at once, or they might be the same.
        let [listen, admin] = [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
        Ok(Setting {
            folder: tempfile::Builder::new().prefix("pointsman-faults-").tempdir()?,
            listen: listen.local_addr()?,
            admin: admin.local_addr()?,
            origins: origins.to_vec(),
            scoring: options.scoring.clone(),
            upstream: options.upstream.clone(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Proxy {
    /// All, Pointsman first.
    pub const ALL: [Proxy; 4] = [Proxy::Pointsman, Proxy::Nginx, Proxy::Haproxy, Proxy::Envoy];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Proxy::Pointsman => "pointsman",
            Proxy::Nginx => "nginx",
            Proxy::Haproxy => "haproxy",
            Proxy::Envoy => "envoy",
        }
    }

    /// Its binary, if it is installed.
    pub fn find(self) -> Option<PathBuf> {
        match self {
            Proxy::Pointsman => Some(pointsman::binary()),
            Proxy::Nginx | Proxy::Haproxy => in_path(self.name()),
            Proxy::Envoy => envoy::binary(),
        }
    }

    fn conf(self, setting: &Setting) -> String {
        match self {
            Proxy::Pointsman => pointsman::conf(setting),
            Proxy::Nginx => nginx::conf(setting),
            Proxy::Haproxy => haproxy::conf(setting),
            Proxy::Envoy => envoy::conf(setting),
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Proxy::Pointsman => pointsman::ARGUMENTS,
            Proxy::Nginx => nginx::ARGUMENTS,
            Proxy::Haproxy => haproxy::ARGUMENTS,
            Proxy::Envoy => envoy::ARGUMENTS,
        }
    }
}

/// A proxy that serves. It ends when it is dropped.
pub struct Running {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Running {
    /// Starts it in front of these origins and waits until it listens.
    pub async fn start(
        proxy: Proxy,
        binary: &Path,
        origins: &[SocketAddr],
        options: &Options,
    ) -> anyhow::Result<Running> {
        for _ in 1..STARTS {
            if let Ok(running) = Running::start_once(proxy, binary, Setting::new(origins, options)?).await {
                return Ok(running);
            }
        }
        Running::start_once(proxy, binary, Setting::new(origins, options)?).await
    }

    async fn start_once(proxy: Proxy, binary: &Path, setting: Setting) -> anyhow::Result<Running> {
        let (conf, log) = (setting.path("conf.json"), setting.path("log"));
        std::fs::write(&conf, proxy.conf(&setting))?;
        let output = File::create(&log)?;
        let mut command = Command::new(binary);
        // The conf's path is the last argument of each.
        command.args(proxy.arguments()).arg(&conf).current_dir(setting.folder.path());
        command.env("RUST_LOG", "error").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("{} doesn't start", binary.display()))?;
        let mut running = Running { child, address: setting.listen, _folder: setting.folder };
        match running.listens().await {
            true => Ok(running),
            false => bail!("{} doesn't listen:\n{}", proxy.name(), std::fs::read_to_string(log)?),
        }
    }

    async fn listens(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            if TcpStream::connect(self.address).await.is_ok() {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }
}

impl Drop for Running {
    /// First by TERM: nginx, killed outright, would leave its workers behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let id = i32::try_from(self.child.id()).expect("a process id");
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program in `PATH`, or where servers lie that aren't in everybody's.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
