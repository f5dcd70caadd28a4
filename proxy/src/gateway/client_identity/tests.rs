#![allow(clippy::unwrap_used, reason = "a test that can't go on must fail")]

use std::net::Ipv4Addr;

use fastrand::Rng;
use http::HeaderValue;

use super::*;

const TRUSTED: [&str; 3] = ["10.0.0.0/8", "::1/128", "2001:db8::/32"];

fn trusted() -> Vec<IpNet> {
    TRUSTED.iter().map(|network| network.parse().unwrap()).collect()
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
    ClientAddress::find(peer.parse().unwrap(), &trusted(), &map(lines)).address.to_string()
}

#[test]
fn the_client_is_the_right_most_address_that_is_not_trusted() {
    for (peer, chain, expected) in [
        // Nobody vouches for these.
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("192.0.2.1", "10.0.0.1", "192.0.2.1"),
        // One trusted proxy, and several; what a client writes itself doesn't count.
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1,192.0.2.1 , 10.0.0.2,\t10.0.0.3", "192.0.2.1"),
        ("10.0.0.1", "10.9.9.9, 192.0.2.1", "192.0.2.1"),
        // All are trusted: the one that is farthest away.
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        // Families, ports and brackets.
        ("::1", "2001:db9::7", "2001:db9::7"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", "[2001:db9::7]:4711", "2001:db9::7"),
        ("10.0.0.1", "[2001:db9::7]", "2001:db9::7"),
        // Something that is no address: the last proxy that was reached.
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "192.0.2.1,", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, ,10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "192.0.2.1;10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.300", "10.0.0.1"),
        ("10.0.0.1", "é, \u{ff}", "10.0.0.1"),
    ] {
        assert_eq!(client(peer, &[("x-forwarded-for", chain)]), expected, "{peer}: {chain:?}");
    }
    assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
}

#[test]
fn several_lines_are_one_chain() {
    let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "192.0.2.2, 10.0.0.2")];
    assert_eq!(client("10.0.0.1", &lines), "192.0.2.2");
    let lines = [("forwarded", "for=192.0.2.1"), ("forwarded", "for=192.0.2.2, for=10.0.0.2")];
    assert_eq!(client("10.0.0.1", &lines), "192.0.2.2");
}

#[test]
fn forwarded_is_read_as_its_rfc_says() {
    for (line, expected) in [
        ("for=192.0.2.1", "192.0.2.1"),
        ("for=198.51.100.1, for=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
        ("proto=https ; FOR = \"192.0.2.1:80\"", "192.0.2.1"),
        ("For=\"[2001:db9::7]:4711\"", "2001:db9::7"),
        ("for=\"[2001:db9::7]\"", "2001:db9::7"),
        ("for=192.0.2.1;host=\"a,b;for=198.51.100.1\"", "192.0.2.1"),
        ("for=192.0.2.1;host=\"\\\",for=198.51.100.1\", for=10.0.0.2", "192.0.2.1"),
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("proto=https", "10.0.0.1"),
        ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1"),
        ("for=\"192.0.2.1", "10.0.0.1"),
        ("for=192.0.2.1, host=\"", "10.0.0.1"),
        ("for=", "10.0.0.1"),
        ("", "10.0.0.1"),
    ] {
        assert_eq!(client("10.0.0.1", &[("forwarded", line)]), expected, "{line}");
    }
    let both = [("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(client("10.0.0.1", &both), "192.0.2.1");
}

#[test]
fn a_long_chain_is_followed_only_so_far() {
    let chain: Vec<String> = (0..4_000).rev().map(|hop| Ipv4Addr::from(0x0a00_0000 + hop).to_string()).collect();
    let expected = Ipv4Addr::from(0x0a00_0000 + u32::try_from(MAX_HOPS).unwrap() - 1).to_string();
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &chain.join(","))]), expected);
    let forwarded: Vec<String> = chain.iter().map(|address| format!("for={address}")).collect();
    assert_eq!(client("10.0.0.1", &[("forwarded", &forwarded.join(", "))]), expected);
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &",".repeat(60_000))]), "10.0.0.1");
}

/// Compared with a search that reads a chain from the left, and `Forwarded` with the other header.
#[test]
fn random_chains_lead_to_the_client_that_a_slow_search_finds() {
    let pieces =
        ["10.0.0.2", "10.7.0.1", "2001:db8::3", "::1", "192.0.2.1", "198.51.100.9", "2001:db9::7", "unknown", "", "1"];
    let mut random = Rng::with_seed(5);
    for _ in 0..20_000 {
        let chain: Vec<&str> = (0..random.usize(1..8)).map(|_| pieces[random.usize(..pieces.len())]).collect();
        let mut expected = "10.0.0.1";
        for (index, entry) in chain.iter().enumerate() {
            let is_trusted = |entry: &&str| ["10.", "2001:db8:", "::1"].iter().any(|begin| entry.starts_with(begin));
            let is_address = |entry: &&str| entry.contains(['.', ':']);
            let after = &chain[index + 1..];
            let is_reached = after.iter().all(is_trusted) && is_address(entry);
            if is_reached {
                expected = entry;
                break;
            }
        }
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &chain.join(", "))]), expected, "{chain:?}");
        let quoted: Vec<String> = chain
            .iter()
            .map(|entry| if entry.contains(':') { format!("for=\"[{entry}]\"") } else { format!("for={entry}") })
            .collect();
        assert_eq!(client("10.0.0.1", &[("forwarded", &quoted.join(", "))]), expected, "{quoted:?}");
        assert_eq!(client("192.0.2.77", &[("x-forwarded-for", &chain.join(", "))]), "192.0.2.77");
    }
}

#[test]
fn the_client_key_is_of_the_value_that_the_conf_names() {
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let by_header = ClientKeySource::Header("x-api-key".parse().unwrap());
    let find = |source, headers: &HeaderMap, certificate: Option<&'static [u8]>| {
        let material = ClientKeyMaterial::find(source, address, headers, certificate);
        (format!("{material:?}"), material.hash(ClientKey([7; 16])))
    };
    let (key, none) = (map(&[("x-api-key", " one "), ("x-api-key", "two")]), HeaderMap::new());
    let by_address = find(&ClientKeySource::Address, &key, Some(b"cert"));
    assert_eq!(by_address.0, "Address(192.0.2.1)");
    assert_eq!(find(&by_header, &none, Some(b"cert")), by_address);
    assert_eq!(find(&by_header, &map(&[("x-api-key", " ")]), None), by_address);
    assert_eq!(find(&ClientKeySource::Certificate, &key, None), by_address);
    let header = find(&by_header, &key, None);
    assert_eq!(header, find(&by_header, &map(&[("x-api-key", "one")]), None));
    let certificate = find(&ClientKeySource::Certificate, &key, Some(b"one"));
    assert_eq!(std::collections::HashSet::from([by_address.1, header.1, certificate.1]).len(), 3);
    // A header can't take an address's key.
    let posing = map(&[("x-api-key", "192.0.2.1")]);
    assert_ne!(find(&by_header, &posing, None).1, by_address.1);
    let material = ClientKeyMaterial::Address(address);
    assert_ne!(material.hash(ClientKey([7; 16])), material.hash(ClientKey([8; 16])));
}
