#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::path::Path;

use super::*;
use crate::config;

fn cors(table: &str) -> Cors {
    let conf = format!(
        "[[upstreams.u.endpoints]]\nurl = 'http://h'\n\
         [[routes]]\npath_prefix = '/'\nupstream = 'u'\ncors = {{ {table} }}\n"
    );
    let conf = config::parse(&conf, Path::new("conf.toml"), &|_| None).unwrap_or_else(|error| panic!("{error}"));
    conf.routes[0].cors.clone().unwrap()
}

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn lines(answer: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> =
        answer.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

fn preflight(cors: &Cors, request: &[(&'static str, &'static str)]) -> Vec<String> {
    let mut answer = HeaderMap::new();
    answer_preflight(cors, &map(request), &mut answer);
    lines(&answer)
}

fn permitted(
    cors: &Cors,
    request: &[(&'static str, &'static str)],
    answer: &[(&'static str, &'static str)],
) -> Vec<String> {
    let mut answer = map(answer);
    permit(cors, &map(request), &mut answer);
    lines(&answer)
}

const APP: (&str, &str) = ("origin", "https://app.example.com");
const EVIL: (&str, &str) = ("origin", "https://evil.org");
const ASKED: &str = "vary: origin, access-control-request-method, access-control-request-headers";

#[test]
fn a_question_is_an_options_request_with_two_headers() {
    let method = ("access-control-request-method", "POST");
    assert!(is_preflight(&Method::OPTIONS, &map(&[APP, method])));
    assert!(!is_preflight(&Method::POST, &map(&[APP, method])));
    assert!(!is_preflight(&Method::OPTIONS, &map(&[APP])));
    assert!(!is_preflight(&Method::OPTIONS, &map(&[method])));
}

#[test]
fn a_question_is_answered_by_what_the_conf_allows() {
    let one = cors("origins = ['https://app.example.com'], headers = ['Content-Type', 'x-key'], max_age = '2h'");
    let expected = [
        "access-control-allow-headers: content-type, x-key",
        "access-control-allow-methods: POST",
        "access-control-allow-origin: https://app.example.com",
        "access-control-max-age: 7200",
        ASKED,
    ];
    assert_eq!(preflight(&one, &[APP]), expected);
    for refused in [vec![], vec![EVIL], vec![APP, APP], vec![APP, EVIL], vec![("origin", "null")]] {
        assert_eq!(preflight(&one, &refused), [ASKED], "{refused:?}");
    }

    let with_credentials = cors("origins = ['https://app.example.com'], credentials = true, headers = []");
    let expected = [
        "access-control-allow-credentials: true",
        "access-control-allow-methods: POST",
        "access-control-allow-origin: https://app.example.com",
        "access-control-max-age: 600",
        ASKED,
    ];
    assert_eq!(preflight(&with_credentials, &[APP]), expected);

    let all = preflight(&cors("origins = ['https://app.example.com', '*']"), &[EVIL]);
    assert!(all.contains(&"access-control-allow-origin: *".to_owned()), "{all:?}");
    assert!(all.contains(&"access-control-allow-headers: content-type".to_owned()), "{all:?}");
}

#[test]
fn any_header_means_those_that_the_page_asks_for() {
    let any = cors("origins = ['*'], headers = ['*']");
    let allowed = |asked: &'static str| {
        let lines = preflight(&any, &[APP, ("access-control-request-headers", asked)]);
        lines.into_iter().find_map(|line| Some(line.strip_prefix("access-control-allow-headers: ")?.to_owned()))
    };
    assert_eq!(allowed("authorization,solana-client").as_deref(), Some("authorization,solana-client"));
    assert_eq!(allowed("a, b").as_deref(), Some("a, b"));
    for odd in ["", "a b", "a,,b", "a: b", "a;b"] {
        assert_eq!(allowed(odd), None, "{odd}");
    }
    assert_eq!(allowed(Box::leak("a,".repeat(600).into_boxed_str())), None);
}

#[test]
fn an_answer_carries_the_permission_in_place_of_the_endpoints_own() {
    let one = cors("origins = ['https://app.example.com'], credentials = true");
    let allowed = [
        "access-control-allow-credentials: true",
        "access-control-allow-origin: https://app.example.com",
        "access-control-expose-headers: x-a",
        "vary: accept-encoding",
        "vary: origin",
    ];
    let endpoints = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-origin", "https://evil.org"),
        ("access-control-allow-methods", "DELETE"),
        ("access-control-expose-headers", "x-a"),
        ("vary", "accept-encoding"),
    ];
    assert_eq!(permitted(&one, &[APP], &endpoints), allowed);
    // Also for a request without an origin: a cache may keep the answer for another page.
    for other in [vec![], vec![EVIL]] {
        assert_eq!(permitted(&one, &other, &endpoints), allowed[2..], "{other:?}");
    }
    let any = cors("origins = ['*']");
    for other in [vec![], vec![EVIL]] {
        assert_eq!(permitted(&any, &other, &[]), ["access-control-allow-origin: *"]);
    }
}

#[test]
fn origins_are_compared_whole() {
    let some = cors("origins = ['https://app.example.com', 'https://*.example.org:8443', 'http://localhost:3000']");
    for (origin, expected) in [
        ("https://app.example.com", true),
        ("HTTPS://APP.example.com", true),
        ("https://a.example.org:8443", true),
        ("https://a.b-c.example.org:8443", true),
        ("http://localhost:3000", true),
        ("http://app.example.com", false),
        ("https://app.example.com.evil.org", false),
        ("https://app.example.com:8443", false),
        ("https://app.example.com/", false),
        ("https://xapp.example.com", false),
        ("https://example.org:8443", false),
        ("https://.example.org:8443", false),
        ("https://a.example.org", false),
        ("https://a.example.org:84430", false),
        ("https://evilexample.org:8443", false),
        ("https://evil.com/.example.org:8443", false),
        ("https://evil.com:1.example.org:8443", false),
        ("https://evil.com@a.example.org:8443", false),
        ("https://a..example.org:8443", false),
        ("http://localhost:3001", false),
        ("null", false),
        ("", false),
        ("*", false),
    ] {
        let headers = map(&[("origin", origin)]);
        assert_eq!(allowed_origin(&some, &headers).is_some(), expected, "{origin}");
        assert_eq!(may_upgrade(&some, &headers), expected, "{origin}");
    }
    assert!(may_upgrade(&some, &HeaderMap::new()));
    assert!(!may_upgrade(&some, &map(&[APP, APP])));
    assert!(may_upgrade(&cors("origins = ['*']"), &map(&[EVIL])));
}
