//! nginx.

use std::process::Command;

use super::Setting;
use crate::authority::{CERTIFICATE, KEY, NAMES};
use crate::parts::Downstream;
use crate::peers::nginx::{ARGUMENTS, conf};

pub const FEATURES: &str = "round robin, buffered bodies, failed servers passed over; no access log, limits or look into \
                            bodies";
/// Connections of each worker beyond the load's on both sides.
const SPARE_CONNECTIONS: usize = 256;

pub fn set_up(command: &mut Command, setting: &Setting<'_>) -> anyhow::Result<()> {
    let connections = setting.concurrency * 2 + SPARE_CONNECTIONS;
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
    listen {listen}{listener} reuseport backlog=65535;
{certificate}    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    location / {{
      proxy_pass {scheme}://origins;
      proxy_http_version 1.1;
{connection}      proxy_read_timeout 600s;
      proxy_buffers 16 128k;
      proxy_buffer_size 16k;
      proxy_busy_buffers_size 1m;
{tls}    }}
  }}
",
        servers = servers.collect::<String>(),
        keepalive = setting.concurrency,
        listen = setting.site.listen(),
        listener = listener(setting.downstream),
        certificate = certificate(setting.downstream),
        connection = connection(setting.downstream),
        tls = tls(setting),
    )
}

/// Since nginx 1.25.1 `http2` has a directive of its own, and this form still works.
fn listener(downstream: Downstream) -> &'static str {
    match downstream {
        Downstream::Http2 { .. } => " ssl http2",
        _ if downstream.uses_tls() => " ssl",
        _ => "",
    }
}

fn certificate(downstream: Downstream) -> String {
    match downstream.uses_tls() {
        true => {
            format!("    ssl_certificate {CERTIFICATE};\n    ssl_certificate_key {KEY};\n    ssl_protocols TLSv1.3;\n")
        }
        false => String::new(),
    }
}

fn connection(downstream: Downstream) -> &'static str {
    match downstream {
        Downstream::WebSocket => {
            "      proxy_set_header Connection upgrade;\n      proxy_set_header Upgrade $http_upgrade;\n"
        }
        _ => "      proxy_set_header Connection \"\";\n",
    }
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
