//! Listeners for clients: `server.listen`, the short form, and `[[server.listeners]]`.
//!
//! Only the conf itself is checked here. The files of certificates are read by [`tls`](crate::tls)
//! when a generation is prepared.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use super::Admin;
use super::check::required;
use super::file;
use super::report::{Key, Report};
use super::secret::Sources;
use super::spanned::{Spanned, Table};

/// The address of the short form, if the conf has no listener at all.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8549);
/// A placeholder for an invalid address.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// `[[server.listeners]]`: an address where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `address`: an IP address and port.
    pub address: SocketAddr,
    /// `tls`. Default: none, the listener speaks cleartext.
    pub tls: Option<ListenerTls>,
    /// `http2`: whether clients may speak HTTP/2. Default: with TLS only.
    pub http2: bool,
    /// `proxy_protocol`: whether a header names the client of each connection. Default: false.
    pub proxy_protocol: bool,
}

/// `server.listeners.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// `certificates`: at least one. The first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// `client_ca`: the file of the authorities that issue clients' certificates. Default: clients
    /// need none.
    pub client_ca: Option<PathBuf>,
    /// `min_version`. Default `"1.2"`.
    pub min_version: TlsVersion,
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `chain`.
    pub chain: PathBuf,
    /// `key`.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// `"1.2"`.
    V1_2,
    /// `"1.3"`.
    V1_3,
}

impl Listener {
    /// A listener of the short form.
    pub fn cleartext(address: SocketAddr) -> Self {
        Listener { address, tls: None, http2: false, proxy_protocol: false }
    }
}

/// The addresses of the short form. Its default holds only without other listeners.
pub(super) fn listen(file: &file::Server, report: &mut Report<'_>) -> Vec<SocketAddr> {
    let parent = Key::Root.name("server");
    let key = parent.name("listen");
    let Some(list) = &file.listen else {
        return if file.listeners.is_empty() { vec![DEFAULT] } else { Vec::new() };
    };
    if list.get_ref().is_empty() && file.listeners.is_empty() {
        report.add(key, list.span(), "must hold at least one address, such as \"127.0.0.1:8549\"");
    }
    list.get_ref().iter().enumerate().map(|(index, text)| address(key.item(index), text, report)).collect()
}

pub(super) fn listeners(file: &file::Server, report: &mut Report<'_>, sources: &Sources<'_>) -> Vec<Listener> {
    let parent = Key::Root.name("server");
    let key = parent.name("listeners");
    let each = file.listeners.iter().enumerate();
    each.map(|(index, table)| listener(key.item(index), table, report, sources)).collect()
}

fn listener(key: Key<'_>, table: &Table<file::Listener>, report: &mut Report<'_>, sources: &Sources<'_>) -> Listener {
    let text = required(key, "address", "0.0.0.0:443", table.address.as_ref(), table.span(), report);
    let address = text.map_or(NO_ADDRESS, |text| fixed_address(key.name("address"), text, report));
    let tls = table.tls.as_ref().map(|file| tls(key.name("tls"), file, report, sources));
    Listener { address, http2: table.http2.unwrap_or(tls.is_some()), tls, proxy_protocol: table.proxy_protocol }
}

fn tls(key: Key<'_>, table: &Table<file::ListenerTls>, report: &mut Report<'_>, sources: &Sources<'_>) -> ListenerTls {
    let list = key.name("certificates");
    if table.certificates.is_empty() {
        let message = "must hold at least one certificate, such as [{ chain = \"site.pem\", key = \"site.key\" }]";
        report.add(list, table.span(), message);
    }
    let each = table.certificates.iter().enumerate();
    let certificates = each.map(|(index, files)| certificate(list.item(index), files, report, sources)).collect();
    ListenerTls {
        certificates,
        client_ca: table.client_ca.as_ref().map(|text| path(key.name("client_ca"), text, report, sources)),
        min_version: match table.min_version.get_ref().as_str() {
            "1.2" => TlsVersion::V1_2,
            "1.3" => TlsVersion::V1_3,
            _ => {
                report.add(key.name("min_version"), table.min_version.span(), "must be \"1.2\" or \"1.3\"");
                TlsVersion::V1_3
            }
        },
    }
}

