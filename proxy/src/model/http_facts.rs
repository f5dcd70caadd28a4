//! The HTTP side of a request, as policies see it. The numbers and the hash are those of the policy
//! ABI (sdk/ABI.md, section 4).

use std::borrow::Cow;
use std::sync::OnceLock;

use super::{MethodClass, RequestShape};

/// The protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON-RPC, single or in a batch.
    JsonRpc = 1,
    /// Any HTTP request.
    Http = 2,
    /// A gRPC call.
    Grpc = 3,
    /// A WebSocket connection.
    WebSocket = 4,
}

/// An HTTP method, as far as policies distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "RFC 9110 and RFC 5789 define them")]
pub enum HttpMethod {
    /// Any other method.
    Other = 0,
    Get = 1,
    Head = 2,
    Post = 3,
    Put = 4,
    Delete = 5,
    Connect = 6,
    Options = 7,
    Trace = 8,
    Patch = 9,
}

/// The facts of a request that come from its HTTP head.
#[derive(Clone, Debug)]
pub struct HttpFacts {
    /// The protocol.
    pub protocol: Protocol,
    /// The HTTP method.
    pub method: HttpMethod,
    path: Cow<'static, str>,
    /// Computed when the first policy reads it: a path can be long, and few policies do.
    path_hash: OnceLock<u64>,
    host_hash: u64,
}

const ROOT: &str = "/";
const ROOT_HASH: u64 = fnv1a(ROOT.as_bytes());

impl Protocol {
    /// The value in the policy ABI.
    pub const fn code(self) -> u32 {
        self as u32
    }
}

impl HttpMethod {
    /// The method of this name. Names are case-sensitive.
    pub fn named(name: &str) -> Self {
        match name {
            "GET" => HttpMethod::Get,
            "HEAD" => HttpMethod::Head,
            "POST" => HttpMethod::Post,
            "PUT" => HttpMethod::Put,
            "DELETE" => HttpMethod::Delete,
            "CONNECT" => HttpMethod::Connect,
            "OPTIONS" => HttpMethod::Options,
            "TRACE" => HttpMethod::Trace,
            "PATCH" => HttpMethod::Patch,
            _ => HttpMethod::Other,
        }
    }

    /// The value in the policy ABI.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The effect of repeating a request with this method (RFC 9110, section 9.2). `has_key` tells
    /// whether it has the header `Idempotency-Key`.
    pub const fn class(self, has_key: bool) -> MethodClass {
        match self {
            HttpMethod::Get | HttpMethod::Head | HttpMethod::Options | HttpMethod::Trace => MethodClass::Read,
            HttpMethod::Put | HttpMethod::Delete => MethodClass::IdempotentWrite,
            _ if has_key => MethodClass::IdempotentWrite,
            _ => MethodClass::Write,
        }
    }
}

impl RequestShape {
    /// An HTTP request that isn't JSON-RPC: its method is the HTTP method.
    pub fn http(method: &str, has_idempotency_key: bool) -> Self {
        let class = HttpMethod::named(method).class(has_idempotency_key);
        RequestShape::single(method.to_owned(), class)
    }
}

impl HttpFacts {
    /// A JSON-RPC request: `POST /`, without a host.
    pub const fn json_rpc() -> Self {
        HttpFacts::new(Protocol::JsonRpc, HttpMethod::Post)
    }

    /// A request for `/`, without a host.
    pub const fn new(protocol: Protocol, method: HttpMethod) -> Self {
        HttpFacts { protocol, method, path: Cow::Borrowed(ROOT), path_hash: OnceLock::new(), host_hash: 0 }
    }

    /// The same request for `path`, in its normal form and without the query. Copies any path but
    /// `/`.
    #[must_use]
    pub fn at(self, path: &str) -> Self {
        let path = if path == ROOT { Cow::Borrowed(ROOT) } else { Cow::Owned(path.to_owned()) };
        HttpFacts { path, path_hash: OnceLock::new(), ..self }
    }

