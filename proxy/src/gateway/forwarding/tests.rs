#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use super::*;

const RANDOM: u128 = 0xabc;
const NEW_ID: &str = "00000000000000000000000000000abc";

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

/// What an endpoint gets of these headers, in the order of names.
fn forwarded(peer: &str, lines: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let mut headers = map(lines);
    let client = ClientAddress::find(peer.parse().unwrap(), &["10.0.0.0/8".parse().unwrap()], &headers);
    let hop = Hop { client, tls: true, host: Some(b"rpc.example.com:443") };
    forwarding_headers(hop, &headers, || RANDOM).apply(&mut headers);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    all.sort();
    all
}

#[track_caller]
fn assert_forwarded(peer: &str, lines: &[(&'static str, &str)], expected: &[(&str, &str)]) {
    let found = forwarded(peer, lines);
    let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_client_of_its_own_says_nothing_about_itself() {
    let expected = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "rpc.example.com:443"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", NEW_ID),
    ];
    assert_forwarded("192.0.2.1", &[], &expected);
    let posing = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.org"),
        ("x-forwarded-port", "1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x_real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-request-id", "an id"),
    ];
    assert_forwarded("192.0.2.1", &posing, &expected);
}

#[test]
fn a_trusted_proxy_is_believed_and_appended() {
    let lines = [
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "198.51.100.1, 192.0.2.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-port", "80"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "192.0.2.1"),
        ("x-request-id", "any {id}"),
    ];
    let expected = [
        ("forwarded", "for=192.0.2.1, for=10.0.0.1;proto=https"),
        ("x-forwarded-for", "198.51.100.1, 192.0.2.1, 10.0.0.2, 10.0.0.1"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-port", "80"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "192.0.2.1"),
        ("x-request-id", "any {id}"),
    ];
    assert_forwarded("10.0.0.1", &lines, &expected);
}

#[test]
fn a_trusted_proxys_odd_values_are_replaced() {
    let odd = [
        ("x-forwarded-for", ""),
        ("x-forwarded-host", "a/b"),
        ("x-forwarded-proto", "https,http"),
        ("x-request-id", ""),
    ];
    let twice = [
        ("x-forwarded-host", "a"),
        ("x-forwarded-host", "b"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "a"),
        ("x-request-id", "b"),
    ];
    let expected = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "rpc.example.com:443"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", NEW_ID),
    ];
    assert_forwarded("10.0.0.1", &odd, &expected);
    assert_forwarded("10.0.0.1", &twice, &expected);
}

#[test]
fn a_chain_that_is_too_long_is_cut_to_the_client() {
    let of = |peer: &str, name: &'static str, value: &str| {
        let found = forwarded(peer, &[(name, value)]);
        found.into_iter().find(|(found, _)| found == name).unwrap().1
    };
    let most = format!("{}192.0.2.1", " ".repeat(MAX_CHAIN - 20) + "1.2.3.4, ");
    assert!(of("10.0.0.1", "x-forwarded-for", &most).starts_with("1.2.3.4, 192.0.2.1, 10"), "spaces don't count");
    let long = format!("{}192.0.2.1", "unknown, ".repeat(300));
    assert_eq!(of("10.0.0.1", "x-forwarded-for", &long), "192.0.2.1, 10.0.0.1");
    assert_eq!(of("10.0.0.1", "x-forwarded-for", &"x,".repeat(2_000)), "10.0.0.1");
    assert_eq!(of("10.0.0.1", "forwarded", &"for=x,".repeat(2_000)), "for=10.0.0.1;proto=https");
}

#[test]
fn a_usual_request_id_is_passed_on() {
    let long = "a".repeat(MAX_REQUEST_ID);
    for id in ["1", "0f8fad5b-d9cb-469f-a165-70867728950e", "Root=1-67891233:abc/def+g=", &long] {
        assert_eq!(forwarded("192.0.2.1", &[("x-request-id", id)])[3].1, id);
    }
    for id in ["", "a b", "a\"b", "é", "a,b", "<a>", &format!("{long}a")] {
        assert_eq!(forwarded("192.0.2.1", &[("x-request-id", id)])[3].1, NEW_ID, "{id}");
    }
}

#[test]
fn a_request_without_a_host_has_none_to_forward() {
    let client = ClientAddress::find("::1".parse().unwrap(), &["::1/128".parse().unwrap()], &HeaderMap::new());
    for host in [None, Some(b"".as_slice())] {
        let mut headers = map(&[("forwarded", "for=a")]);
        forwarding_headers(Hop { client, tls: false, host }, &headers.clone(), || RANDOM).apply(&mut headers);
        assert!(!headers.contains_key("x-forwarded-host"));
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["forwarded"], "for=a, for=\"[::1]\";proto=http");
    }
}

#[test]
fn an_address_is_written_as_usual() {
    for address in ["0.0.0.0", "10.0.200.7", "255.255.255.255", "::1", "2001:db8::1"] {
        assert_eq!(text_of(address.parse().unwrap()), address);
    }
}
