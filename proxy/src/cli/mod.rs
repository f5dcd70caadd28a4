//! The command line. Each subcommand is a function that returns its output or the reason of a
//! refusal.
//!
//! Exit codes: 0 done, 1 refused, 2 usage (by clap).

mod client;
mod demo;
mod explain;
pub mod import_azoth;
mod status;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::clock;
use crate::config;
use crate::files;
use crate::logging::Log;
use crate::report::ReloadReport;
use crate::server::{Signals, prepare_first, run};
use crate::text;
use client::AdminClient;

/// A reverse proxy for pools of JSON-RPC endpoints whose scoring and retry policies are WebAssembly
/// modules.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// The conf file. Commands that speak to a running proxy take its admin address and token from
    /// it.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy (also without a command).
    Run,
    /// Check the conf and its plugins as a start or reload would, without listening.
    Check,
    /// Ask a running proxy to reload, and print what changed.
    Reload(AdminOptions),
    /// Ask a running proxy to serve the previous generation again, and print what changed. Files
    /// stay as they are.
    Rollback(AdminOptions),
    /// Show the endpoints and policies of a running proxy.
    Status {
        #[command(flatten)]
        admin: AdminOptions,
        /// Print the JSON of `GET /status`.
        #[arg(long)]
        json: bool,
    },
    /// Show which endpoint would get the next request, and why the others would not.
    Explain {
        #[command(flatten)]
        admin: AdminOptions,
        #[command(flatten)]
        question: explain::ExplainOptions,
        /// Print the JSON of `GET /explain`.
        #[arg(long)]
        json: bool,
    },
    /// Run the proxy with simulated endpoints and traffic, and watch it.
    Demo(demo::Options),
    /// Convert an azoth-balancer conf: prints the conf, and on stderr what couldn't be converted.
    ImportAzoth {
        /// The azoth-balancer conf.
        file: PathBuf,
    },
}

