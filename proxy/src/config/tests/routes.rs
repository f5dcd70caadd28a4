//! Routes: their keys, defaults and problems.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::super::*;
use super::{MINIMAL, accepted, assert_added, assert_problems, refused};

/// The only route of a conf.
#[track_caller]
fn route(keys: &str) -> Route {
    let mut config = accepted(&format!("{MINIMAL}[[routes]]\n{keys}"));
    assert_eq!(config.routes.len(), 1);
    config.routes.remove(0)
}

#[track_caller]
fn fixed(respond: &str) -> FixedAnswer {
    match route(&format!("path_prefix = '/'\nrespond = {respond}")).target {
        RouteTarget::Fixed(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_route_takes_any_content_type_if_it_or_else_its_upstream_says_so() {
    let takes_any = |route: &Route| matches!(route.target, RouteTarget::Upstream { accept_any_content_type: true, .. });
    let routes = "[[routes]]\npath_prefix = '/a'\nupstream = 'eth'\n\
                  [[routes]]\npath_prefix = '/b'\nupstream = 'eth'\naccept_any_content_type = true\n\
                  [[routes]]\npath_prefix = '/c'\nupstream = 'eth'\naccept_any_content_type = false\n";
    for (of_upstream, expected) in
        [("", [false, true, false]), ("accept_any_content_type = true\n", [true, true, false])]
    {
        let config = accepted(&format!("[upstreams.eth]\n{of_upstream}{MINIMAL}{routes}"));
        let taken: Vec<bool> = config.routes.iter().map(takes_any).collect();
        assert_eq!(taken, expected, "{of_upstream}");
    }
    let config = accepted(&format!("[upstreams.eth]\naccept_any_content_type = true\n{MINIMAL}"));
    assert!(takes_any(&config.routes[0]));
}

#[test]
fn routes_stand_longest_prefix_first() {
    let table = |prefix: &str| format!("[[routes]]\npath_prefix = '{prefix}'\nupstream = 'eth'\n");
    let config = accepted(&format!("{MINIMAL}{}", ["/", "/arb/one/", "/eth", "/arb"].map(table).concat()));
    let order: Vec<_> = config.routes.iter().map(|route| route.path_prefix.as_str()).collect();
    assert_eq!(order, ["/arb/one", "/arb", "/eth", "/"]);
}

#[test]
fn a_route_takes_what_is_written() {
    let route = route(
        "hosts = ['RPC.example.com', '*.example.org']\nupstream = 'eth'\n\
         request_headers = { set = { X-Key = 'env:TOKEN' }, remove = ['user-agent'] }\n\
         response_headers = { set = { x-by = 'us' }, remove = ['Server', 'x-b'] }\n",
    );
    assert_eq!(route.hosts, [HostPattern::Exact("rpc.example.com".into()), HostPattern::Below("example.org".into())]);
    assert_eq!(route.path_prefix, "/");
    let edits = |name: &str, value: &str, remove: &[&str]| HeaderEdits {
        set: vec![(name.parse().unwrap(), Secret::new(value.into()))],
        remove: remove.iter().map(|name| name.parse().unwrap()).collect(),
    };
    let expected = RouteTarget::Upstream {
        name: "eth".into(),
        accept_any_content_type: false,
        replace_prefix: None,
        request_headers: edits("x-key", "token-from-env", &["user-agent"]),
    };
    assert_eq!(route.target, expected);
    assert_eq!(route.response_headers, edits("x-by", "us", &["server", "x-b"]));
}

#[test]
fn an_answer_takes_what_is_written() {
    let answer =
        |status: u16, content_type: Option<&'static str>, location: Option<&'static str>, body: &'static str| {
            FixedAnswer {
                status: StatusCode::from_u16(status).unwrap(),
                content_type: content_type.map(HeaderValue::from_static),
                location: location.map(HeaderValue::from_static),
                body: body.into(),
            }
        };
    let text = Some("text/plain; charset=utf-8");
    assert_eq!(fixed("{}"), answer(200, None, None, ""));
    assert_eq!(fixed("{ status = 404, body = 'no' }"), answer(404, text, None, "no"));
    assert_eq!(
        fixed("{ body = '{}', content_type = 'application/json' }"),
        answer(200, Some("application/json"), None, "{}")
    );
    assert_eq!(fixed("{ location = 'https://h/a?b#c' }"), answer(307, None, Some("https://h/a?b#c"), ""));
    assert_eq!(fixed("{ status = 308, location = '/new', body = 'see' }"), answer(308, text, Some("/new"), "see"));
    assert_eq!(fixed("{ status = 201, location = '/new' }"), answer(201, None, Some("/new"), ""));
    assert_eq!(fixed("{ status = 204 }"), answer(204, None, None, ""));
    assert_eq!(route("path_prefix = '/health'\nrespond = 'health'").target, RouteTarget::Health);
}

#[test]
fn cors_takes_what_is_written() {
    let cors = |keys: &str| route(&format!("path_prefix = '/'\nupstream = 'eth'\ncors = {{ {keys} }}")).cors.unwrap();
    let expected = Cors {
        origins: Origins::Only(vec![OriginPattern::Exact("https://a.example.com".into())]),
        headers: CorsHeaders::Only(HeaderValue::from_static("content-type")),
        methods: HeaderValue::from_static("POST"),
        max_age: Duration::from_secs(600),
        credentials: false,
    };
    assert_eq!(cors("origins = ['https://A.example.com']"), expected);
    let full = cors(
        "origins = ['https://*.b.org', 'http://c:8080'], headers = ['X-A', 'b'], max_age = '0s', credentials = true",
    );
    let below = OriginPattern::Below { begin: "https://".into(), end: ".b.org".into() };
    let expected = Cors {
        origins: Origins::Only(vec![below, OriginPattern::Exact("http://c:8080".into())]),
        headers: CorsHeaders::Only(HeaderValue::from_static("x-a, b")),
        methods: HeaderValue::from_static("POST"),
        max_age: Duration::ZERO,
        credentials: true,
    };
    assert_eq!(full, expected);
    let any = cors("origins = ['*'], headers = ['*']");
    assert_eq!((any.origins, any.headers), (Origins::Any, CorsHeaders::Any));
    let fixed = route("path_prefix = '/'\nrespond = {}\ncors = { origins = ['*'] }").cors.unwrap();
    assert_eq!(fixed.methods, "GET, HEAD");
}

#[test]
fn routes_are_checked() {
    assert_added(&[
        ("««[[routes]]", &["routes[0].path_prefix: is missing", "routes[0].upstream: is missing"]),
        ("[[routes]]\nupstream = 'eth'\npath_prefix = «'eth'", &["routes[0].path_prefix: must begin with /"]),
        ("[[routes]]\nupstream = 'eth'\npath_prefix = «'/a?b'", &["routes[0].path_prefix: must be a plain path"]),
        ("[[routes]]\nupstream = 'eth'\npath_prefix = «'/a b'", &["routes[0].path_prefix: must be a plain path"]),
        ("[[routes]]\nupstream = 'eth'\npath_prefix = «'/a//b'", &["routes[0].path_prefix: must not hold //"]),
        ("[[routes]]\nupstream = 'eth'\npath_prefix = «'/a/../b'", &["routes[0].path_prefix: must not hold //"]),
    ]);
    assert_added(&[(
        "[[routes]]\nupstream = 'eth'\npath_prefix = '/a'\n[[routes]]\nupstream = 'eth'\npath_prefix = «'/a/'",
        &["routes[1].path_prefix: is the same as routes[0].path_prefix"],
    )]);
    assert_problems(
        "[[upstreams.a.endpoints]]\nurl = 'http://a'\n[[upstreams.«b.endpoints]]\nurl = 'http://b'\n",
        &["routes: must say which path leads to which upstream"],
    );
}

/// The problems of one route, behind its key.
#[track_caller]
fn assert_route(cases: &[(&str, &[&str])]) {
    for (keys, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|problem| format!("routes[0].{problem}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_problems(&format!("{MINIMAL}[[routes]]\n{keys}"), &expected);
    }
}

#[test]
fn hosts_are_checked() {
    assert_route(&[
        ("upstream = 'eth'\nhosts = «[]", &["hosts: must hold at least one host"]),
        (
            "upstream = 'eth'\nhosts = ['a', «'b:80', «'*']",
            &["hosts[1]: must be a host without", "hosts[2]: may have a *"],
        ),
        ("upstream = 'eth'\nhosts = ['a', «'A']", &["hosts[1]: is there twice"]),
        ("upstream = 'eth'\nhosts = «'a'", &["hosts: must be an array, not a string"]),
    ]);
    let two = |first: &str, second: &str| {
        format!("[[routes]]\nupstream = 'eth'\n{first}\n[[routes]]\nupstream = 'eth'\n{second}\n")
    };
    assert_added(&[
        (
            &two("hosts = ['a', 'b', '*.c']\npath_prefix = '/x'", "hosts = ['d', «'B', «'*.C']\npath_prefix = '/x/'"),
            &["routes[1].hosts[1]: has routes[0] for the same path_prefix", "routes[1].hosts[2]: has routes[0]"],
        ),
        (&two("hosts = ['a']", "hosts = [«'a']\npath_prefix = '/'"), &["routes[1].hosts[0]: has routes[0]"]),
    ]);
    for (first, second) in [
        ("hosts = ['a']", "hosts = ['b']"),
        ("hosts = ['a']", "path_prefix = '/'"),
        ("hosts = ['a.c']", "hosts = ['*.c']"),
        ("hosts = ['*.c']", "hosts = ['*.b.c']"),
        ("hosts = ['*.c']", "hosts = ['c']"),
        ("hosts = ['a']", "hosts = ['a']\npath_prefix = '/x'"),
    ] {
        assert_eq!(accepted(&format!("{MINIMAL}{}", two(first, second))).routes.len(), 2, "{first} {second}");
    }
}

#[test]
fn an_answer_of_the_proxys_own_is_checked() {
    assert_route(&[
        ("path_prefix = '/'\nrespond = «'ok'", &["respond: must be a table such as { status = 404"]),
        ("path_prefix = '/'\nrespond = { «body_text = 'a' }", &["respond.body_text: isn't a known key"]),
        ("path_prefix = '/'\nrespond = { status = «199 }", &["respond.status: must be at least 200"]),
        ("path_prefix = '/'\nrespond = { status = «600 }", &["respond.status: must be at most 599"]),
        ("path_prefix = '/'\nrespond = { status = «301 }", &["respond.status: is a redirect and needs location"]),
        (
            "path_prefix = '/'\nrespond = { status = 200, location = «'/' }",
            &["respond.location: needs a status of 201"],
        ),
        ("path_prefix = '/'\nrespond = { status = 204, body = «'a' }", &["respond.body: must be left out"]),
        (
            "path_prefix = '/'\nrespond = { body = 'a', content_type = «'html' }",
            &["respond.content_type: must be a media"],
        ),
    ]);
    for location in ["//evil.org", "\\\\/evil.org", "/\\\\evil.org", "javascript:alert(1)", "h/x", "", "/a b", "/é"] {
        let conf = format!("path_prefix = '/'\nrespond = {{ location = «\"{location}\" }}");
        assert_route(&[(&conf, &["respond.location: must be an http or https URL or a path"])]);
    }
    let conf = format!("path_prefix = '/'\nrespond = {{ body = «'{}' }}", "a".repeat((64 << 10) + 1));
    assert_route(&[(&conf, &["respond.body: must be at most 64 KiB"])]);
    assert_route(&[(
        "path_prefix = '/'\nrespond = 'health'\nupstream = «'eth'\naccept_any_content_type = «true\n\
         strip_prefix = «true\nreplace_prefix = «'/a'\nrequest_headers = «{ remove = ['a'] }",
        &[
            "upstream: contradicts respond",
            "accept_any_content_type: contradicts respond",
            "strip_prefix: contradicts respond",
            "replace_prefix: contradicts respond",
            "request_headers: contradicts respond",
        ],
    )]);
}

#[test]
fn changes_of_headers_are_checked() {
    for name in ["Connection", "keep-alive", "te", "Transfer-Encoding", "upgrade", "proxy-authorization", "trailer"] {
        for kind in ["request_headers", "response_headers"] {
            let set = format!("path_prefix = '/'\nupstream = 'eth'\n{kind} = {{ set = {{ «{name} = 'a' }} }}");
            assert_route(&[(&set, &[&format!("{kind}.set.{name}: belongs to a single connection")])]);
            let remove = format!("path_prefix = '/'\nupstream = 'eth'\n{kind} = {{ remove = ['a', «'{name}'] }}");
            assert_route(&[(&remove, &[&format!("{kind}.remove[1]: belongs to a single connection")])]);
        }
    }
    let of = |edits: &str| format!("path_prefix = '/'\nupstream = 'eth'\n{edits}");
    assert_route(&[
        (
            &of("request_headers = { set = { «host = 'a' } }"),
            &["request_headers.set.host: follows from the endpoint's URL"],
        ),
        (&of("request_headers = { remove = [«'expect'] }"), &["request_headers.remove[0]: is answered by the proxy"]),
        (
            &of("response_headers = { set = { «Content-Length = '1' } }"),
            &["response_headers.set.Content-Length: follows"],
        ),
        (
            &of("response_headers = { remove = [«'sec-websocket-key'] }"),
            &["response_headers.remove[0]: belongs to the hand"],
        ),
        (
            &of("request_headers = { set = { «accept-encoding = 'gzip' } }"),
            &["request_headers.set.accept-encoding: must stay"],
        ),
        (
            &of("response_headers = { remove = [«'content-type'] }"),
            &["response_headers.remove[0]: must stay with protocol"],
        ),
        (
            &of("request_headers = { set = { «'a b' = 'c' } }"),
            &["request_headers.set.\"…\": isn't the name of a header"],
        ),
        (&of("request_headers = { set = { X-A = 'b', «x-a = 'c' } }"), &["request_headers.set.x-a: is there twice"]),
        (&of("request_headers = { remove = ['X-A', «'x-a'] }"), &["request_headers.remove[1]: is there twice"]),
        (
            &of("request_headers = { set = { x-a = 'b' }, remove = [«'X-A'] }"),
            &["request_headers.remove[0]: is in set, too"],
        ),
        (
            &of("request_headers = { set = { x-a = «\"a\\nb\" } }"),
            &["request_headers.set.x-a: must be printable ASCII"],
        ),
        (
            &of("request_headers = { set = { x-a = «'env:UNSET' } }"),
            &["request_headers.set.x-a: the environment variable"],
        ),
        (&of("request_headers = «'x-a'"), &["request_headers: must be a table"]),
        (
            &of("cors = { origins = ['*'] }\nresponse_headers = { remove = [«'access-control-allow-origin'] }"),
            &["response_headers.remove[0]: contradicts the route's cors"],
        ),
    ]);
    assert_eq!(
        route(&of("response_headers = { set = { access-control-allow-origin = '*' } }")).response_headers.set.len(),
        1
    );
    // An answer of the proxy's own may say what its body is.
    let own = "path_prefix = '/'\nrespond = { body = 'a' }\nresponse_headers = { set = { content-encoding = 'br' } }";
    assert_eq!(route(own).response_headers.set.len(), 1);
}

#[test]
fn cors_is_checked() {
    let of = |keys: &str| format!("path_prefix = '/'\nupstream = 'eth'\ncors = {keys}");
    assert_route(&[
        (&of("«{}"), &["cors.origins: is missing"]),
        (&of("{ origins = «[] }"), &["cors.origins: is empty"]),
        (&of("{ origins = ['https://a', «'a.example.com'] }"), &["cors.origins[1]: must be an origin such as"]),
        (&of("{ origins = [«'null'] }"), &["cors.origins[0]: names no site"]),
        (&of("{ origins = [«'https://a/'] }"), &["cors.origins[0]: must end after host and port"]),
        (&of("{ origins = ['https://a', «'https://A:443'] }"), &["cors.origins[1]: is there twice"]),
        (&of("{ origins = ['*'], credentials = «true }"), &["cors.credentials: can't go with the origin \"*\""]),
        (
            &of("{ origins = ['*'], headers = ['x-a', «'X-A', «'a b'] }"),
            &["cors.headers[1]: is there", "cors.headers[2]: isn't"],
        ),
        (&of("{ origins = ['*'], max_age = «'25h' }"), &["cors.max_age: must be at most 1day"]),
        (&of("{ origins = ['*'], max_age = «600 }"), &["cors.max_age: must be a duration"]),
    ]);
}

#[test]
fn a_path_is_changed_for_endpoints_of_protocol_http_only() {
    assert_route(&[
        ("path_prefix = '/a'\nupstream = 'eth'\nstrip_prefix = «true", &["strip_prefix: has no effect with protocol"]),
        (
            "path_prefix = '/a'\nupstream = 'eth'\nreplace_prefix = «'/b'",
            &["replace_prefix: has no effect with protocol"],
        ),
    ]);
    assert_eq!(route("path_prefix = '/a'\nupstream = 'eth'\nstrip_prefix = false").path_prefix, "/a");
    let http = |keys: &str| {
        let conf = format!(
            "{MINIMAL}[upstreams.eth]\nprotocol = 'http'\n[[routes]]\npath_prefix = '/a'\nupstream = 'eth'\n{keys}"
        );
        let problems = super::read(&conf).map_or_else(|error| error.problems().to_vec(), |_| Vec::new());
        let of_route = problems.into_iter().filter(|problem| problem.key.starts_with("routes"));
        of_route.map(|problem| format!("{}: {}", problem.key, problem.message)).collect::<Vec<_>>()
    };
    for good in [
        "strip_prefix = true",
        "replace_prefix = '/'",
        "replace_prefix = '/v2/x'",
        "strip_prefix = false\nreplace_prefix = '/b'",
    ] {
        assert_eq!(http(good), [""; 0], "{good}");
    }
    assert!(http("strip_prefix = true\nreplace_prefix = '/b'")[0].starts_with("routes[0].strip_prefix: contradicts"));
    assert!(http("replace_prefix = 'b'")[0].starts_with("routes[0].replace_prefix: must begin with /"));
    assert!(http("replace_prefix = '/a?b'")[0].starts_with("routes[0].replace_prefix: must be a plain path"));
    // There, and only there, an operator may also say what bodies are.
    assert_eq!(http("request_headers = { set = { content-type = 'a/b' } }"), [""; 0]);
}

#[test]
fn a_route_needs_a_prefix_unless_it_has_hosts_and_an_upstream_unless_it_answers() {
    let problems = refused(&format!("{MINIMAL}[[routes]]\nhosts = ['a']"));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "routes[0].upstream");
    let problems = refused(&format!("{MINIMAL}[[routes]]\nrespond = 'health'"));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "routes[0].path_prefix");
}
