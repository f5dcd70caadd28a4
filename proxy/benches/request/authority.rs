//! A certificate authority for the origin with HTTPS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// What the origin's certificate is for: its name, and its address for those who know no other.
pub const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// An authority and a certificate of it, as PEM.
pub struct Authority {
    /// For those who shall trust it.
    pub authority: String,
    /// The origin's.
    pub certificate: String,
    /// The origin's.
    pub key: String,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn new() -> anyhow::Result<Authority> {
        let mut params = CertificateParams::new(Vec::new())?;
        // Without names of their own both would have the same, and the origin's would pass for
        // self-signed.
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
