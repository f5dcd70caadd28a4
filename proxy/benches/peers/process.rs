//! A server process.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Site;

/// Timeout for a process to listen, and to end after a signal.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of starts, because a port may be taken between its choice and its use.
const STARTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(5);
/// The file in the site's folder with the process's output.
const LOG: &str = "log";

/// A running process. It ends when it is dropped.
pub struct Process {
    child: Child,
    /// Its folder and addresses.
    pub site: Site,
}

impl Process {
    /// Starts it and waits until it listens. After a failed start, `command` is called again for a
    /// new site with `addresses` addresses.
    ///
    /// # Errors
    /// If the program can't be started, or ends or times out instead of listening; with its output.
    pub fn start(addresses: usize, command: impl Fn(&Site) -> anyhow::Result<Command>) -> anyhow::Result<Process> {
        for _ in 1..STARTS {
            if let Ok(process) = Process::start_once(addresses, &command) {
                return Ok(process);
            }
        }
        Process::start_once(addresses, &command)
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn spawn(site: Site, mut command: Command) -> anyhow::Result<Process> {
        let log = File::create(site.path(LOG))?;
        command.current_dir(site.folder()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{} doesn't start", command.get_program().display()))?;
        Ok(Process { child, site })
    }

    /// Its process id. nginx and Envoy may have child processes.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its listening address.
    pub fn address(&self) -> SocketAddr {
        self.site.listen()
    }

    /// Whether it is running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its output so far.
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
    /// Sends SIGTERM first: nginx would leave its workers behind after SIGKILL.
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