#[derive(clap::Args)]
struct AdminOptions {
    /// The admin address of the running proxy [default: that of --config, or 127.0.0.1:8550].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// The admin token [default: that of --config for its own address, or the variable
    /// POINTSMAN_TOKEN].
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

/// Runs the command in the arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| usage(&error));
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pointsman: {}", text::lines(&format!("{error:#}")));
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

const EXIT_REFUSED: u8 = 1;
/// The default of the conf.
const DEFAULT_ADMIN: &str = "127.0.0.1:8550";
const TOKEN_VARIABLE: &str = "POINTSMAN_TOKEN";
const EXIT_USAGE: i32 = 2;

/// Prints help, the version, or an error about the arguments, which it quotes.
fn usage(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit()
    }
    eprint!("{}", text::lines(&error.render().to_string()));
    std::process::exit(EXIT_USAGE)
}

fn execute(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { config, command } = arguments;
    let given = config.as_deref();
    match command {
        None | Some(Command::Run) => serve(required(config)),
        Some(Command::Check) => check(required(config)),
        Some(Command::Reload(admin)) => print(admin.client(given)?.reload()?),
        Some(Command::Rollback(admin)) => print(admin.client(given)?.rollback()?),
        Some(Command::Status { admin, json }) => status::show(&admin.client(given)?, json),
        Some(Command::Explain { admin, question, json }) => explain::show(&admin.client(given)?, &question, json),
        Some(Command::Demo(_)) if config.is_some() => unused_config("demo", "it writes a conf of its own"),
        Some(Command::Demo(options)) => demo::show(options),
        Some(Command::ImportAzoth { .. }) if config.is_some() => unused_config("import-azoth", "it prints a conf"),
        Some(Command::ImportAzoth { file }) => import(&file),
    }
}

fn required(config: Option<PathBuf>) -> PathBuf {
    config.unwrap_or_else(|| usage_error(ErrorKind::MissingRequiredArgument, "the conf file is missing: --config FILE"))
}

fn unused_config(command: &str, why: &str) -> ! {
    usage_error(ErrorKind::ArgumentConflict, &format!("{command} takes no --config: {why}"))
}

/// Prints an error in clap's format.
fn usage_error(kind: ErrorKind, message: &str) -> ! {
    Arguments::command().error(kind, message).exit()
}

fn serve(conf: PathBuf) -> anyhow::Result<()> {
    // Must come first: a SIGHUP without a handler ends the process.
    let signals = Signals::install().context("can't handle signals")?;
    let log = Arc::new(Log::start());
    let outcome = prepare_first(conf).and_then(|prepared| run(prepared, signals, Arc::clone(&log)));
    log.flush();
    outcome
}

fn check(conf: PathBuf) -> anyhow::Result<()> {
    let shown = conf.display().to_string();
    let prepared = prepare_first(conf)?;
    let snapshot = &prepared.snapshot;
    let endpoints: usize = snapshot.upstreams().map(|upstream| upstream.endpoints().len()).sum();
    for warning in snapshot.warnings(clock::wall_secs()) {
        eprintln!("warning: {}", text::lines(&warning));
    }
    let shown = text::lines(&shown);
    let mut lines =
        vec![format!("{shown}: good (upstreams: {}, endpoints: {endpoints})", snapshot.upstreams().count())];
    for (name, bound) in &snapshot.policies {
        lines.push(format!("policy {name}: {} {}", bound.policy.identity().plugin, bound.policy.identity()));
    }
    put(&format!("{}\n", lines.join("\n")))
}

/// Prints the report of a success; of a refusal, only the reason.
fn print(report: ReloadReport) -> anyhow::Result<()> {
    if let Some(error) = report.error {
        anyhow::bail!("{}: {error}", report.message);
    }
    put_json(&report)
}

fn put_json(value: &impl Serialize) -> anyhow::Result<()> {
    put(&format!("{}\n", text::json(&serde_json::to_string_pretty(value)?)))
}

/// Prints to standard output. A reader that closes early, such as `head`, isn't an error.
fn put(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("can't write to standard output"),
    }
}

/// The largest imported conf in bytes.
const IMPORTED_BYTES: usize = 16 << 20;

fn import(file: &Path) -> anyhow::Result<()> {
    let text = files::read_text(file, IMPORTED_BYTES).with_context(|| file.display().to_string())?;
    let imported = import_azoth::convert(&text).with_context(|| file.display().to_string())?;
    put(&imported.conf)?;
    for note in imported.notes {
        eprintln!("note: {}", text::lines(&note));
    }
    Ok(())
}

impl AdminOptions {
    /// A client of `--admin`, or else of the proxy that runs with `conf`, and of no other. The
    /// conf's token is used for the conf's address only.
    fn client(&self, conf: Option<&Path>) -> anyhow::Result<AdminClient> {
        let variable = || std::env::var(TOKEN_VARIABLE).ok();
        let (address, token) = match (&self.admin, conf) {
            (Some(address), _) => (address.clone(), self.token.clone().or_else(variable)),
            (None, Some(conf)) => self.of_conf(conf)?,
            (None, None) => (DEFAULT_ADMIN.to_owned(), self.token.clone().or_else(variable)),
        };
        Ok(AdminClient::new(&address, token.as_deref()))
    }

    fn of_conf(&self, conf: &Path) -> anyhow::Result<(String, Option<String>)> {
        let admin = config::load_admin(conf, self.token.is_none())
            .context("the proxy's admin address or token isn't known; name them with --admin and --token")?;
        let mut address = admin.listen;
        anyhow::ensure!(
            address.port() != 0,
            "{}: admin.listen has port 0: name the address with --admin",
            conf.display()
        );
        // An unspecified address can't be connected to, but such a proxy listens on this one, too.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let token = self.token.clone().or_else(|| admin.token.map(|token| token.expose().to_owned()));
        Ok((address.to_string(), token))
    }
}
