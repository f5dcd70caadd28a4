//! TLS for tests: an authority, what it issues, and clients.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use crate::client::Client;
use crate::wait::PATIENCE;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub chain: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// Creates an authority.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed if its issuer has the same name.
        params.distinguished_name.push(DnType::CommonName, "the tests' authority");
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("its own certificate"))
    }

    /// Its certificate, for clients.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these host names and IP addresses.
    pub fn certify(&self, names: &[&str]) -> Issued {
        self.certify_for_days(names, -1, 365)
    }

    /// A certificate that is valid between these days from now.
    pub fn certify_for_days(&self, names: &[&str], from: i32, until: i32) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let day = |days: i32| {
            let shift = DAY * days.unsigned_abs();
            let today = date_time_ymd(1970, 1, 1) + now;
            if days < 0 { today - shift } else { today + shift }
        };
        (params.not_before, params.not_after) = (day(from), day(until));
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// The TLS configuration of a server with a certificate for `name` (a host name or an IP
    /// address).
    pub fn issue(&self, name: &str) -> Arc<ServerConfig> {
        self.issue_for(name, None)
    }

    /// The same of a server that requires certificates of `clients`, if any.
    pub fn issue_for(&self, name: &str, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let issued = self.certify(&[name]);
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.expect("an authority"))
            }
        };
        Arc::new(builder.with_single_cert(vec![issued.certificate()], issued.private()).expect("a fitting key"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).expect("PEM")).expect("an authority");
        roots
    }
}

impl Issued {
    /// The certificate's bytes.
    pub fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).expect("a certificate")
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key")
    }
}

/// Connects clients with TLS. Connections of one value resume each other's sessions.
pub struct TlsClient(Arc<ClientConfig>);

impl TlsClient {
    /// Trusts only `authority`.
    pub fn trusting(authority: &Authority) -> TlsClient {
        TlsClient::with(authority, None, None)
    }

    /// Also shows a certificate of its own.
    pub fn with_certificate(authority: &Authority, own: &Issued) -> TlsClient {
        TlsClient::with(authority, Some(own), None)
    }

    /// Speaks only this version, `"1.2"` or `"1.3"`.
    pub fn speaking(authority: &Authority, version: &str) -> TlsClient {
        TlsClient::with(authority, None, Some(version))
    }

    fn with(authority: &Authority, own: Option<&Issued>, version: Option<&str>) -> TlsClient {
        let versions = match version {
            None => &[&TLS13, &TLS12][..],
            Some("1.2") => &[&TLS12],
            Some(_) => &[&TLS13],
        };
        let roots = authority.roots();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("versions").with_root_certificates(roots);
        TlsClient(Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(vec![own.certificate()], own.private()).expect("a fitting key"),
        }))
    }

    /// The configuration itself.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// Connects, and completes the handshake as far as the client can tell.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr, name: &str) -> Client {
        self.try_connect(address, name).unwrap_or_else(|error| panic!("no handshake: {error}"))
    }

    /// Connects; an error if the handshake fails.
    pub fn try_connect(&self, address: SocketAddr, name: &str) -> io::Result<Client> {
        self.try_connect_after(address, name, b"")
    }

    /// Connects and sends these bytes before the handshake.
    pub fn try_connect_after(&self, address: SocketAddr, name: &str, first: &[u8]) -> io::Result<Client> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        io::Write::write_all(&mut socket, first)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session = ClientConnection::new(self.config(), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Client::over_tls(StreamOwned::new(session, socket)))
    }
}
