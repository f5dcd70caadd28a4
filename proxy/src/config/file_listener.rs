//! The tables of `[[server.listeners]]` as they are written. The rules of [`file`](super::file)
//! hold here, too.

use serde::Deserialize;

use super::file::text;
use super::spanned::{Spanned, Table};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["address"])))]
pub(super) struct Listener {
    /// The IP address and port. A change needs a restart.
    pub(super) address: Option<Spanned<String>>,
    /// Certificates, and what clients need for a handshake.
    ///
    /// Default: none; the listener speaks cleartext.
    pub(super) tls: Option<Table<ListenerTls>>,
    /// Clients may speak HTTP/2: by ALPN with TLS, by prior knowledge without. A change
    /// needs a restart.
    ///
    /// Default: true with TLS, false without.
    pub(super) http2: Option<bool>,
    /// Each connection begins with a header of the PROXY protocol, version 1 or 2, that
    /// names the client. A change needs a restart.
    pub(super) proxy_protocol: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["certificates"])))]
pub(super) struct ListenerTls {
    /// The server's certificates. The name that a client asks for (SNI) selects one; the first is
    /// the default.
    pub(super) certificates: Vec<Table<Certificate>>,
    /// A PEM file of authorities, relative to the conf file. Clients must have a certificate that
    /// one of them issued.
    ///
    /// Default: clients need no certificate.
    pub(super) client_ca: Option<Spanned<String>>,
    /// The lowest version of TLS that clients may use.
    #[cfg_attr(test, schemars(extend("enum" = ["1.2", "1.3"])))]
    pub(super) min_version: Spanned<String>,
}

impl Default for ListenerTls {
    fn default() -> Self {
        Self { certificates: Vec::new(), client_ca: None, min_version: text("1.2") }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("required" = ["chain", "key"])))]
pub(super) struct Certificate {
    /// The PEM file of the certificate, followed by its intermediates; relative to the conf file.
    pub(super) chain: Option<Spanned<String>>,
    /// The PEM file of its private key, without a passphrase; relative to the conf file.
    pub(super) key: Option<Spanned<String>>,
}
