//! The choice of a certificate by the name that a client asks for (SNI).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The certificates of a listener by host name.
pub(super) struct ByName {
    keys: Vec<Arc<CertifiedKey>>,
    /// Positions in `keys`. A name that begins with `*` stands for one more label.
    hosts: HashMap<String, Vec<usize>>,
}

impl ByName {
    /// The first of `certificates` is the default.
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut hosts: HashMap<String, Vec<usize>> = HashMap::new();
        for (position, certificate) in certificates.iter().enumerate() {
            for host in &certificate.hosts {
                hosts.entry(host.clone()).or_default().push(position);
            }
        }
        ByName { keys: certificates.iter().map(|certificate| Arc::clone(&certificate.key)).collect(), hosts }
    }

    /// The positions of the certificates for `name`: exact names before wildcards. With neither,
    /// all of them.
    fn positions(&self, name: Option<&str>) -> Vec<usize> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let exact = self.hosts.get(&name).into_iter().flatten();
        let wild = wildcard.and_then(|wildcard| self.hosts.get(&wildcard)).into_iter().flatten();
        let mut positions: Vec<usize> = exact.chain(wild).copied().collect();
        if positions.is_empty() {
            positions.extend(0..self.keys.len());
        }
        positions
    }
}

impl ResolvesServerCert for ByName {
    /// Of several certificates, the first whose key the client can verify: a site may have an ECDSA
    /// certificate and an RSA one for old clients.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let positions = self.positions(hello.server_name());
        let is_usable =
            |position: &&usize| self.keys[**position].key.choose_scheme(hello.signature_schemes()).is_some();
        let chosen = positions.iter().find(is_usable).or(positions.first())?;
        self.keys.get(*chosen).cloned()
    }
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.hosts.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use testkit::Authority;

    use tokio_rustls::rustls::crypto::ring;

    use super::*;
    use crate::config::CertificateFiles;

    const NOW: i64 = 2_000_000_000;

    #[test]
    fn exact_names_come_before_wildcards_and_these_before_the_default() {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let certificate = |(file, names): (&str, &[&str])| {
            let [chain, key] = ["pem", "key"].map(|kind| folder.path().join(file).with_extension(kind));
            let issued = authority.certify_for_days(names, -10_000, 10_000);
            std::fs::write(&chain, issued.chain).unwrap();
            std::fs::write(&key, issued.key).unwrap();
            Certificate::read("key", &CertificateFiles { chain, key }, &ring::default_provider(), NOW).unwrap()
        };
        let certificates = [
            ("default", &["one.example"][..]),
            ("wild", &["*.example", "B.example"]),
            ("exact", &["a.example", "b.example", "*.c.example"]),
            ("address", &["192.0.2.1"]),
        ];
        let certificates = certificates.map(certificate);
        assert_eq!(certificates[3].name, "192.0.2.1");
        let by_name = ByName::new(&certificates);
        for (name, expected) in [
            (Some("one.example"), &[0, 1][..]),
            (Some("a.example"), &[2, 1]),
            (Some("b.example"), &[1, 2, 1]),
            (Some("X.Example"), &[1]),
            (Some("x.c.example"), &[2]),
            (Some("c.example"), &[1]),
            (Some("x.y.c.example"), &[0, 1, 2, 3]),
            (Some("example"), &[0, 1, 2, 3]),
            (None, &[0, 1, 2, 3]),
        ] {
            assert_eq!(by_name.positions(name), expected, "{name:?}");
        }
    }
}
