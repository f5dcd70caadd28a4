//! TLS as a part of the generation: what a handshake at each listener uses, and one with an
//! upstream's endpoints.
//!
//! Invariants: a generation has only certificates that were valid when it was prepared; a listener
//! that the process opened with TLS never loses it before a restart, whatever a reload says;
//! private keys have no printed form.
//!
//! Session tickets save a client the second handshake. Their keys rotate by themselves, belong to a
//! listener and are carried from generation to generation, so that a reload costs nobody a ticket.
//! A resumed session is not verified again. So a listener with `client_ca` neither issues nor
//! accepts tickets: each connection proves its certificate to the authorities of the serving
//! generation, whichever generation the client has met before.

mod by_name;
mod certificate;
mod error;
#[cfg(test)]
mod tests;
mod upstreams;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::config::{Config, Listener, ListenerTls, TlsVersion};
use by_name::ByName;
use certificate::Certificate;
pub use error::{Problem, TlsError};
pub use upstreams::EndpointTls;

/// The TLS of one generation.
#[derive(Default)]
pub struct TlsConfigs {
    listeners: BTreeMap<SocketAddr, Arc<TlsConfig>>,
    /// By upstream.
    upstreams: BTreeMap<String, Arc<EndpointTls>>,
}

/// The TLS of one listener.
struct TlsConfig {
    server: Arc<ServerConfig>,
    certificates: Vec<Certificate>,
    client_ca: Option<Vec<CertificateDer<'static>>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    http2: bool,
    /// The process listens there since its start.
    is_open: bool,
}

/// A certificate of a listener, for metrics.
#[derive(Clone, Copy)]
pub struct CertificateFacts<'a> {
    /// The listener's address.
    pub listener: SocketAddr,
    /// Its first host name or address, or the name of its file.
    pub name: &'a str,
    /// The last second of its validity, since the Unix epoch.
    pub expiry: i64,
}

impl TlsConfigs {
    /// Reads and checks the files of all listeners and upstreams. `before` is the serving generation's; without
    /// one the process starts. `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// For the first file that can't be used.
    pub fn prepare(conf: &Config, before: Option<&TlsConfigs>, now: i64) -> Result<Self, TlsError> {
        let mut configs = TlsConfigs::default();
        for (index, listener) in conf.server.listeners.iter().enumerate() {
            let Some(tls) = &listener.tls else { continue };
            let old = before.and_then(|before| before.listeners.get(&listener.address)).map(Arc::as_ref);
            let is_open = before.is_none() || old.is_some_and(|old| old.is_open);
            let key = format!("server.listeners[{index}].tls");
            let config = TlsConfig::prepare(&key, listener, tls, old, is_open, now)?;
            configs.listeners.insert(listener.address, Arc::new(config));
        }
        let provider = ring::default_provider();
        for (name, upstream) in &conf.upstreams {
            let tls = EndpointTls::prepare(&format!("upstreams.{name}.tls"), &upstream.tls, &provider, now)?;
            configs.upstreams.insert(name.clone(), Arc::new(tls));
        }
        // A listener that the conf doesn't have any more serves until a restart.
        for (address, old) in before.into_iter().flat_map(|before| &before.listeners).filter(|(_, old)| old.is_open) {
            configs.listeners.entry(*address).or_insert_with(|| Arc::clone(old));
        }
        Ok(configs)
    }

    /// The configuration for a handshake at this listener.
    pub fn server_config(&self, listener: SocketAddr) -> Option<Arc<ServerConfig>> {
        self.listeners.get(&listener).map(|config| Arc::clone(&config.server))
    }

    /// The TLS to an upstream's endpoints.
    pub fn upstream(&self, name: &str) -> Arc<EndpointTls> {
        self.upstreams.get(name).map(Arc::clone).unwrap_or_default()
    }

    /// Checks that all certificates are valid now.
    ///
    /// # Errors
    /// For the first one that isn't.
    pub fn check_dates(&self, now: i64) -> Result<(), TlsError> {
        self.all().try_for_each(|certificate| certificate.check_dates(now))
    }

    /// Warnings about certificates that expire soon.
    pub fn warnings(&self, now: i64) -> Vec<String> {
        self.all().filter_map(|certificate| certificate.warning(now)).collect()
    }

