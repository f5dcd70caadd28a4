//! The certificate authority of a run. It certifies the origin with HTTPS, and the proxies whose
//! clients use TLS. All keys are ECDSA P-256.

use std::sync::LazyLock;

use testkit::{Authority, TlsClient};

use super::peers::Site;

/// Names of each certificate: the host name, and the address for proxies that verify that.
pub const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// Files of a site.
pub const AUTHORITY: &str = "authority.pem";
pub const CERTIFICATE: &str = "certificate.pem";
pub const KEY: &str = "key.pem";
/// Certificate and key together, as HAProxy reads them.
pub const BOTH: &str = "both.pem";

static ISSUER: LazyLock<Authority> = LazyLock::new(Authority::new);
static CLIENT: LazyLock<TlsClient> = LazyLock::new(|| TlsClient::speaking(&ISSUER, "1.3"));

/// Writes a new certificate, its key and the authority's certificate.
pub fn certify(site: &Site) -> std::io::Result<()> {
    let issued = ISSUER.certify(&NAMES);
    let both = [issued.chain.as_str(), &issued.key].concat();
    let files = [(AUTHORITY, ISSUER.pem()), (CERTIFICATE, issued.chain), (KEY, issued.key), (BOTH, both)];
    files.iter().try_for_each(|(name, content)| site.write(name, content).map(drop))
}

/// A client that verifies the certificates.
pub fn client() -> &'static TlsClient {
    &CLIENT
}