    /// The same request for the host with this hash: see [`host_hash`].
    #[must_use]
    pub const fn of_host(mut self, host_hash: u64) -> Self {
        self.host_hash = host_hash;
        self
    }

    /// The normal form of the client's path, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The hash of the path.
    pub fn path_hash(&self) -> u64 {
        if self.path == ROOT { ROOT_HASH } else { *self.path_hash.get_or_init(|| fnv1a(self.path.as_bytes())) }
    }

    /// The hash of the client's host name; 0 without one.
    pub fn host_hash(&self) -> u64 {
        self.host_hash
    }
}

/// The hash of a host, in lower case and without its port; 0 for the empty host. All requests of a
/// connection usually have one host, so a connection can keep it.
pub fn host_hash(authority: &str) -> u64 {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.is_empty() { 0 } else { host.bytes().fold(FNV_START, |hash, byte| step(hash, byte.to_ascii_lowercase())) }
}

/// Start and factor of FNV-1a (Fowler, Noll and Vo) with 64 bits.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a: short to write in any language, and published, so policies can compare with constants.
/// A client can find collisions; nothing in the proxy depends on there being none.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let (mut hash, mut at) = (FNV_START, 0);
    while at < bytes.len() {
        hash = step(hash, bytes[at]);
        at += 1;
    }
    hash
}

const fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(FNV_PRIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_methods_class_is_that_of_http_and_a_key_makes_any_idempotent() {
        use MethodClass::{IdempotentWrite, Read, Write};
        for (name, code, class, with_key) in [
            ("GET", 1, Read, Read),
            ("HEAD", 2, Read, Read),
            ("POST", 3, Write, IdempotentWrite),
            ("PUT", 4, IdempotentWrite, IdempotentWrite),
            ("DELETE", 5, IdempotentWrite, IdempotentWrite),
            ("CONNECT", 6, Write, IdempotentWrite),
            ("OPTIONS", 7, Read, Read),
            ("TRACE", 8, Read, Read),
            ("PATCH", 9, Write, IdempotentWrite),
            ("PURGE", 0, Write, IdempotentWrite),
            ("get", 0, Write, IdempotentWrite),
        ] {
            assert_eq!(HttpMethod::named(name).code(), code, "{name}");
            let shapes = [false, true].map(|has_key| RequestShape::http(name, has_key));
            assert_eq!(shapes.each_ref().map(|shape| shape.class), [class, with_key], "{name}");
            assert_eq!(shapes[0].method, name);
        }
    }

    /// The texts and hashes of `hash-1.2.txt`.
    #[test]
    fn hashes_are_the_published_ones() {
        let published = include_str!("../../../sdk/vectors/hash-1.2.txt").lines().filter(|line| line.contains(" = "));
        let mut count = 0;
        for (text, hash) in published.filter_map(|line| line.split_once(" = 0x")) {
            let hash = u64::from_str_radix(hash, 16).unwrap();
            assert_eq!(fnv1a(text.as_bytes()), hash, "{text}");
            let facts = HttpFacts::json_rpc().at(text);
            assert_eq!((facts.path_hash(), facts.path_hash(), facts.path()), (hash, hash, text));
            count += 1;
        }
        assert_eq!(count, 5);
    }

    #[test]
    fn another_path_has_another_hash() {
        let first = HttpFacts::new(Protocol::Http, HttpMethod::Get).at("/a");
        let hash = first.path_hash();
        assert_ne!(first.at("/b").path_hash(), hash);
    }

    #[test]
    fn a_hosts_case_and_port_do_not_count() {
        let expected = fnv1a(b"example.com");
        for same in ["example.com", "Example.COM", "example.com:8545", "EXAMPLE.com:"] {
            assert_eq!(host_hash(same), expected, "{same}");
        }
        assert_eq!(host_hash("[::1]:80"), host_hash("[::1]"));
        assert_ne!(host_hash("[::1]"), host_hash("[::2]"));
        assert_eq!((host_hash(""), host_hash(":80")), (0, 0));
    }
}
