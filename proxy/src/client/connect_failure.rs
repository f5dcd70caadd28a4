//! Connection failures by kind, without addresses.

use std::io;
use std::net::SocketAddr;

use crate::model::OWN_LACK;

/// No address is known.
pub const UNRESOLVED: &str = "the host name has no address";
/// The endpoint answers in HTTP/1 where the conf says HTTP/2.
pub const NO_HTTP2: &str = "the endpoint doesn't speak HTTP/2";
pub(super) const TIMED_OUT: &str = "connect timed out";
const REFUSED: &str = "connection refused";
const NO_ROUTE: &str = "no route to the host";
const FAILED: &str = "connect failed";

/// The kind of a connection error of Pingora's. Its own message would hold the address.
pub(super) fn kind(error: &pingora::Error, address: SocketAddr) -> &'static str {
    use pingora::ErrorType as E;
    if is_own_lack_below(error, address) {
        return OWN_LACK;
    }
    match error.etype() {
        E::ConnectTimedout => TIMED_OUT,
        E::ConnectRefused => REFUSED,
        E::ConnectNoRoute => NO_ROUTE,
        E::TLSHandshakeFailure | E::TLSWantX509Lookup => "TLS handshake failed",
        E::TLSHandshakeTimedout => "TLS handshake timed out",
        E::InvalidCert => "certificate is not valid",
        _ => FAILED,
    }
}

/// The kind of an error without TLS.
pub(super) fn plain_kind(error: &io::Error, address: SocketAddr) -> &'static str {
    if is_own_lack(error, address) {
        return OWN_LACK;
    }
    match error.kind() {
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::ConnectionRefused => REFUSED,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => NO_ROUTE,
        _ => FAILED,
    }
}

/// Whether connecting failed because this process, or its machine, ran out of a resource. Without a
/// free port there is no local address to connect from; with IPv6 that error may also mean that the
/// machine has no IPv6.
fn is_own_lack(error: &io::Error, address: SocketAddr) -> bool {
    use nix::errno::Errno;
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS) => true,
        Some(Errno::EADDRNOTAVAIL) => address.is_ipv4(),
        _ => false,
    }
}

/// The same for a Pingora error, whose causes include the system's.
fn is_own_lack_below(error: &pingora::Error, address: SocketAddr) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.root_cause());
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| is_own_lack(error, address)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_has_the_same_words_as_what_pingora_says() {
        use io::ErrorKind as E;
        let said = [E::TimedOut, E::ConnectionRefused, E::HostUnreachable, E::NetworkUnreachable, E::OutOfMemory];
        let words = said.map(|kind| plain_kind(&kind.into(), ([127, 0, 0, 1], 1).into()));
        assert_eq!(
            words,
            ["connect timed out", "connection refused", NO_ROUTE, "no route to the host", "connect failed"]
        );
    }

    #[test]
    fn what_the_proxy_lacks_is_told_apart() {
        use nix::errno::Errno as E;
        let [v4, v6]: [SocketAddr; 2] = ["127.0.0.1:1", "[::1]:1"].map(|address| address.parse().unwrap());
        for (errno, address, is_ours) in [
            (E::EMFILE, v4, true),
            (E::ENFILE, v6, true),
            (E::ENOMEM, v4, true),
            (E::ENOBUFS, v4, true),
            (E::EADDRNOTAVAIL, v4, true),
            (E::EADDRNOTAVAIL, v6, false),
            (E::ECONNREFUSED, v4, false),
            (E::EHOSTUNREACH, v4, false),
        ] {
            let error = || io::Error::from_raw_os_error(errno as i32);
            assert_eq!(plain_kind(&error(), address) == OWN_LACK, is_ours, "{errno}");
            let below = pingora::Error::because(pingora::ErrorType::SocketError, "no socket", error());
            let wrapped = pingora::Error::because(pingora::ErrorType::ConnectError, "no connection", below);
            assert_eq!(kind(&wrapped, address) == OWN_LACK, is_ours, "{errno}");
        }
    }
}
