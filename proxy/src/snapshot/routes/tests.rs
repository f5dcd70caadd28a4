#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use fastrand::Rng;

use super::super::fixture::routes;
use super::*;
use crate::upstream::fixture;

/// A route with its name as its answer.
fn table(name: &str, hosts: &str, prefix: &str) -> String {
    let hosts = if hosts.is_empty() { String::new() } else { format!("hosts = [{hosts}]\n") };
    format!("[[routes]]\n{hosts}path_prefix = '{prefix}'\nrespond = {{ body = '{name}' }}\n")
}

fn name_of(route: &Route) -> String {
    match &route.target {
        Target::Fixed(answer) => String::from_utf8(answer.body.to_vec()).unwrap(),
        _ => panic!("another target"),
    }
}

fn found(routes: &Routes, host: &str, path: &str) -> String {
    let Some(route) = routes.find(Some(host.as_bytes()), path) else { return "none".to_owned() };
    let name = name_of(route);
    assert_eq!(routes.by_id(route.id).map(name_of).as_ref(), Some(&name));
    name
}

#[test]
fn the_most_specific_host_wins_and_then_the_longest_prefix() {
    let routes = routes(
        &[
            table("any", "", "/"),
            table("any/eth", "", "/eth"),
            table("exact", "'rpc.example.com'", "/eth/v1"),
            table("near", "'*.rpc.example.com', '*.other.org'", "/"),
            table("far", "'*.example.com'", "/eth"),
        ]
        .concat(),
    );
    for (host, path, expected) in [
        ("rpc.example.com", "/eth/v1/x", "exact"),
        ("RPC.Example.COM:8549", "/eth/v1", "exact"),
        ("rpc.example.com.", "/eth/v1", "exact"),
        ("rpc.example.com.:80", "/eth/v1", "exact"),
        // The wildcard serves what the exact host's routes don't, and no host what it doesn't.
        ("rpc.example.com", "/eth/v12", "far"),
        ("rpc.example.com", "/ether", "any"),
        ("a.rpc.example.com", "/x", "near"),
        ("a.b.rpc.example.com", "/eth", "near"),
        ("a.other.org", "/eth", "near"),
        ("a.example.com", "/eth", "far"),
        ("a.example.com", "/x", "any"),
        ("example.com", "/eth/x", "any/eth"),
        ("xexample.com", "/eth/x", "any/eth"),
        ("rpc.example.com.evil.org", "/eth/v1", "any/eth"),
        ("", "/eth", "any/eth"),
        ("[::1]:80", "/x", "any"),
        ("[::1", "/x", "any"),
        ("..", "/x", "any"),
    ] {
        assert_eq!(found(&routes, host, path), expected, "{host} {path}");
    }
    assert_eq!(routes.find(None, "/eth").map(name_of).unwrap(), "any/eth");
}

#[test]
fn addresses_are_hosts() {
    let routes = routes(&table("six", "'[2001:DB8::1]'", "/").replace("path_prefix = '/'\n", ""));
    assert_eq!(found(&routes, "[2001:db8::1]:8549", "/x"), "six");
    assert_eq!(found(&routes, "[2001:db8::2]", "/x"), "none");
    assert_eq!(found(&routes, "[2001:db8::1].com", "/x"), "six", "framing refuses such a host before");
    assert!(routes.find(None, "/x").is_none());
}

/// Without hosts in the conf not even a broken host is looked at.
#[test]
fn without_hosts_the_table_of_hosts_does_not_exist() {
    assert!(routes(&table("any", "", "/")).by_host.is_none());
    assert!(routes(&table("any", "'a'", "/")).by_host.is_some());
}

