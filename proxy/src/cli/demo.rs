//! `pointsman demo`: the real proxy in front of simulated endpoints, with traffic and a live table.
//!
//! Only the endpoints and the clients are simulated. The conf is a file, the policies are the
//! shipped `.wasm` files, and the proxy starts as with `pointsman run`, so that everything that
//! works here works on a real proxy, too. The log goes to a file: on the terminal it would disrupt
//! the table.

mod folder;
mod node;
mod nodes;
mod table;
mod traffic;
mod watch;

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use self::folder::Folder;
use self::nodes::Nodes;
use self::table::Style;
use self::watch::Watch;
use crate::logging::Log;
use crate::server::{Signals, prepare_first, run};

/// The demo's listener: the default addresses, so that `curl`, `pointsman status` and `reload` need
/// no option.
const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8549);
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8550);
/// Excludes the access log, which would grow by 100 MB an hour.
const LOG_FILTER: &str = "info,pointsman::access=warn,pingora_core=off";

/// What the command line says.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The folder of the shipped policies [default: plugins/dist, or plugins beside the
    /// executable].
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Keep conf, plugins and log in this folder [default: one that is removed at the end].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// End after this time, such as 30s [default: at Ctrl-C].
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

/// Runs the demo until Ctrl-C, or for the time that the options set.
pub(super) fn show(options: Options) -> anyhow::Result<()> {
    // Must come first: a SIGHUP without a handler ends the process.
    let signals = Signals::install().context("can't handle signals")?;
    for address in [PROXY, ADMIN] {
        TcpListener::bind(address)
            .with_context(|| format!("the demo needs {address}: is another pointsman running?"))?;
    }
    let nodes = Nodes::start().context("can't start the simulated endpoints")?;
    let folder = Arc::new(Folder::create(options.dir, options.plugins, nodes.addresses())?);
    let outcome = serve(&folder, signals, options.duration);
    folder.remove();
    outcome
}

fn serve(folder: &Arc<Folder>, signals: Signals, duration: Option<Duration>) -> anyhow::Result<()> {
    let log = Arc::new(Log::start_in(folder.create_log()?, LOG_FILTER));
    let prepared = prepare_first(folder.conf())?;
    let style = Style::of_stdout();
    folder.remove_when_terminated()?;
    // If the reader left early, losing the introduction does no harm.
    let _ = write!(std::io::stdout(), "{}", introduction(folder, &style));

    let watch = Watch::new(style, folder.log());
    let (watched, flushed) = (Arc::clone(folder), Arc::clone(&log));
    std::thread::Builder::new().name("demo".into()).spawn(move || {
        let outcome = watch.run(duration);
        watched.remove();
        flushed.flush();
        std::process::exit(match outcome {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("pointsman: {error:#}");
                1
            }
        });
    })?;
    let outcome = run(prepared, signals, Arc::clone(&log));
    log.flush();
    if std::io::stdout().is_terminal() {
        // Puts the next prompt below the `^C`.
        println!();
    }
    outcome
}

fn introduction(folder: &Folder, style: &Style) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "pointsman".into());
    let (conf, pid) = (folder.conf().display().to_string(), std::process::id());
    let kept = if folder.is_kept() { "" } else { " (removed at the end)" };
    let commands = [
        (
            "ask through the proxy",
            format!(
                r#"curl {PROXY} -H 'content-type: application/json' -d '{{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}}'"#
            ),
        ),
        ("another policy, under load", format!("sed -i.bak 's/\"tiers\"/\"peak-ewma\"/' {conf}\nkill -HUP {pid}")),
        ("a broken conf is refused", format!("echo 'oops = 1' >> {conf}\n{program} reload")),
    ];
    let mut text =
        format!("{}\n\n", style.bold("Pointsman, with six simulated endpoints and eight clients. Ctrl-C ends it."));
    text += &format!("  proxy  http://{PROXY}\n");
    text += &format!("  admin  http://{ADMIN}/status, /metrics, /health\n");
    text += &format!("  files  {}/: conf, plugins, log{kept}\n\n", folder.path().display());
    text += "Try in another terminal:\n\n";
    for (what, command) in commands {
        text += &format!("{}\n", style.dim(&format!("  # {what}")));
        command.lines().for_each(|line| text += &format!("  {line}\n"));
    }
    text + "\n"
}
