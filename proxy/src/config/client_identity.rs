//! The settings by which a client is known.

use http::{HeaderName, header};
use ipnet::IpNet;

use super::ClientKeySource;
use super::report::{Key, Report};
use super::spanned::Spanned;

/// Each address of a chain is compared with all networks.
const MAX_NETWORKS: usize = 1_000;

pub(super) fn trusted_proxies(
    key: Key<'_>,
    file: &Spanned<Vec<Spanned<String>>>,
    report: &mut Report<'_>,
) -> Vec<IpNet> {
    if file.get_ref().len() > MAX_NETWORKS {
        report.add(key, file.span(), format!("must hold at most {MAX_NETWORKS} networks; join neighbours"));
    }
    let mut networks = Vec::with_capacity(file.get_ref().len());
    for (index, text) in file.get_ref().iter().enumerate() {
        match network(text.get_ref()) {
            Ok(network) => networks.push(network),
            Err(message) => report.add(key.item(index), text.span(), message),
        }
    }
    networks
}

/// Parses a network, or an address, which is a network of one.
fn network(text: &str) -> Result<IpNet, String> {
    let form = "must be an address or a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
    let network = match text.parse::<std::net::IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| form)?,
    };
    // Clients' addresses are compared in their IPv4 form.
    if let IpNet::V6(v6) = network
        && v6.addr().to_ipv4_mapped().is_some()
    {
        return Err("is an IPv4 network in the form of IPv6; write it as IPv4, such as \"10.0.0.0/8\"".to_owned());
    }
    if network.trunc() != network {
        return Err(format!("has address bits behind its prefix; write \"{}\"", network.trunc()));
    }
    Ok(network)
}

pub(super) fn client_key_source(key: Key<'_>, text: &Spanned<String>, report: &mut Report<'_>) -> ClientKeySource {
    let message = match text.get_ref().as_str() {
        "address" => return ClientKeySource::Address,
        "certificate" => return ClientKeySource::Certificate,
        other => match other.strip_prefix("header:").map(|name| HeaderName::from_bytes(name.as_bytes())) {
            Some(Ok(name)) if is_for_every_request(&name) => {
                "must not be a header that says nothing about the client; name one such as \"header:x-api-key\""
            }
            Some(Ok(name)) => return ClientKeySource::Header(name),
            Some(Err(_)) => "must name a header after header:, such as \"header:x-api-key\"",
            None => "must be \"address\", \"header:NAME\" or \"certificate\"",
        },
    };
    report.add(key, text.span(), message);
    ClientKeySource::Address
}

/// Headers whose value is the same for all clients, or differs with each request.
fn is_for_every_request(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::TRANSFER_ENCODING, header::CONNECTION]
        .contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_a_prefix() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("::1", "::1/128"),
            ("2001:DB8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(network(text).map(|network| network.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in
            ["", "10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "example.com", "*", "::1/129", "10.0.0.0/255.0.0.0"]
        {
            assert!(network(text).unwrap_err().starts_with("must be an address"), "{text}");
        }
        assert_eq!(network("10.1.2.3/8"), Err("has address bits behind its prefix; write \"10.0.0.0/8\"".to_owned()));
        assert!(network("::ffff:10.0.0.0/104").unwrap_err().contains("write it as IPv4"));
    }
}