#[test]
fn a_prefix_is_kept_stripped_or_replaced() {
    let route = |prefix: &str, replacement: Option<&str>| Route {
        id: RouteId(0),
        prefix: prefix.trim_end_matches('/').to_owned(),
        target: Target::Upstream(UpstreamTarget {
            upstream: fixture::upstream("", &[1]),
            accept_any_content_type: false,
            request_headers: HeaderEdits::default(),
            replacement: replacement.map(str::to_owned),
        }),
        response_headers: HeaderEdits::default(),
        cors: None,
    };
    for (prefix, replacement, path, expected) in [
        ("/eth", None, "/eth/x", "/eth/x"),
        ("/eth", Some(""), "/eth/x", "/x"),
        ("/eth", Some(""), "/eth/", "/"),
        ("/eth", Some(""), "/eth", "/"),
        ("/eth", Some("/v2"), "/eth", "/v2"),
        ("/eth", Some("/v2"), "/eth/", "/v2/"),
        ("/eth", Some("/v2"), "/eth/eth/x", "/v2/eth/x"),
        ("/", Some(""), "/x", "/x"),
        ("/", Some("/v2"), "/x", "/v2/x"),
        ("/", Some("/v2"), "/", "/v2/"),
    ] {
        assert_eq!(route(prefix, replacement).upstream_path(path), expected, "{prefix} {replacement:?} {path}");
    }
    let fixed = routes(&table("any", "", "/eth"));
    assert_eq!(fixed.all[0].upstream_path("/eth/x"), "/eth/x");
}

/// How well a route's host and prefix fit, by the definition; `None` if they don't.
fn rank(host: Option<&str>, prefix: &str, request_host: &str, path: &str) -> Option<(usize, usize, usize)> {
    let segments = |path: &str| -> Vec<String> {
        path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
    };
    if !segments(path).starts_with(&segments(prefix)) {
        return None;
    }
    let request: Vec<&str> = request_host.split('.').collect();
    let (class, length) = match host.map(|host| host.split('.').collect::<Vec<_>>()) {
        None => (0, 0),
        Some(host) if host == request => (2, 0),
        Some(host) if host[0] == "*" && request.len() >= host.len() && request.ends_with(&host[1..]) => (1, host.len()),
        Some(_) => return None,
    };
    Some((class, length, prefix.trim_end_matches('/').len()))
}

#[test]
fn random_routes_are_found_as_a_search_of_all_finds_them() {
    let hosts = ["a.b.c", "b.c", "c", "x.b.c", "*.b.c", "*.c", "*.a.b.c", "*.x.b.c"];
    let requests = ["a.b.c", "b.c", "c", "x.b.c", "y.b.c", "y.a.b.c", "z.y.b.c", "q.c", "q", "aa.b.c", "y.x.b.c"];
    let prefixes = ["/", "/p", "/p/q", "/p/q/r", "/pq"];
    let paths = ["/", "/p", "/p/", "/p/q", "/p/q/r/s", "/pq/x", "/pqr", "/q"];
    let mut random = Rng::with_seed(11);
    for _ in 0..300 {
        // Each pair of host and prefix belongs to at most one route.
        let mut pairs: Vec<(Option<&str>, &str)> = Vec::new();
        for prefix in prefixes {
            pairs.extend(hosts.iter().map(|host| (Some(*host), prefix)).chain([(None, prefix)]));
        }
        random.shuffle(&mut pairs);
        pairs.truncate(random.usize(1..12));
        let tables = pairs.iter().enumerate().map(|(index, (host, prefix))| {
            let host = host.map(|host| format!("'{host}'")).unwrap_or_default();
            table(&index.to_string(), &host, prefix)
        });
        let routes = routes(&tables.collect::<String>());
        for host in requests {
            for path in paths {
                let ranked = pairs
                    .iter()
                    .enumerate()
                    .filter_map(|(index, (of, prefix))| Some((rank(*of, prefix, host, path)?, index.to_string())));
                let expected = ranked.max().map_or_else(|| "none".to_owned(), |(_, name)| name);
                assert_eq!(found(&routes, host, path), expected, "{host} {path} {pairs:?}");
            }
        }
    }
}
