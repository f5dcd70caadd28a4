//! Routes from hosts and paths to upstreams, and to answers of the proxy's own.

use std::collections::HashMap;
use std::ops::Range;

use super::cors::cors;
use super::file::{self, File, Table};
use super::header_edits::{Edited, header_edits};
use super::host_pattern::host_pattern;
use super::report::{Key, Report};
use super::respond::respond;
use super::route_path::{path_prefix, prefix_replacement};
use super::secret::Sources;
use super::spanned::Spanned;
use super::{Cors, HeaderEdits, HostPattern, Route, RouteTarget};

/// Hosts of one route.
const MAX_HOSTS: usize = 1_000;
/// Methods that pages may use, by the route's target.
const JSON_RPC_METHODS: &str = "POST";
const HTTP_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const OWN_METHODS: &str = "GET, HEAD";

/// The routes, longest prefix first. With one upstream and no `[[routes]]`, all paths lead to it.
pub(super) fn routes(file: &File, report: &mut Report<'_>, sources: &Sources<'_>) -> Vec<Route> {
    let key = Key::Root.name("routes");
    if file.routes.is_empty() {
        return default_routes(key, file, report);
    }
    let mut seen = Seen::default();
    let mut routes = Vec::new();
    for (index, table) in file.routes.iter().enumerate() {
        let key = key.item(index);
        let Some(route) = route(key, table, file, report, sources) else { continue };
        if seen.check(key, index, table, &route, report) {
            routes.push(route);
        }
    }
    routes.sort_by(|a, b| {
        let longest_first = b.path_prefix.len().cmp(&a.path_prefix.len());
        longest_first.then_with(|| a.path_prefix.cmp(&b.path_prefix)).then_with(|| a.hosts.cmp(&b.hosts))
    });
    routes
}

fn default_routes(key: Key<'_>, file: &File, report: &mut Report<'_>) -> Vec<Route> {
    let mut names = file.upstreams.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => vec![Route {
            hosts: Vec::new(),
            path_prefix: "/".to_owned(),
            target: RouteTarget::Upstream {
                name: only.get_ref().clone(),
                accept_any_content_type: accepts_any_content_type(only.get_ref(), file),
                replace_prefix: None,
                request_headers: HeaderEdits::default(),
            },
            response_headers: HeaderEdits::default(),
            cors: None,
        }],
        (Some(_), Some(second)) => {
            let message = "must say which path leads to which upstream, since there are several: \
                           add [[routes]] with path_prefix and upstream";
            report.add(key, second.span(), message);
            Vec::new()
        }
        // The missing upstream is reported elsewhere.
        _ => Vec::new(),
    }
}

