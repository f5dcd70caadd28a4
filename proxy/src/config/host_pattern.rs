//! Hosts as routes and origins write them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::HostPattern;

/// Length of a host name (RFC 1035).
const LONGEST_HOST: usize = 253;

/// Parses `rpc.example.com`, `192.0.2.1`, `[2001:db8::1]` or `*.example.com`.
///
/// # Errors
/// What is wrong, for a message.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, &'static str> {
    let name = text.to_ascii_lowercase();
    if let Some(inner) = name.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        // Browsers and clients write the address in its shortest form.
        return address
            .map(|address| HostPattern::Exact(format!("[{address}]")))
            .ok_or("isn't an IPv6 address in brackets without a port, such as \"[2001:db8::1]\"");
    }
    if name.parse::<Ipv6Addr>().is_ok() {
        return Err("must be in brackets, such as \"[2001:db8::1]\"");
    }
    if name.contains(':') {
        return Err("must be a host without a port, since the port of a request isn't compared");
    }
    let (base, is_wildcard) = match name.strip_prefix("*.") {
        Some(base) => (base, true),
        None => (name.as_str(), false),
    };
    if base.contains('*') {
        return Err("may have a * only as its whole first label, such as \"*.example.com\"");
    }
    if !is_name(base) {
        return Err("isn't a host: use letters, digits, - and _ between dots; other letters as punycode (xn--…)");
    }
    if is_wildcard && base.parse::<Ipv4Addr>().is_ok() {
        return Err("must not have a * before an address");
    }
    Ok(if is_wildcard { HostPattern::Below(base.to_owned()) } else { HostPattern::Exact(base.to_owned()) })
}

fn is_name(name: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.len() <= LONGEST_HOST && name.split('.').all(|label| !label.is_empty() && label.bytes().all(fit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_an_address_or_a_wildcard() {
        for (text, expected) in [
            ("rpc.example.com", HostPattern::Exact("rpc.example.com".into())),
            ("RPC.Example.com", HostPattern::Exact("rpc.example.com".into())),
            ("localhost", HostPattern::Exact("localhost".into())),
            ("my_node-1", HostPattern::Exact("my_node-1".into())),
            ("192.0.2.1", HostPattern::Exact("192.0.2.1".into())),
            ("[2001:DB8:0::1]", HostPattern::Exact("[2001:db8::1]".into())),
            ("*.example.com", HostPattern::Below("example.com".into())),
            ("*.COM", HostPattern::Below("com".into())),
        ] {
            assert_eq!(host_pattern(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_host() {
        let long = "a.".repeat(127);
        for text in [
            "",
            "*",
            "*.",
            "*.*.example.com",
            "a.*.example.com",
            "rpc*.example.com",
            "*example.com",
            ".example.com",
            "example.com.",
            "a..b",
            "a b",
            "a/b",
            "http://a",
            "a:80",
            "::1",
            "[::1",
            "[::1]:80",
            "[a]",
            "*.192.0.2.1",
            "*.[::1]",
            "bücher.example",
            &long,
        ] {
            assert!(host_pattern(text).is_err(), "{text}");
        }
    }
}
