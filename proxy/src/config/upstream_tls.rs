//! TLS to the endpoints of an upstream.
//!
//! No key turns the verification of certificates off. The files are read by [`tls`](crate::tls)
//! when a generation is prepared.

use std::path::PathBuf;

use tokio_rustls::rustls::pki_types::ServerName;

use super::EndpointConf;
use super::file;
use super::listeners::{CertificateFiles, certificate, path};
use super::report::{Key, Report};
use super::secret::Sources;

/// `[upstreams.NAME.tls]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `ca`: the file of the authorities that endpoints' certificates are verified with. Default:
    /// the system's.
    pub ca: Option<PathBuf>,
    /// `certificate`: the client certificate. Default: none.
    pub certificate: Option<CertificateFiles>,
    /// `server_name`: the host name or IP address that endpoints' certificates must be for. Default:
    /// the host of each endpoint's URL.
    pub server_name: Option<String>,
}

/// `tls`. It needs an endpoint that it is for.
pub(super) fn tls(
    key: Key<'_>,
    file: &file::Upstream,
    endpoints: &[EndpointConf],
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> UpstreamTls {
    let Some(table) = &file.tls else { return UpstreamTls::default() };
    let is_https =
        |endpoint: &EndpointConf| endpoint.url.is_tls() || endpoint.ws_url.as_ref().is_some_and(|u| u.is_tls());
    // Endpoints with an invalid URL are missing: that is another problem.
    if endpoints.len() == file.endpoints.len() && !endpoints.iter().any(is_https) {
        report.add(key, table.span(), "needs an endpoint with an https:// URL; this upstream speaks no TLS");
    }
    let server_name = table.server_name.as_ref().map(|name| {
        // With an empty name nothing would be verified.
        if ServerName::try_from(name.get_ref().as_str()).is_err() {
            let message = "must be a host name or an IP address, such as \"node.example.com\"";
            report.add(key.name("server_name"), name.span(), message);
        }
        name.get_ref().clone()
    });
    UpstreamTls {
        ca: table.ca.as_ref().map(|text| path(key.name("ca"), text, report, sources)),
        certificate: table.certificate.as_ref().map(|file| certificate(key.name("certificate"), file, report, sources)),
        server_name,
    }
}