/// The files of a certificate and its private key.
pub(super) fn certificate(
    key: Key<'_>,
    files: &Table<file::Certificate>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> CertificateFiles {
    let chain = required(key, "chain", "site.pem", files.chain.as_ref(), files.span(), report);
    let private = required(key, "key", "site.key", files.key.as_ref(), files.span(), report);
    CertificateFiles {
        chain: chain.map(|text| path(key.name("chain"), text, report, sources)).unwrap_or_default(),
        key: private.map(|text| path(key.name("key"), text, report, sources)).unwrap_or_default(),
    }
}

/// A file, relative to the conf file.
pub(super) fn path(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>, sources: &Sources<'_>) -> PathBuf {
    let path = text.get_ref();
    if path.is_empty() || path.contains('\0') {
        report.add(key, text.span(), "must be the path of a file");
    }
    sources.folder.join(path)
}

pub(super) fn address(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> SocketAddr {
    text.get_ref().parse().unwrap_or_else(|_| {
        let message = "must be an IP address and a port, such as \"127.0.0.1:8549\" or \"[::1]:8549\"";
        report.add(key, text.span(), message);
        NO_ADDRESS
    })
}

/// A listener is known by its address across generations, so its port can't be any free one.
fn fixed_address(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> SocketAddr {
    if text.get_ref().parse().is_ok_and(|address: SocketAddr| address.port() == 0) {
        report.add(key, text.span(), "must have a port other than 0");
        return NO_ADDRESS;
    }
    address(key, text, report)
}

/// An address of the conf and its place.
struct Place<'k> {
    list: Key<'k>,
    key: Key<'k>,
    address: SocketAddr,
    span: Range<usize>,
}

/// Two listeners can't share a port of the same address: the second couldn't start.
pub(super) fn check_overlaps(
    server_file: &file::Server,
    server: &super::Server,
    admin_file: &file::Admin,
    admin: &Admin,
    report: &mut Report<'_>,
) {
    let parent = Key::Root.name("server");
    let (short, tables) = (parent.name("listen"), parent.name("listeners"));
    let texts = server_file.listen.iter().flat_map(|list| list.get_ref());
    let spans = texts.map(Spanned::span).chain(std::iter::repeat(0..0));
    let listen = server.listen.iter().zip(spans).enumerate().map(|(index, (&address, span))| Place {
        list: short,
        key: short.item(index),
        address,
        span,
    });
    let listeners = server.listeners.iter().zip(&server_file.listeners).enumerate();
    let listeners = listeners.map(|(index, (listener, table))| Place {
        list: tables,
        key: tables.item(index),
        address: listener.address,
        span: table.address.as_ref().map_or_else(|| table.span(), Spanned::span),
    });
    let places: Vec<Place<'_>> = listen.chain(listeners).collect();
    for (index, place) in places.iter().enumerate() {
        if let Some(other) = places[..index].iter().find(|other| overlap(&place.address, &other.address)) {
            report.add(place.key, place.span.clone(), format!("overlaps {}; use another port", other.key));
        }
    }
    if let Some(other) = places.iter().find(|other| overlap(&admin.listen, &other.address)) {
        // A default has no place in the file; at least one of them is written there.
        let listen_span = server_file.listen.as_ref().map_or(0..0, Spanned::span);
        let given = [admin_file.listen.span(), listen_span, other.span.clone()].into_iter().find(|s| !s.is_empty());
        let message = format!("overlaps {}; use another port", other.list);
        report.add(Key::Root.name("admin").name("listen"), given.unwrap_or(0..0), message);
    }
}

fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    let same_ip = a.ip() == b.ip() || (same_family && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() != 0 && a.port() == b.port() && same_ip
}
