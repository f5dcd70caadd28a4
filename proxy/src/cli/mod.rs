//! The command line. Each subcommand is a function that returns what to print or why it was refused.
//!
//! Exit codes: 0 done, 1 refused, 2 usage (by clap).

mod client;
mod demo;
mod explain;
pub mod import_azoth;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::files;
use crate::logging::Log;
use crate::report::ReloadReport;
use crate::server::{Signals, prepare_first, run};
use crate::text;
use client::AdminClient;

/// A reverse proxy for pools of JSON-RPC endpoints whose scoring and retry policies are WebAssembly modules.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// The conf file.
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
    /// Ask a running proxy to serve the previous generation again, and print what changed. Files stay as they are.
    Rollback(AdminOptions),
    /// Show the endpoints and policies of a running proxy.
    Status {
        #[command(flatten)]
        admin: AdminOptions,
        /// Print the JSON of `GET /status`.
        #[arg(long)]
        json: bool,
    },
    /// Show who would get the next request, and why not the others.
    Explain {
        #[command(flatten)]
        admin: AdminOptions,
        #[command(flatten)]
        question: explain::Question,
        /// Print the JSON of `GET /explain`.
        #[arg(long)]
        json: bool,
    },
    /// Run the proxy with simulated endpoints and traffic, and watch it.
    Demo(demo::Options),
    /// Turn an azoth-balancer conf into one for Pointsman; it is printed, and what was left out is told.
    ImportAzoth {
        /// The azoth-balancer conf.
        file: PathBuf,
    },
}

#[derive(clap::Args)]
struct AdminOptions {
    /// The admin address of the running proxy.
    #[arg(long, default_value = "127.0.0.1:8550", value_name = "ADDRESS")]
    admin: String,
    /// The admin token.
    #[arg(long, env = "POINTSMAN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

/// Runs the command that the arguments name.
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
const EXIT_USAGE: i32 = 2;

/// Help, the version, or what is wrong with the arguments, which are quoted.
fn usage(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit()
    }
    eprint!("{}", text::lines(&error.render().to_string()));
    std::process::exit(EXIT_USAGE)
}

fn execute(arguments: Arguments) -> anyhow::Result<()> {
    let conf = || arguments.config.clone().unwrap_or_else(|| no_config());
    match arguments.command {
        None | Some(Command::Run) => serve(conf()),
        Some(Command::Check) => check(conf()),
        Some(Command::Reload(admin)) => print(admin.client().reload()?),
        Some(Command::Rollback(admin)) => print(admin.client().rollback()?),
        Some(Command::Status { admin, json }) => status::show(&admin.client(), json),
        Some(Command::Explain { admin, question, json }) => explain::show(&admin.client(), &question, json),
        Some(Command::Demo(options)) => demo::show(options),
        Some(Command::ImportAzoth { file }) => import(&file),
    }
}

/// A usage error, in clap's own form.
fn no_config() -> ! {
    use clap::CommandFactory;
    let kind = clap::error::ErrorKind::MissingRequiredArgument;
    Arguments::command().error(kind, "the conf file is missing: --config FILE").exit()
}

fn serve(conf: PathBuf) -> anyhow::Result<()> {
    // Before anything else: a SIGHUP without a handler ends the process.
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
    for warning in snapshot.catalog.warnings() {
        eprintln!("warning: {}", text::lines(&warning));
    }
    println!("{}: good (upstreams: {}, endpoints: {endpoints})", text::lines(&shown), snapshot.upstreams().count());
    for (name, bound) in &snapshot.policies {
        println!("policy {name}: {} {}", bound.policy.identity().plugin, bound.policy.identity());
    }
    Ok(())
}

/// The report of what was done; of what was refused, the reason alone.
fn print(report: ReloadReport) -> anyhow::Result<()> {
    if let Some(error) = report.error {
        anyhow::bail!("{}: {error}", report.message);
    }
    println!("{}", text::json(&serde_json::to_string_pretty(&report)?));
    Ok(())
}

/// Bytes of a conf to import.
const IMPORTED_BYTES: usize = 16 << 20;

fn import(file: &Path) -> anyhow::Result<()> {
    let text = files::read_text(file, IMPORTED_BYTES).with_context(|| file.display().to_string())?;
    let imported = import_azoth::convert(&text).with_context(|| file.display().to_string())?;
    print!("{}", imported.conf);
    for note in imported.notes {
        eprintln!("note: {}", text::lines(&note));
    }
    Ok(())
}

impl AdminOptions {
    fn client(&self) -> AdminClient {
        AdminClient::new(&self.admin, self.token.as_deref())
    }
}
