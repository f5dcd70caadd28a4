//! Pointsman: with all features, without the access log, and with as few features as possible.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use super::Setting;
use crate::authority::{CERTIFICATE, KEY};
use crate::parts::{Downstream, Protocol};
use crate::peers::pointsman::{ARGUMENTS, PLUGINS};

pub const FEATURES: &str = "requests and answers inspected, scoring and retries by WebAssembly policies (json-rpc-retry \
                            with hedges), rate limits that don't bind, retry budget, metrics, an access log to a file";
pub const QUIET_FEATURES: &str = "the same without the access log, which none of the others writes";
pub const PLAIN_FEATURES: &str = "requests and answers inspected, built-in policies, metrics; no WebAssembly, hedges, \
                                  rate limits or access log";
/// Above all demand.
const LIMIT: u32 = 1_000_000;

pub fn set_up(command: &mut Command, setting: &Setting<'_>) -> anyhow::Result<()> {
    let file = setting.site.write("pointsman.toml", conf(setting, 0))?;
    command.args(ARGUMENTS).arg(file);
    trust(command, setting);
    Ok(())
}

pub fn set_up_quiet(command: &mut Command, setting: &Setting<'_>) -> anyhow::Result<()> {
    set_up(command, setting)?;
    command.env("RUST_LOG", "error");
    Ok(())
}

pub fn set_up_plain(command: &mut Command, setting: &Setting<'_>) -> anyhow::Result<()> {
    let endpoints = endpoints(setting, "", 0);
    let file = setting.site.write("pointsman.toml", around(setting, "", "", &endpoints))?;
    command.args(ARGUMENTS).arg(file).env("RUST_LOG", "error");
    trust(command, setting);
    Ok(())
}

/// The conf with all features. The last endpoint's URL depends on `turn`.
pub fn conf(setting: &Setting<'_>, turn: usize) -> String {
    let limits = format!("rate_limit_per_sec = {LIMIT}\nburst_size = {LIMIT}\n");
    let (scoring, retry) = match setting.protocol {
        Protocol::JsonRpc => (setting.settings.scoring.as_str(), "json-rpc-retry"),
        Protocol::Http => ("peak-ewma", "http-retry"),
    };
    let policies = format!("[policies.scoring]\nplugin = '{scoring}'\n[policies.retry]\nplugin = '{retry}'\n");
    around(setting, &policies, "scoring = 'scoring'\nretry = 'retry'\n", &endpoints(setting, &limits, turn))
}

fn around(setting: &Setting<'_>, policies: &str, chosen: &str, endpoints: &str) -> String {
    let [listen, admin] = [setting.site.addresses[0], setting.site.addresses[1]];
    let listen = listener(listen, setting.downstream);
    let protocol = match setting.protocol {
        Protocol::JsonRpc => "",
        Protocol::Http => "protocol = 'http'\n",
    };
    format!(
        "[server]\nthreads = {}\nshutdown_grace = '0s'\n{listen}\
         [admin]\nlisten = '{admin}'\n\
         [plugins]\ndir = '{PLUGINS}'\n\
         {policies}[upstreams.main]\n{protocol}{chosen}max_concurrency = 100000\n\
         websocket = {{ max_connections = {LIMIT}, max_per_client = {LIMIT} }}\n\
         [upstreams.main.client]\npool_max_idle_per_host = 10000\n{endpoints}",
        setting.settings.threads
    )
}

/// The end of the table `server`.
fn listener(address: SocketAddr, downstream: Downstream) -> String {
    match downstream.uses_tls() {
        true => format!(
            "[[server.listeners]]\naddress = '{address}'\nhttp2 = {}\n\
             tls = {{ certificates = [{{ chain = '{CERTIFICATE}', key = '{KEY}' }}], min_version = '1.3' }}\n",
            downstream.is_http2()
        ),
        false => format!("listen = ['{address}']\n"),
    }
}

/// Endpoints with a shared address differ by their path.
fn endpoints(setting: &Setting<'_>, more: &str, turn: usize) -> String {
    let scheme = if setting.authority.is_some() { "https" } else { "http" };
    let last = setting.origins.len().saturating_sub(1);
    setting.origins.iter().enumerate().fold(String::new(), |mut text, (number, origin)| {
        let turn = if number == last { turn } else { 0 };
        let url = format!("{scheme}://{origin}/{number}/{turn}");
        let _ = write!(text, "[[upstreams.main.endpoints]]\nurl = '{url}'\nname = '{number}-{turn}'\nweight = 100\n");
        text.push_str(more);
        text
    })
}

fn trust(command: &mut Command, setting: &Setting<'_>) {
    if let Some(file) = &setting.authority {
        command.env("SSL_CERT_FILE", file).env("SSL_CERT_DIR", setting.site.path("none"));
    }
}
