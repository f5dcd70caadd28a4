//! A certificate with its private key, read from files and checked.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::{Problem, TlsError, date};
use crate::config::CertificateFiles;
use crate::files;

/// The largest file. Bundles of all public authorities have about 250 KiB.
const MAX_FILE: usize = 1 << 20;
/// Certificates are usually renewed 30 days before their end.
const WARN_SECS: i64 = 14 * 24 * 60 * 60;
const DAY_SECS: i64 = 24 * 60 * 60;

/// A certificate, its intermediates and its private key. It has no `Debug`.
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The host names that it is for, in lower case; a name may begin with `*.`.
    pub(super) hosts: Vec<String>,
    /// Its first host name or address, or the name of its file.
    pub(super) name: String,
    /// The first and the last second of its validity, since the Unix epoch.
    valid: (i64, i64),
    chain: PathBuf,
    conf_key: String,
}

impl Certificate {
    /// Reads and checks the files that the table `conf_key` names.
    pub(super) fn read(
        conf_key: &str,
        files: &CertificateFiles,
        provider: &CryptoProvider,
        now: i64,
    ) -> Result<Self, TlsError> {
        Certificate::read_with_key(conf_key, files, provider, now).map(|(certificate, _)| certificate)
    }

    /// The same, with the bytes of the private key.
    pub(super) fn read_with_key(
        conf_key: &str,
        files: &CertificateFiles,
        provider: &CryptoProvider,
        now: i64,
    ) -> Result<(Self, PrivateKeyDer<'static>), TlsError> {
        let chain_key = format!("{conf_key}.chain");
        let in_chain = |problem| TlsError { key: chain_key.clone(), file: files.chain.clone(), problem };
        let in_key = |problem| TlsError { key: format!("{conf_key}.key"), file: files.key.clone(), problem };
        let chain = read_certificates(&files.chain).map_err(in_chain)?;
        let (hosts, name, valid) = {
            let leaf = parsed(&chain).map_err(in_chain)?;
            let hosts = hosts(&leaf);
            let name = hosts.first().cloned().or_else(|| first_address(&leaf));
            let valid = leaf.validity();
            (hosts, name, (valid.not_before.timestamp(), valid.not_after.timestamp()))
        };
        let private = read_key(&files.key).map_err(in_key)?;
        let key = provider.key_provider.load_private_key(private.clone_key()).map_err(|_| in_key(Problem::BadKey))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(in_key(Problem::Mismatch { chain: files.chain.clone() }));
            }
            Err(_) => return Err(in_chain(Problem::BadCertificate(1))),
        }
        let name = name.unwrap_or_else(|| files.chain.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let certificate =
            Certificate { key: Arc::new(key), hosts, name, valid, chain: files.chain.clone(), conf_key: chain_key };
        certificate.check_dates(now)?;
        Ok((certificate, private))
    }

    /// Checks that it is valid now.
    pub(super) fn check_dates(&self, now: i64) -> Result<(), TlsError> {
        let (from, until) = self.valid;
        let problem = match now {
            now if now > until => Problem::Expired(until),
            now if now < from => Problem::NotYetValid(from),
            _ => return Ok(()),
        };
        Err(TlsError { key: self.conf_key.clone(), file: self.chain.clone(), problem })
    }

    /// The last second of its validity, since the Unix epoch.
    pub(super) fn expiry(&self) -> i64 {
        self.valid.1
    }

    /// A warning, if it expires soon.
    pub(super) fn warning(&self, now: i64) -> Option<String> {
        let left = self.valid.1 - now;
        (left < WARN_SECS).then(|| {
            let (key, file, days, until) = (&self.conf_key, self.chain.display(), left / DAY_SECS, date(self.valid.1));
            format!("{key}: {file} holds a certificate that expires in {days} days, on {until}; renew it, then reload")
        })
    }

    /// Whether both have the same chain. A certificate with another private key is another one.
    pub(super) fn is_same(&self, other: &Certificate) -> bool {
        self.key.cert == other.key.cert
    }
}

/// The certificates of a PEM file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let bytes = files::read(path, MAX_FILE).map_err(Problem::File)?;
    // The errors of the parser quote lines.
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(Problem::NoCertificate),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(Problem::NotPem),
    }
}

/// The store of these authorities.
pub(super) fn root_store(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for (number, authority) in (1..).zip(authorities) {
        roots.add(authority.clone()).map_err(|_| Problem::BadCertificate(number))?;
    }
    Ok(roots)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let bytes = files::read(path, MAX_FILE).map_err(Problem::File)?;
    // "ENCRYPTED PRIVATE KEY", or "Proc-Type: 4,ENCRYPTED" of older files.
    if memmem::find(&bytes, b"ENCRYPTED").is_some() {
        return Err(Problem::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => Problem::NoKey,
        _ => Problem::NotPem,
    })
}

/// The first certificate. The others are parsed, too: clients would refuse a broken chain.
fn parsed<'c>(chain: &'c [CertificateDer<'static>]) -> Result<X509Certificate<'c>, Problem> {
    let mut parsed = Vec::with_capacity(chain.len());
    for (number, certificate) in (1..).zip(chain) {
        match X509Certificate::from_der(certificate) {
            Ok(([], certificate)) => parsed.push(certificate),
            _ => return Err(Problem::BadCertificate(number)),
        }
    }
    parsed.into_iter().next().ok_or(Problem::NoCertificate)
}

fn alternative_names<'c>(certificate: &'c X509Certificate<'c>) -> impl Iterator<Item = &'c GeneralName<'c>> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.map(|extension| &extension.value.general_names).into_iter().flatten()
}

fn hosts(certificate: &X509Certificate<'_>) -> Vec<String> {
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(host.to_ascii_lowercase()),
        _ => None,
    };
    alternative_names(certificate).filter_map(host).collect()
}

fn first_address(certificate: &X509Certificate<'_>) -> Option<String> {
    alternative_names(certificate).find_map(|name| match name {
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| Ipv4Addr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    })
}
