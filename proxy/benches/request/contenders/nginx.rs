//! nginx.

use std::process::Command;

use super::Setting;
use crate::authority::NAMES;
use crate::peers::nginx::{ARGUMENTS, conf};

pub const FEATURES: &str = "round robin, buffered bodies, failed servers passed over; no access log, limits or look into \
                            bodies";
/// Connections of each worker beyond the load's on both sides.
const SPARE_CONNECTIONS: usize = 256;

pub fn set_up(command: &mut Command, setting: &Setting<'_>) -> anyhow::Result<()> {
    let connections = setting.connections * 2 + SPARE_CONNECTIONS;
    let file = setting.site.write("conf", conf(setting.site, setting.settings.threads, connections, &http(setting)))?;
    command.args(ARGUMENTS).arg(file);
    Ok(())
}

/// Bodies stay in memory.
fn http(setting: &Setting<'_>) -> String {
    let servers = setting.origins.iter().map(|origin| format!("    server {origin};\n"));
    let scheme = if setting.authority.is_some() { "https" } else { "http" };
    format!(
        "  upstream origins {{
{servers}    keepalive {keepalive};
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} reuseport backlog=65535;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    location / {{
      proxy_pass {scheme}://origins;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffers 16 128k;
      proxy_buffer_size 16k;
      proxy_busy_buffers_size 1m;
{tls}    }}
  }}
",
        servers = servers.collect::<String>(),
        keepalive = setting.connections,
        listen = setting.site.listen(),
        tls = tls(setting),
    )
}

fn tls(setting: &Setting<'_>) -> String {
    let Some(file) = &setting.authority else { return String::new() };
    format!(
        "      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_server_name on;
      proxy_ssl_name {};
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {};
",
        NAMES[0],
        file.display()
    )
}
