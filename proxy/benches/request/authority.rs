//! A certificate authority for the origin with HTTPS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Names of the origin's certificate: its host name, and its address for proxies that verify that.
pub const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// An authority and a certificate issued by it, as PEM.
pub struct Authority {
    /// The authority's certificate, for clients.
    pub authority: String,
    /// The origin's.
    pub certificate: String,
    /// The origin's.
    pub key: String,
}

impl Authority {
    /// Creates an authority.
    pub fn new() -> anyhow::Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        // Without distinct names, the origin's certificate would look self-signed.
        params.distinguished_name.push(DnType::CommonName, "the benchmark's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(NAMES.map(str::to_owned).to_vec())?;
        params.distinguished_name.push(DnType::CommonName, NAMES[0]);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Authority { authority: issuer.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
