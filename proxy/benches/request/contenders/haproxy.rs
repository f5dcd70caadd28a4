//! HAProxy.

use std::process::Command;

use super::Setting;
use crate::authority::{BOTH, NAMES};
use crate::peers::haproxy::ARGUMENTS;

pub const FEATURES: &str = "round robin, connections shared among clients; no checks, access log, limits or look into \
                            bodies";
/// Connections beyond 1.25 times the load's.
const SPARE_CONNECTIONS: usize = 1_000;

pub fn set_up(command: &mut Command, setting: &Setting<'_>) -> anyhow::Result<()> {
    let file = setting.site.write("conf", conf(setting))?;
    command.args(ARGUMENTS).arg(file);
    Ok(())
}

fn conf(setting: &Setting<'_>) -> String {
    let tls = setting.authority.as_ref().map_or(String::new(), |file| {
        let (file, name) = (file.display(), NAMES[0]);
        format!(" ssl verify required ca-file {file} sni str({name}) verifyhost {name} ssl-min-ver TLSv1.3")
    });
    let listener = match setting.downstream.uses_tls() {
        true => format!(" ssl crt {BOTH} alpn h2,http/1.1 ssl-min-ver TLSv1.3 prefer-client-ciphers"),
        false => String::new(),
    };
    let origins = setting.origins.iter().enumerate();
    let servers = origins.map(|(number, origin)| format!("  server s{number} {origin}{tls}\n"));
    format!(
        "global
  nbthread {threads}
  maxconn {connections}
  # It closes idle connections when it has many files open for what maxconn makes it expect.
  tune.pool-low-fd-ratio 80
  tune.pool-high-fd-ratio 90
defaults
  mode http
  timeout connect 5s
  timeout server 600s
  timeout client 600s
  timeout http-keep-alive 600s
frontend main
  bind {listen}{listener}
  default_backend origins
backend origins
  balance roundrobin
  http-reuse always
{servers}",
        threads = setting.settings.threads,
        connections = setting.concurrency * 5 / 4 + SPARE_CONNECTIONS,
        listen = setting.site.listen(),
        servers = servers.collect::<String>(),
    )
}
