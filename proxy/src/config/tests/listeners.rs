//! `server.listen` and `[[server.listeners]]`.

use std::path::Path;

use super::super::*;
use super::{MINIMAL, accepted, assert_added};

fn server(text: &str) -> Server {
    accepted(&format!("{MINIMAL}{text}")).server
}

#[test]
fn a_listener_takes_what_is_written() {
    let server = server(
        "[[server.listeners]]
        address = '0.0.0.0:443'
        tls = { certificates = [{ chain = 'a.pem', key = '/keys/a' }], client_ca = 'ca.pem', min_version = '1.3' }
        http2 = false
        proxy_protocol = true",
    );
    let expected = Listener {
        address: "0.0.0.0:443".parse().unwrap(),
        tls: Some(ListenerTls {
            certificates: vec![CertificateFiles {
                chain: Path::new("conf/a.pem").to_owned(),
                key: Path::new("/keys/a").to_owned(),
            }],
            client_ca: Some(Path::new("conf/ca.pem").to_owned()),
            min_version: TlsVersion::V1_3,
        }),
        http2: false,
        proxy_protocol: true,
    };
    assert_eq!(server.listeners, [expected]);
    assert!(server.listen.is_empty(), "the default of the short form doesn't apply");
}

#[test]
fn http2_is_on_by_default_with_tls_only() {
    let server = server(
        "[[server.listeners]]
        address = '[::1]:80'
        [[server.listeners]]
        address = '[::1]:443'
        tls = { certificates = [{ chain = 'a', key = 'b' }] }
        [server]
        listen = ['127.0.0.1:1']",
    );
    let all: Vec<(String, bool)> = server.all_listeners().map(|one| (one.address.to_string(), one.http2)).collect();
    let expected = [("127.0.0.1:1", false), ("[::1]:80", false), ("[::1]:443", true)];
    assert_eq!(all, expected.map(|(address, http2)| (address.to_owned(), http2)));
    assert_eq!(server.listeners[1].tls.as_ref().unwrap().min_version, TlsVersion::V1_2);
}

#[test]
fn mistakes_of_listeners_are_named() {
    assert_added(&[
        ("«[[server.listeners]]\nhttp2 = true", &["server.listeners[0].address: is missing; add address ="]),
        (
            "[[server.listeners]]\naddress = «'localhost:1'",
            &["server.listeners[0].address: must be an IP address and a port"],
        ),
        ("[[server.listeners]]\naddress = «'[::1]:0'", &["server.listeners[0].address: must have a port other than 0"]),
        (
            "[[server.listeners]]\naddress = '[::1]:1'\n[[server.listeners]]\naddress = «'[::1]:1'",
            &["server.listeners[1]: overlaps server.listeners[0]"],
        ),
        (
            "[server]\nlisten = ['1.1.1.1:1']\n[[server.listeners]]\naddress = «'0.0.0.0:1'",
            &["server.listeners[0]: overlaps server.listen[0]"],
        ),
        (
            "[[server.listeners]]\naddress = «'127.0.0.1:8550'",
            &["admin.listen: overlaps server.listeners; use another port"],
        ),
        (
            "[[server.listeners]]\naddress = '[::1]:1'\ntls = «{}",
            &["server.listeners[0].tls.certificates: must hold at least one certificate"],
        ),
        (
            "[[server.listeners]]\naddress = '[::1]:1'\ntls = { certificates = [«{ chain = 'a' }] }",
            &["server.listeners[0].tls.certificates[0].key: is missing"],
        ),
        (
            "[[server.listeners]]\naddress = '[::1]:1'\ntls = { certificates = [{ chain = «'', key = 'k' }] }",
            &["server.listeners[0].tls.certificates[0].chain: must be the path of a file"],
        ),
        (
            "[[server.listeners]]\naddress = '[::1]:1'\n[server.listeners.tls]\nmin_version = «'1.1'
            certificates = [{ chain = 'a', key = 'k' }]",
            &["server.listeners[0].tls.min_version: must be \"1.2\" or \"1.3\""],
        ),
    ]);
}
