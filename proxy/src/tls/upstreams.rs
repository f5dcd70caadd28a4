//! TLS to endpoints: the authorities that verify their certificates, and the certificate that they
//! are shown.
//!
//! Invariant: each connection with TLS verifies the endpoint's certificate, for a name that isn't
//! empty.

use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::certificate::{Certificate, read_certificates, root_store};
use super::error::{Problem, TlsError};
use crate::config::UpstreamTls;

/// The TLS of connections to an upstream's endpoints. Two are equal if their files have the same
/// content.
#[derive(Default)]
pub struct EndpointTls {
    /// The authorities, in place of the system's.
    pub authorities: Option<Arc<CaType>>,
    /// The certificate that endpoints are shown.
    pub certificate: Option<Arc<CertKey>>,
    /// The name that endpoints' certificates must be for, in place of their hosts.
    pub server_name: Option<String>,
    pub(super) own: Option<Certificate>,
}

impl EndpointTls {
    /// Reads and checks the files of `conf`, whose key is `key`.
    pub(super) fn prepare(
        key: &str,
        conf: &UpstreamTls,
        provider: &CryptoProvider,
        now: i64,
    ) -> Result<EndpointTls, TlsError> {
        let authorities = conf.ca.as_deref().map(|file| {
            let failed = |problem| TlsError { key: format!("{key}.ca"), file: file.to_owned(), problem };
            read_certificates(file).and_then(|read| usable(&read)).map_err(failed)
        });
        let read = |files| Certificate::read_with_key(&format!("{key}.certificate"), files, provider, now);
        let own = conf.certificate.as_ref().map(read).transpose()?;
        let certificate = own.as_ref().map(|(own, private)| {
            // Both were parsed by rustls, which reads them again for each connection.
            let chain = own.key.cert.iter().map(|certificate| certificate.to_vec()).collect();
            Arc::new(CertKey::new(chain, private.secret_der().to_vec()))
        });
        Ok(EndpointTls {
            authorities: authorities.transpose()?,
            certificate,
            server_name: conf.server_name.clone(),
            own: own.map(|(own, _)| own),
        })
    }
}

/// The authorities in Pingora's form, which has no errors: each is parsed before.
fn usable(authorities: &[CertificateDer<'static>]) -> Result<Arc<CaType>, Problem> {
    root_store(authorities)?;
    for (number, authority) in (1..).zip(authorities) {
        x509_parser::parse_x509_certificate(authority).map_err(|_| Problem::BadCertificate(number))?;
    }
    let wrap = |authority: &CertificateDer<'static>| WrappedX509::new(authority.to_vec(), parse_x509);
    Ok(authorities.iter().map(wrap).collect())
}

impl PartialEq for EndpointTls {
    fn eq(&self, other: &Self) -> bool {
        let authorities = |tls: &EndpointTls| -> Vec<Vec<u8>> {
            tls.authorities.iter().flat_map(|list| list.iter()).map(|one| one.borrow_raw_cert().clone()).collect()
        };
        let private = |tls: &EndpointTls| tls.certificate.as_ref().map(|certificate| certificate.key().clone());
        let chain = |tls: &EndpointTls| tls.own.as_ref().map(|own| own.key.cert.clone());
        authorities(self) == authorities(other)
            && (chain(self), private(self)) == (chain(other), private(other))
            && self.server_name == other.server_name
    }
}

impl Eq for EndpointTls {}
