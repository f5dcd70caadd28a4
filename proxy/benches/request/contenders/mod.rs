//! The proxies, each with a conf that is fast and correct: the same number of threads, keep-alive
//! on both sides, verified certificates.

mod bare;
mod envoy;
mod haproxy;
mod nginx;
mod pointsman;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::authority;
use super::options::Settings;
use super::origin::Origin;
use super::parts::{Case, Downstream, Protocol};
use super::peers::{self, Process, Site, pinned};

/// A proxy that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Contender {
    /// This one, with everything on.
    Pointsman,
    /// This one, without its access log, which the others don't write either.
    PointsmanQuiet,
    /// This one, with what can be left out left out.
    PointsmanPlain,
    /// Pingora alone.
    Bare,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy.
    Envoy,
}

/// An installed contender with its binary.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The contender.
    pub contender: Contender,
    /// Its binary.
    pub binary: PathBuf,
}

/// Input of a conf.
pub struct Setting<'a> {
    /// The proxy's folder and addresses.
    pub site: &'a Site,
    /// The endpoints' addresses. Endpoints share addresses if there are more endpoints than
    /// addresses.
    pub origins: Vec<SocketAddr>,
    /// The file of the origins' certificate authority, if they use TLS.
    pub authority: Option<PathBuf>,
    /// How clients come. With TLS, the site has a certificate.
    pub downstream: Downstream,
    /// The pool's protocol.
    pub protocol: Protocol,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Settings that don't depend on the case.
    pub settings: &'a Settings,
}

impl Contender {
    /// All, in the order of the tables.
    pub const ALL: [Contender; 7] = [
        Contender::Pointsman,
        Contender::PointsmanQuiet,
        Contender::PointsmanPlain,
        Contender::Bare,
        Contender::Nginx,
        Contender::Haproxy,
        Contender::Envoy,
    ];
    /// References of the ratios.
    pub const REFERENCES: [Contender; 3] = [Contender::Nginx, Contender::Bare, Contender::Envoy];

    /// Returns the installed ones of `chosen`.
    pub fn installed(chosen: &[Contender]) -> Vec<Installed> {
        let found = |contender: &Contender| Some(Installed { contender: *contender, binary: contender.find()? });
        chosen.iter().filter_map(found).collect()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Pointsman => "pointsman",
            Contender::PointsmanQuiet => "pointsman-quiet",
            Contender::PointsmanPlain => "pointsman-plain",
            Contender::Bare => "bare",
            Contender::Nginx => "nginx",
            Contender::Haproxy => "haproxy",
            Contender::Envoy => "envoy",
        }
    }

    /// Features that are enabled and disabled.
    pub fn features(self) -> &'static str {
        match self {
            Contender::Pointsman => pointsman::FEATURES,
            Contender::PointsmanQuiet => pointsman::QUIET_FEATURES,
            Contender::PointsmanPlain => pointsman::PLAIN_FEATURES,
            Contender::Bare => bare::FEATURES,
            Contender::Nginx => nginx::FEATURES,
            Contender::Haproxy => haproxy::FEATURES,
            Contender::Envoy => envoy::FEATURES,
        }
    }

    /// Whether it is Pointsman in any configuration.
    pub fn is_pointsman(self) -> bool {
        matches!(self, Contender::Pointsman | Contender::PointsmanQuiet | Contender::PointsmanPlain)
    }

    /// Number of listening addresses: one, and Pointsman's admin address.
    fn addresses(self) -> usize {
        if self.is_pointsman() { 2 } else { 1 }
    }

    fn find(self) -> Option<PathBuf> {
        match self {
            Contender::Pointsman | Contender::PointsmanQuiet | Contender::PointsmanPlain => {
                Some(peers::pointsman::binary())
            }
            Contender::Bare => bare::binary(),
            Contender::Nginx => peers::nginx::binary(),
            Contender::Haproxy => peers::haproxy::binary(),
            Contender::Envoy => peers::envoy::binary(),
        }
    }
}

impl Installed {
    /// Starts it in front of this origin and waits until it listens.
    ///
    /// # Errors
    /// If it doesn't, with its output.
    pub fn start(&self, case: &Case, origin: &Origin, settings: &Settings) -> anyhow::Result<Process> {
        Process::start(self.contender.addresses(), |site| self.command(&Setting::new(site, case, origin, settings)))
    }

    /// Creates its site and command, for callers that start it themselves.
    ///
    /// # Errors
    /// If its conf can't be written.
    pub fn prepare(&self, case: &Case, origin: &Origin, settings: &Settings) -> anyhow::Result<(Site, Command)> {
        let site = Site::new(self.contender.addresses())?;
        let command = self.command(&Setting::new(&site, case, origin, settings))?;
        Ok((site, command))
    }

    /// Its reported version.
    pub fn version(&self) -> Option<String> {
        match self.contender {
            Contender::Bare => bare::version(),
            Contender::Nginx | Contender::Haproxy => version(&self.binary, "-v"),
            _ => version(&self.binary, "--version"),
        }
    }

    fn command(&self, setting: &Setting<'_>) -> anyhow::Result<Command> {
        let mut command = pinned(&self.binary, setting.settings.cpus.as_deref());
        command.env_remove("RUST_LOG");
        if setting.downstream.uses_tls() {
            authority::certify(setting.site)?;
        }
        match self.contender {
            Contender::Pointsman => pointsman::set_up(&mut command, setting)?,
            Contender::PointsmanQuiet => pointsman::set_up_quiet(&mut command, setting)?,
            Contender::PointsmanPlain => pointsman::set_up_plain(&mut command, setting)?,
            Contender::Bare => bare::set_up(&mut command, setting),
            Contender::Nginx => nginx::set_up(&mut command, setting)?,
            Contender::Haproxy => haproxy::set_up(&mut command, setting)?,
            Contender::Envoy => envoy::set_up(&mut command, setting)?,
        }
        Ok(command)
    }
}

impl<'a> Setting<'a> {
    fn new(site: &'a Site, case: &Case, origin: &Origin, settings: &'a Settings) -> Setting<'a> {
        Setting {
            site,
            origins: origin.addresses().iter().copied().cycle().take(case.endpoints).collect(),
            authority: origin.authority(),
            downstream: case.downstream,
            protocol: case.protocol,
            concurrency: case.concurrency(),
            settings,
        }
    }
}

/// Pointsman's conf for this case. The last endpoint changes with each `turn`.
pub fn pointsman_conf(site: &Site, case: &Case, origin: &Origin, settings: &Settings, turn: usize) -> String {
    pointsman::conf(&Setting::new(site, case, origin, settings), turn)
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The version that a program prints to standard output or standard error.
pub fn version(binary: &Path, argument: &str) -> Option<String> {
    let output = Command::new(binary).arg(argument).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| !line.trim().is_empty())?;
    // Envoy prints its path first.
    let line = line.rsplit_once("version: ").map_or(line, |(_, version)| version);
    let mut words = line.split([' ', '/']);
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).map(str::to_owned)
}
