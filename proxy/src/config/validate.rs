//! From [`File`] to [`Config`]: ranges, references, and rules between keys.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::check::{LONGEST, check_name};
use super::file::{self, File};
use super::report::{Key, Report};
use super::secret::{ClientKey, Secret, Sources};
use super::spanned::Spanned;
use super::{
    Admin, Config, Server, UpstreamConf, client_identity, listeners, machine, plugins, policy, routes, upstream,
};

/// Worker threads. The largest machines have fewer cores.
const THREADS: RangeInclusive<usize> = 1..=1_024;
/// A request body stays in memory during all attempts.
const MAX_BODY: RangeInclusive<usize> = 1..=1 << 30;
/// Client connections. A process can't have many more open files.
const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;
/// Request bodies in memory in the whole process.
const MAX_BUFFERED: usize = 1 << 40;
/// A shorter secret could be guessed by trial.
const SHORTEST_SECRET: usize = 16;
/// Endpoints of all upstreams together. Snapshots, metrics and the status page grow with them.
const MAX_ENDPOINTS: usize = 100_000;
/// Length of a host name (RFC 1035).
const LONGEST_HOST: usize = 253;

/// Checks everything. The result is valid only if the report is empty.
pub(super) fn config(file: &File, report: &mut Report<'_>, sources: &Sources<'_>) -> Config {
    let server = server(&file.server, report, sources);
    let admin = admin(&file.admin, report, sources);
    listeners::check_overlaps(&file.server, &server, &file.admin, &admin, report);
    let policies = policy::policies(&file.policies, report);
    let upstreams = upstreams(file, report, sources);
    let routes = routes::routes(file, report, sources);
    Config { server, admin, plugins: plugins::plugins(&file.plugins, report, sources), policies, upstreams, routes }
}

fn server(file: &file::Server, report: &mut Report<'_>, sources: &Sources<'_>) -> Server {
    let key = Key::Root.name("server");
    let max_body = report.size(key.name("max_body"), &file.max_body, MAX_BODY);
    let max_connections = match &file.max_connections {
        Some(most) => report.whole(key.name("max_connections"), most, CONNECTIONS),
        None => machine::connections(machine::open_files()),
    };
    Server {
        listen: listeners::listen(file, report),
        listeners: listeners::listeners(file, report, sources),
        threads: match &file.threads {
            Some(threads) => report.whole(key.name("threads"), threads, THREADS),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        },
        max_body,
        shutdown_grace: report.duration(key.name("shutdown_grace"), &file.shutdown_grace, Duration::ZERO..=LONGEST),
        max_connections,
        max_connections_per_address: match &file.max_connections_per_address {
            Some(most) => report.whole(key.name("max_connections_per_address"), most, CONNECTIONS),
            None => max_connections,
        },
        // A body that fits into `max_body` must fit when it is the only one.
        max_buffered: match &file.max_buffered {
            Some(most) => report.size(key.name("max_buffered"), most, max_body..=MAX_BUFFERED),
            None => max_body.max(machine::memory() / 4),
        },
        trusted_proxies: client_identity::trusted_proxies(key.name("trusted_proxies"), &file.trusted_proxies, report),
        client_key_source: client_identity::client_key_source(key.name("client_key"), &file.client_key, report),
        client_key: file.client_key_secret.as_ref().and_then(|text| client_key(&key, text, report, sources)),
        express_lane: file.express_lane,
    }
}

fn client_key(
    parent: &Key<'_>,
    text: &Spanned<String>,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> Option<ClientKey> {
    let key = parent.name("client_key_secret");
    match sources.resolve(text.get_ref()) {
        Ok(secret) if secret.len() >= SHORTEST_SECRET => return Some(ClientKey::derived(&secret)),
        Ok(_) => {
            report.add(key, text.span(), "must be at least 16 bytes long, such as the output of `openssl rand -hex 16`")
        }
        Err(error) => report.add(key, text.span(), error.to_string()),
    }
    None
}

pub(super) fn admin(file: &file::Admin, report: &mut Report<'_>, sources: &Sources<'_>) -> Admin {
    let key = Key::Root.name("admin");
    let listen = listeners::address(key.name("listen"), &file.listen, report);
    if file.token.is_none() && !listen.ip().to_canonical().is_loopback() {
        let message = "needs admin.token, since it isn't a loopback address; add a token, or listen on 127.0.0.1";
        report.add(key.name("listen"), file.listen.span(), message);
    }
    let token = file.token.as_ref().and_then(|text| token(key.name("token"), text, report, sources));
    let hosts = file.hosts.iter().enumerate().map(|(index, text)| host(key.name("hosts").item(index), text, report));
    Admin { listen, token, hosts: hosts.collect() }
}

/// A name or an address in the form of a `Host` header, without the port.
fn host(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> String {
    let name = text.get_ref().to_ascii_lowercase();
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let is_address = |name: &str| name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(is_ipv6);
    if name.is_empty() || name.len() > LONGEST_HOST || !(is_name(&name) || is_address(&name)) {
        let message = "must be a host's name or address without a port, such as \"metrics.example.com\" or \"[::1]\"";
        report.add(key, text.span(), message);
    }
    name
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

fn token(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>, sources: &Sources<'_>) -> Option<Secret> {
    match sources.resolve(text.get_ref()) {
        // The token is sent in an Authorization header, after a space.
        Ok(token) if token.bytes().all(|byte| byte.is_ascii_graphic()) => return Some(Secret::new(token)),
        Ok(_) => report.add(key, text.span(), "must be ASCII without spaces or control characters"),
        Err(error) => report.add(key, text.span(), error.to_string()),
    }
    None
}

fn upstreams(file: &File, report: &mut Report<'_>, sources: &Sources<'_>) -> BTreeMap<String, UpstreamConf> {
    let key = Key::Root.name("upstreams");
    if file.upstreams.is_empty() {
        report.add(key, 0..0, "must hold at least one upstream: add [[upstreams.NAME.endpoints]] with a url");
    }
    let mut total = 0;
    let mut resolved = BTreeMap::new();
    for (name, table) in &file.upstreams {
        check_name(key, name, report);
        total += table.endpoints.len();
        if total > MAX_ENDPOINTS {
            let message = format!("brings the conf to {total} endpoints; the most is {MAX_ENDPOINTS}");
            report.add(key.name(name.get_ref()), table.span(), message);
            break;
        }
        let conf = upstream::upstream(name, table, &file.policies, report, sources);
        resolved.insert(name.get_ref().clone(), conf);
    }
    resolved
}
