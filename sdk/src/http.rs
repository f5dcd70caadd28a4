//! Protocols, HTTP methods and hashes of the request block.

/// The protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum Protocol {
    /// JSON-RPC, single or in a batch. A proxy of ABI 1.1 knows no other.
    JsonRpc = 1,
    /// HTTP other than JSON-RPC.
    Http = 2,
    /// A gRPC call.
    Grpc = 3,
    /// A WebSocket connection.
    WebSocket = 4,
    /// A protocol of a later ABI version.
    Unknown = u32::MAX,
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum HttpMethod {
    /// A method without a number; [`Request::method`](crate::Request::method) is its name.
    Other = 0,
    /// `GET`.
    Get = 1,
    /// `HEAD`.
    Head = 2,
    /// `POST`.
    Post = 3,
    /// `PUT`.
    Put = 4,
    /// `DELETE`.
    Delete = 5,
    /// `CONNECT`.
    Connect = 6,
    /// `OPTIONS`.
    Options = 7,
    /// `TRACE`.
    Trace = 8,
    /// `PATCH`.
    Patch = 9,
}

impl Protocol {
    pub(crate) fn of(code: u32) -> Self {
        match code {
            1 => Protocol::JsonRpc,
            2 => Protocol::Http,
            3 => Protocol::Grpc,
            4 => Protocol::WebSocket,
            _ => Protocol::Unknown,
        }
    }
}

impl HttpMethod {
    /// Returns the method of this name. Names are case-sensitive.
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

    pub(crate) fn of(code: u32) -> Self {
        match code {
            1 => HttpMethod::Get,
            2 => HttpMethod::Head,
            3 => HttpMethod::Post,
            4 => HttpMethod::Put,
            5 => HttpMethod::Delete,
            6 => HttpMethod::Connect,
            7 => HttpMethod::Options,
            8 => HttpMethod::Trace,
            9 => HttpMethod::Patch,
            _ => HttpMethod::Other,
        }
    }
}

/// Returns the hash of a path or of a host in lower case, as in [`Request`](crate::Request):
/// FNV-1a with 64 bits.
///
/// ```
/// use pointsman_sdk::{Request, hash};
/// const ORDERS: u64 = hash("/v1/orders");
/// assert_eq!(Request::for_http("GET", "/v1/orders").path_hash, ORDERS);
/// ```
pub const fn hash(text: &str) -> u64 {
    let (bytes, mut hash, mut at) = (text.as_bytes(), 0xcbf2_9ce4_8422_2325_u64, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_and_method_reads_back() {
        use Protocol::{Grpc, Http, JsonRpc, Unknown, WebSocket};
        for (code, expected) in (0..).zip([Unknown, JsonRpc, Http, Grpc, WebSocket, Unknown]) {
            assert_eq!(Protocol::of(code), expected, "{code}");
        }
        let names = ["PURGE", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        for (code, name) in (0..).zip(names) {
            assert_eq!((HttpMethod::of(code), HttpMethod::of(code) as u32), (HttpMethod::named(name), code), "{name}");
        }
        assert_eq!((HttpMethod::of(10), HttpMethod::named("get")), (HttpMethod::Other, HttpMethod::Other));
    }
}