    /// All certificates of listeners.
    pub fn certificates(&self) -> impl Iterator<Item = CertificateFacts<'_>> {
        self.of_listeners().map(|(listener, certificate)| CertificateFacts {
            listener,
            name: &certificate.name,
            expiry: certificate.expiry(),
        })
    }

    /// The certificates and authorities that `before` didn't have, as `listener/name`, and as
    /// `upstreams.NAME` for those of an upstream. New listeners and upstreams don't count.
    pub fn changes_since(&self, before: &TlsConfigs) -> Vec<String> {
        let both = self.listeners.iter();
        let both = both.filter_map(|(address, new)| Some((address, new, before.listeners.get(address)?)));
        let of_listeners = both.flat_map(|(address, new, old)| {
            let is_new = |certificate: &&Certificate| !old.certificates.iter().any(|old| old.is_same(certificate));
            let names = new.certificates.iter().filter(is_new).map(|certificate| certificate.name.as_str());
            let client_ca = (new.client_ca != old.client_ca).then_some("client_ca");
            names.chain(client_ca).map(move |name| format!("{address}/{name}"))
        });
        let is_new =
            |(name, new): &(&String, &Arc<EndpointTls>)| before.upstreams.get(*name).is_some_and(|old| old != *new);
        let of_upstreams = self.upstreams.iter().filter(is_new).map(|(name, _)| format!("upstreams.{name}"));
        of_listeners.chain(of_upstreams).collect()
    }

    /// Those for clients, and those for endpoints.
    fn all(&self) -> impl Iterator<Item = &Certificate> {
        let of_upstreams = self.upstreams.values().filter_map(|tls| tls.own.as_ref());
        self.of_listeners().map(|(_, certificate)| certificate).chain(of_upstreams)
    }

    fn of_listeners(&self) -> impl Iterator<Item = (SocketAddr, &Certificate)> {
        self.listeners
            .iter()
            .flat_map(|(address, config)| config.certificates.iter().map(|certificate| (*address, certificate)))
    }
}

impl TlsConfig {
    fn prepare(
        key: &str,
        listener: &Listener,
        tls: &ListenerTls,
        old: Option<&TlsConfig>,
        is_open: bool,
        now: i64,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let read = |(index, files)| Certificate::read(&format!("{key}.certificates[{index}]"), files, &provider, now);
        let certificates: Vec<Certificate> = tls.certificates.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let client_ca = tls.client_ca.as_deref();
        let authorities = |file| read_authorities(key, file).map(|authorities| (file, authorities));
        let client_ca = client_ca.map(authorities).transpose()?;
        let verifier = client_ca.as_ref().map(|(file, authorities)| verifier(key, file, authorities, &provider));
        // Not the file's failure but the system's; an error names a file all the same.
        let failed = |error| TlsError {
            key: key.to_owned(),
            file: tls.certificates.first().map(|files| files.chain.clone()).unwrap_or_default(),
            problem: Problem::Rustls(error),
        };
        let tickets = match (&client_ca, old.and_then(|old| old.tickets.clone())) {
            (Some(_), _) => None,
            (None, Some(tickets)) => Some(tickets),
            (None, None) => Some(ring::Ticketer::new().map_err(failed)?),
        };
        // A change waits for a restart.
        let http2 = old.filter(|old| old.is_open).map_or(listener.http2, |old| old.http2);
        let versions = match tls.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(failed)?;
        let builder = match verifier.transpose()? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_cert_resolver(Arc::new(ByName::new(&certificates)));
        server.alpn_protocols = protocols(http2);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = &tickets {
            server.ticketer = Arc::clone(tickets);
        }
        let client_ca = client_ca.map(|(_, authorities)| authorities);
        Ok(TlsConfig { server: Arc::new(server), certificates, client_ca, tickets, http2, is_open })
    }
}

fn protocols(http2: bool) -> Vec<Vec<u8>> {
    let h2 = http2.then(|| b"h2".to_vec());
    h2.into_iter().chain([b"http/1.1".to_vec()]).collect()
}

fn read_authorities(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificate::read_certificates(file).map_err(|problem| client_ca_error(key, file, problem))
}

/// Requires and verifies a certificate of one of `authorities`.
fn verifier(
    key: &str,
    file: &Path,
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = certificate::root_store(authorities).map_err(|problem| client_ca_error(key, file, problem))?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    // It has at least one root, and no list of revoked certificates that could be bad.
    builder.build().map_err(|_| client_ca_error(key, file, Problem::NoCertificate))
}

fn client_ca_error(key: &str, file: &Path, problem: Problem) -> TlsError {
    TlsError { key: format!("{key}.client_ca"), file: file.to_owned(), problem }
}