fn route(
    key: Key<'_>,
    table: &Table<file::Route>,
    file: &File,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> Option<Route> {
    let hosts = hosts(key.name("hosts"), table, report);
    let prefix = path_prefix(key, table, report);
    let (target, kind) = match &table.respond {
        Some(text) => {
            refuse_beside_respond(key, table, report);
            (Some(respond(key.name("respond"), text, report)), Kind::Own)
        }
        None => upstream_target(key, table, file, report, sources),
    };
    let (json_rpc, methods) = match kind {
        Kind::JsonRpc => (true, JSON_RPC_METHODS),
        Kind::Http => (false, HTTP_METHODS),
        Kind::Own => (false, OWN_METHODS),
    };
    let edited = Edited { json_rpc, cors: table.cors.is_some() };
    let response_headers =
        header_edits(key.name("response_headers"), table.response_headers.as_ref(), edited, report, sources);
    let cors: Option<Cors> = match &table.cors {
        Some(table) => Some(cors(key.name("cors"), table, methods, report)?),
        None => None,
    };
    Some(Route { hosts: hosts?, path_prefix: prefix?, target: target?, response_headers, cors })
}

/// The side that answers the requests of a route.
enum Kind {
    JsonRpc,
    Http,
    Own,
}

fn upstream_target(
    key: Key<'_>,
    table: &Table<file::Route>,
    file: &File,
    report: &mut Report<'_>,
    sources: &Sources<'_>,
) -> (Option<RouteTarget>, Kind) {
    let name = upstream(key, table, file, report);
    let conf = file.upstreams.iter().find(|(known, _)| Some(known.get_ref()) == name.as_ref());
    let json_rpc = conf.is_some_and(|(_, conf)| conf.protocol.get_ref() == "json-rpc");
    let edited = Edited { json_rpc, cors: false };
    let target = RouteTarget::Upstream {
        accept_any_content_type: match &table.accept_any_content_type {
            Some(written) => *written.get_ref(),
            None => name.as_ref().is_some_and(|name| accepts_any_content_type(name, file)),
        },
        replace_prefix: prefix_replacement(key, table, json_rpc, report),
        request_headers: header_edits(
            key.name("request_headers"),
            table.request_headers.as_ref(),
            edited,
            report,
            sources,
        ),
        name: name.clone().unwrap_or_default(),
    };
    (name.map(|_| target), if json_rpc { Kind::JsonRpc } else { Kind::Http })
}

fn accepts_any_content_type(upstream: &str, file: &File) -> bool {
    file.upstreams.iter().any(|(name, table)| name.get_ref() == upstream && table.accept_any_content_type)
}

fn upstream(key: Key<'_>, table: &Table<file::Route>, file: &File, report: &mut Report<'_>) -> Option<String> {
    let Some(name) = &table.upstream else {
        report.add(key.name("upstream"), table.span(), "is missing; add upstream = \"NAME\", or respond");
        return None;
    };
    let known = file.upstreams.keys().map(|name| name.get_ref().as_str());
    report.reference(key.name("upstream"), name, "upstreams", known).then(|| name.get_ref().clone())
}

/// Keys that concern endpoints have no effect beside `respond`.
fn refuse_beside_respond(key: Key<'_>, table: &file::Route, report: &mut Report<'_>) {
    let written = [
        ("upstream", table.upstream.as_ref().map(Spanned::span)),
        ("accept_any_content_type", table.accept_any_content_type.as_ref().map(Spanned::span)),
        ("strip_prefix", table.strip_prefix.as_ref().map(Spanned::span)),
        ("replace_prefix", table.replace_prefix.as_ref().map(Spanned::span)),
        ("request_headers", table.request_headers.as_ref().map(Table::span)),
    ];
    for (name, span) in written {
        if let Some(span) = span {
            report.add(key.name(name), span, "contradicts respond, which asks no endpoint; remove one of them");
        }
    }
}

fn hosts(key: Key<'_>, table: &file::Route, report: &mut Report<'_>) -> Option<Vec<HostPattern>> {
    let Some(written) = &table.hosts else { return Some(Vec::new()) };
    if written.get_ref().is_empty() {
        report.add(key, written.span(), "must hold at least one host; leave it out for every host");
    } else if written.get_ref().len() > MAX_HOSTS {
        report.add(key, written.span(), format!("must hold at most {MAX_HOSTS} hosts; use *.NAME for those below one"));
    }
    let mut hosts: Vec<HostPattern> = Vec::with_capacity(written.get_ref().len());
    for (index, text) in written.get_ref().iter().enumerate() {
        match host_pattern(text.get_ref()) {
            Ok(host) if hosts.contains(&host) => report.add(key.item(index), text.span(), "is there twice; remove one"),
            Ok(host) => hosts.push(host),
            Err(message) => report.add(key.item(index), text.span(), message),
        }
    }
    Some(hosts).filter(|hosts| !hosts.is_empty())
}

/// The hosts and prefixes so far, with the index of their route.
#[derive(Default)]
struct Seen(HashMap<(Option<HostPattern>, String), usize>);

impl Seen {
    /// Whether no earlier route matches the same requests just as well.
    fn check(
        &mut self,
        key: Key<'_>,
        index: usize,
        table: &Table<file::Route>,
        route: &Route,
        report: &mut Report<'_>,
    ) -> bool {
        let mut is_new = true;
        let hosts = route.hosts.iter().cloned().map(Some).chain(route.hosts.is_empty().then_some(None));
        for host in hosts {
            let written = host.as_ref().and_then(|host| written_host(table, host));
            let Some(first) = self.0.insert((host, route.path_prefix.clone()), index) else { continue };
            is_new = false;
            if let Some((at, span)) = written {
                let message = format!("has routes[{first}] for the same path_prefix already; remove one of them");
                report.add(key.name("hosts").item(at), span, message);
            } else {
                let span = table.path_prefix.as_ref().map_or(table.span(), Spanned::span);
                let message = format!("is the same as routes[{first}].path_prefix; remove one of them");
                report.add(key.name("path_prefix"), span, message);
            }
        }
        is_new
    }
}

/// Index and place of a host in the list of a route.
fn written_host(table: &file::Route, host: &HostPattern) -> Option<(usize, Range<usize>)> {
    let mut hosts = table.hosts.as_ref()?.get_ref().iter().enumerate();
    let (at, text) = hosts.find(|(_, text)| host_pattern(text.get_ref()).as_ref() == Ok(host))?;
    Some((at, text.span()))
}
