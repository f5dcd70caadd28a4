//! A process that serves.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Site;

/// How long a process may take to listen, or to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(10);
/// Starts that may fail because a port was taken between its choice and its use.
const STARTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(5);
/// The file of the site's folder that has what the process prints.
const LOG: &str = "log";

/// A running process. It ends when it is dropped.
pub struct Process {
    child: Child,
    /// Where it runs.
    pub site: Site,
}

impl Process {
    /// Starts it and waits until it listens. `command` is asked anew when a start fails, for a new
    /// site with so many addresses.
    ///
    /// # Errors
    /// When the program can't be started, or ends or waits instead of listening; with what it
    /// printed.
    pub fn start(addresses: usize, command: impl Fn(&Site) -> anyhow::Result<Command>) -> anyhow::Result<Process> {
        for _ in 1..STARTS {
            if let Ok(process) = Process::start_once(addresses, &command) {
                return Ok(process);
            }
        }
        Process::start_once(addresses, &command)
    }

    /// Starts it and doesn't wait.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn spawn(site: Site, mut command: Command) -> anyhow::Result<Process> {
        let log = File::create(site.path(LOG))?;
        command.current_dir(site.folder()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{} doesn't start", command.get_program().display()))?;
        Ok(Process { child, site })
    }

    /// Its id. nginx and Envoy may have more processes below it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.site.listen()
    }

    /// Whether it hasn't ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.site.path(LOG)).unwrap_or_default()
    }

    fn start_once(addresses: usize, command: &impl Fn(&Site) -> anyhow::Result<Command>) -> anyhow::Result<Process> {
        let site = Site::new(addresses)?;
        let command = command(&site)?;
        let program = command.get_program().display().to_string();
        let mut process = Process::spawn(site, command)?;
        match process.listens() {
            true => Ok(process),
            false => bail!("{program} doesn't listen:\n{}", process.log()),
        }
    }

    fn listens(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && self.is_running() {
            if self.site.addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
                return true;
            }
            std::thread::sleep(PAUSE);
        }
        false
    }
}

impl Drop for Process {
    /// First by TERM: nginx, killed outright, would leave its workers behind.
    fn drop(&mut self) {
        if self.is_running() {
            let id = i32::try_from(self.child.id()).expect("a process id");
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && self.is_running() {
            std::thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
