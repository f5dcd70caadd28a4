//! The origin: an nginx that returns the same response to every request, with keep-alive. WebSocket
//! connections have one of our own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::authority;
use super::options::Settings;
use super::parts::{Case, Downstream};
use super::peers::{Process, Site, nginx, pinned};
use super::websocket;

/// Number of addresses: the proxies' endpoints, unless a case has more.
pub const ADDRESSES: usize = 4;
/// A single worker could be the bottleneck.
const WORKERS: usize = 2;
/// Connections of each worker beyond the load's: for probes and connections being closed.
const SPARE_CONNECTIONS: usize = 512;
/// nginx reads its conf in blocks of 4 KiB: longer responses are in a file.
const LONGEST_IN_CONF: usize = 2048;
const ANSWER: &str = "answer.json";

/// A running origin. It ends when it is dropped.
pub enum Origin {
    Nginx { process: Process, https: bool },
    WebSocket(websocket::Origin),
}

impl Origin {
    /// Starts an origin with this case's response.
    ///
    /// # Errors
    /// If nginx isn't installed or doesn't start.
    pub fn start(case: &Case, settings: &Settings) -> anyhow::Result<Origin> {
        if case.downstream == Downstream::WebSocket {
            return Ok(Origin::WebSocket(websocket::Origin::start(&case.answer)?));
        }
        let binary = nginx::binary().context("nginx, the origin, is missing")?;
        let process = Process::start(ADDRESSES, |site| {
            site.write(ANSWER, &case.answer)?;
            if case.https {
                authority::certify(site)?;
            }
            let connections = case.concurrency().max(case.endpoints) + SPARE_CONNECTIONS;
            let conf = site.write("conf", nginx::conf(site, WORKERS, connections, &http(site, case)))?;
            let mut command = pinned(&binary, settings.load_cpus.as_deref());
            command.args(nginx::ARGUMENTS).arg(conf);
            Ok(command)
        })?;
        Ok(Origin::Nginx { process, https: case.https })
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        match self {
            Origin::Nginx { process, .. } => &process.site.addresses,
            Origin::WebSocket(origin) => origin.addresses(),
        }
    }

    /// The file of its certificate authority, if it uses TLS.
    pub fn authority(&self) -> Option<PathBuf> {
        match self {
            Origin::Nginx { process, https: true } => Some(process.site.path(authority::AUTHORITY)),
            _ => None,
        }
    }
}

fn http(site: &Site, case: &Case) -> String {
    let tls = if case.https { " ssl" } else { "" };
    let listen = site.addresses.iter().map(|address| format!("    listen {address}{tls} backlog=65535;\n"));
    let certificate = match case.https {
        true => "    ssl_certificate certificate.pem;\n    ssl_certificate_key key.pem;\n    ssl_protocols TLSv1.3;\n",
        false => "",
    };
    format!(
        "  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 64m;
  default_type application/json;
  server {{
{}{certificate}{}  }}
",
        listen.collect::<String>(),
        answer(case, site.folder())
    )
}

/// Short responses to short requests are in the conf. nginx doesn't serve files to POST, so a file
/// is served as an error page with status 200. `mirror` makes nginx read the whole request first,
/// as a node does; otherwise it would respond to a long one before its end.
fn answer(case: &Case, folder: &Path) -> String {
    if case.answer.len().max(case.request.len()) <= LONGEST_IN_CONF {
        return format!("    location / {{ return 200 '{}'; }}\n", case.answer);
    }
    format!(
        "    root {folder};
    open_file_cache max=8;
    sendfile on;
    tcp_nopush on;
    client_body_buffer_size 2m;
    location / {{ mirror /mirror; try_files /{ANSWER} =404; error_page 405 =200 /{ANSWER}; }}
    location = /mirror {{ internal; return 204; }}
    location = /{ANSWER} {{ }}
",
        folder = folder.display()
    )
}
