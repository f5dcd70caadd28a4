//! The origin: an nginx that returns the same response to every request, with keep-alive.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::authority::Authority;
use super::options::Settings;
use super::parts::Case;
use super::peers::{Process, Site, nginx, pinned};

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
pub struct Origin {
    process: Process,
    authority: bool,
}

impl Origin {
    /// Starts an origin with this case's response.
    ///
    /// # Errors
    /// If nginx isn't installed or doesn't start.
    pub fn start(case: &Case, settings: &Settings) -> anyhow::Result<Origin> {
        let binary = nginx::binary().context("nginx, the origin, is missing")?;
        let authority = if case.https { Some(Authority::new()?) } else { None };
        let process = Process::start(ADDRESSES, |site| {
            site.write(ANSWER, &case.answer)?;
            if let Some(Authority { authority, certificate, key }) = &authority {
                let files = [("authority.pem", authority), ("certificate.pem", certificate), ("key.pem", key)];
                files.iter().try_for_each(|(name, content)| site.write(name, content).map(drop))?;
            }
            let connections = case.connections.max(case.endpoints) + SPARE_CONNECTIONS;
            let conf = site.write("conf", nginx::conf(site, WORKERS, connections, &http(site, case)))?;
            let mut command = pinned(&binary, settings.load_cpus.as_deref());
            command.args(nginx::ARGUMENTS).arg(conf);
            Ok(command)
        })?;
        Ok(Origin { process, authority: authority.is_some() })
    }

    /// Its addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.process.site.addresses
    }

    /// The file of its certificate authority, if it uses TLS.
    pub fn authority(&self) -> Option<PathBuf> {
        self.authority.then(|| self.process.site.path("authority.pem"))
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
