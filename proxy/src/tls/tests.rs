use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use tempfile::TempDir;
use testkit::{Authority, Issued};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, SignatureScheme};

use super::*;
use crate::config::parse;

const NOW: i64 = 2_000_000_000;
const ADDRESS: &str = "127.0.0.1:443";

fn put(folder: &TempDir, name: &str, issued: &Issued) {
    std::fs::write(folder.path().join(name).with_extension("pem"), &issued.chain).unwrap();
    std::fs::write(folder.path().join(name).with_extension("key"), &issued.key).unwrap();
}

/// A certificate for a.example that signed itself.
fn own(folder: &TempDir, name: &str, kind: &'static SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(kind).unwrap();
    let certificate = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    put(folder, name, &Issued { chain: certificate.pem(), key: key.serialize_pem() });
    certificate.der().to_vec()
}

fn prepare(folder: &TempDir, names: &[&str], more: &str, before: Option<&TlsConfigs>) -> Result<TlsConfigs, TlsError> {
    let files: Vec<String> =
        names.iter().map(|name| format!("{{ chain = '{name}.pem', key = '{name}.key' }}")).collect();
    let text = format!(
        "[[server.listeners]]\naddress = '{ADDRESS}'\ntls = {{ certificates = [{}] {more} }}
        [[upstreams.u.endpoints]]\nurl = 'http://h'",
        files.join(",")
    );
    let conf = parse(&text, &folder.path().join("a.toml"), &|_| None).unwrap();
    TlsConfigs::prepare(&conf, before, NOW)
}

fn config(configs: &TlsConfigs) -> &TlsConfig {
    &configs.listeners[&ADDRESS.parse::<SocketAddr>().unwrap()]
}

/// The certificate that a client is shown which trusts `roots` and verifies signatures of the kinds
/// that `verifies` names.
fn shown(configs: &TlsConfigs, roots: &[Vec<u8>], verifies: impl Fn(SignatureScheme) -> bool) -> Vec<u8> {
    let mut provider = ring::default_provider();
    let all = provider.signature_verification_algorithms.mapping.iter().copied();
    let mapping: Vec<_> = all.filter(|(scheme, _)| verifies(*scheme)).collect();
    provider.signature_verification_algorithms.mapping = mapping.leak();
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.clone().into()).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    let client = builder.unwrap().with_root_certificates(store).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("a.example").unwrap()).unwrap();
    let mut server = ServerConnection::new(configs.server_config(ADDRESS.parse().unwrap()).unwrap()).unwrap();
    while client.is_handshaking() {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        client.write_tls(&mut there).unwrap();
        server.read_tls(&mut there.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        server.write_tls(&mut back).unwrap();
        client.read_tls(&mut back.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    client.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn of_two_certificates_for_a_name_the_client_gets_one_that_it_can_verify() {
    let folder = tempfile::tempdir().unwrap();
    let ed25519 = own(&folder, "a", &PKCS_ED25519);
    let ecdsa = own(&folder, "b", &PKCS_ECDSA_P256_SHA256);
    let configs = prepare(&folder, &["a", "b"], "", None).unwrap();
    let roots = [ed25519.clone(), ecdsa.clone()];
    assert_eq!(shown(&configs, &roots, |_| true), ed25519);
    assert_eq!(shown(&configs, &roots, |scheme| scheme != SignatureScheme::ED25519), ecdsa);
}

#[test]
fn tickets_belong_to_a_listener_and_never_to_one_with_client_ca() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    own(&folder, "a", &PKCS_ED25519);
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let tickets = |configs: &TlsConfigs| config(configs).tickets.clone();
    let first = prepare(&folder, &["a"], "", None).unwrap();
    let second = prepare(&folder, &["a"], "", Some(&first)).unwrap();
    let ticket = tickets(&first).unwrap().encrypt(b"session").unwrap();
    assert_eq!(tickets(&second).unwrap().decrypt(&ticket).unwrap(), b"session");
    let verified = prepare(&folder, &["a"], ", client_ca = 'ca.pem'", Some(&second)).unwrap();
    assert!(tickets(&verified).is_none() && !config(&verified).server.ticketer.enabled());
    let third = prepare(&folder, &["a"], "", Some(&verified)).unwrap();
    assert_eq!(tickets(&third).unwrap().decrypt(&ticket), None);
}

#[test]
fn nothing_that_prints_shows_a_key() {
    let folder = tempfile::tempdir().unwrap();
    own(&folder, "a", &PKCS_ED25519);
    let configs = prepare(&folder, &["a"], "", None).unwrap();
    let printed = format!("{:?}", config(&configs).server);
    let pem = std::fs::read_to_string(folder.path().join("a.key")).unwrap();
    let secret = pem.lines().nth(1).unwrap();
    assert!(!printed.contains(secret) && printed.contains("a.example"), "{printed}");
    std::fs::write(folder.path().join("a.key"), pem.replace("-----END", "!")).unwrap();
    let error = prepare(&folder, &["a"], "", None).map(drop).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
}

#[test]
fn a_certificate_that_expired_since_is_no_generation_to_go_back_to() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    put(&folder, "a", &authority.certify_for_days(&["a.example"], -10_000, 10_000));
    let configs = prepare(&folder, &["a"], "", None).unwrap();
    assert!(configs.check_dates(NOW).is_ok());
    let expiry = configs.certificates().next().unwrap().expiry;
    assert!(configs.check_dates(expiry).is_ok());
    let error = configs.check_dates(expiry + 1).unwrap_err();
    assert!(matches!(error.problem, Problem::Expired(at) if at == expiry), "{error}");
    assert!(error.file.ends_with(Path::new("a.pem")));
}
