//! Pingora alone: round robin over fixed origins, with Pingora's own pool of idle connections.
//! `make bench` compares Pointsman with it to separate Pointsman's cost from Pingora's.
//!
//! There are no policies, retries, metrics, limits or logs, and bodies aren't inspected.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use clap::Parser;
use pingora::Result;
use pingora::listeners::tls::TlsSettings;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

/// Maximum number of idle connections, for all origins together: more than a benchmark opens.
const POOL_SIZE: usize = 16_384;

/// A reverse proxy that takes its origins in turn.
#[derive(Parser)]
struct Options {
    /// Where it serves
    #[arg(long)]
    listen: SocketAddr,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Serve TLS with this certificate (a PEM file), HTTP/1.1 and HTTP/2
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Speak TLS to the origins, and trust this authority alone (a PEM file)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name that the origins' certificates are for
    #[arg(long, default_value = "localhost")]
    name: String,
    /// The origins
    #[arg(required = true)]
    origins: Vec<SocketAddr>,
}

struct Bare {
    origins: Vec<SocketAddr>,
    tls: bool,
    name: String,
    turn: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let origin = self.origins[turn % self.origins.len()];
        Ok(Box::new(HttpPeer::new(origin, self.tls, self.name.clone())))
    }
}

fn main() -> Result<()> {
    let Options { listen, threads, certificate, key, ca, name, origins } = Options::parse();
    let tls = ca.is_some();
    let conf = ServerConf {
        threads,
        ca_file: ca.map(|file| file.to_string_lossy().into_owned()),
        upstream_keepalive_pool_size: POOL_SIZE,
        // Ends at once: no client waits for responses.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let bare = Bare { origins, tls, name, turn: AtomicUsize::new(0) };
    let mut service = http_proxy_service(&server.configuration, bare);
    match certificate.zip(key) {
        None => service.add_tcp(&listen.to_string()),
        Some((certificate, key)) => {
            let mut tls = TlsSettings::intermediate(&certificate.to_string_lossy(), &key.to_string_lossy())?;
            tls.enable_h2();
            service.add_tls_with_settings(&listen.to_string(), None, tls);
        }
    }
    server.add_service(service);
    server.run_forever();
}
