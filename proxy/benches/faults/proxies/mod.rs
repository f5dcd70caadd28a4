//! The proxies, each with a careful operator's conf for this pool.
//!
//! Common to all confs: two threads, four attempts, timeouts of 500 ms to connect, one second for
//! an attempt and, if supported, ten for a request; equal weights; keep-alive on both sides; no
//! access log.

mod envoy;
mod haproxy;
mod nginx;
mod pointsman;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::options::Options;
use super::peers::{self, Process, Site};

const THREADS: usize = 2;

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

/// Input of a conf.
struct Setting<'a> {
    site: &'a Site,
    origins: &'a [SocketAddr],
    options: &'a Options,
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
            Proxy::Pointsman => Some(peers::pointsman::binary()),
            Proxy::Nginx => peers::nginx::binary(),
            Proxy::Haproxy => peers::haproxy::binary(),
            Proxy::Envoy => peers::envoy::binary(),
        }
    }

    /// Starts it in front of these origins and waits until it listens.
    ///
    /// # Errors
    /// If it doesn't, with its output.
    pub fn start(self, binary: &Path, origins: &[SocketAddr], options: &Options) -> anyhow::Result<Process> {
        Process::start(self.addresses(), |site| {
            // Envoy detects the format from the name.
            let conf = site.write("conf.json", self.conf(&Setting { site, origins, options }))?;
            let mut command = Command::new(binary);
            match self {
                Proxy::Pointsman => command.args(peers::pointsman::ARGUMENTS),
                Proxy::Nginx => command.args(peers::nginx::ARGUMENTS),
                Proxy::Haproxy => command.args(peers::haproxy::ARGUMENTS),
                Proxy::Envoy => command.args(peers::envoy::arguments(THREADS)),
            };
            command.arg(conf).env("RUST_LOG", "error");
            Ok(command)
        })
    }

    /// Number of listening addresses: Pointsman also has an admin address.
    fn addresses(self) -> usize {
        if self == Proxy::Pointsman { 2 } else { 1 }
    }

    fn conf(self, setting: &Setting<'_>) -> String {
        match self {
            Proxy::Pointsman => pointsman::conf(setting),
            Proxy::Nginx => nginx::conf(setting),
            Proxy::Haproxy => haproxy::conf(setting),
            Proxy::Envoy => envoy::conf(setting),
        }
    }
}
