//! The values of `[[routes]]` after validation.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::Secret;

/// A route from hosts and a path prefix to a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `hosts`, at most 1,000; none for every host. Default: none.
    pub hosts: Vec<HostPattern>,
    /// `path_prefix`: `/`, or whole segments such as `/eth`, stored without a trailing slash.
    /// Required without `hosts`; default `/`.
    pub path_prefix: String,
    /// `upstream`, or `respond`.
    pub target: RouteTarget,
    /// `response_headers`. Default: none.
    pub response_headers: HeaderEdits,
    /// `cors`. Default: none.
    pub cors: Option<Cors>,
}

/// The hosts that a route or an origin names, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// A name, or an address; IPv6 in brackets.
    Exact(String),
    /// `*.example.com`, stored as `example.com`: all names of at least one label more.
    Below(String),
}

/// The answer to the requests of a route.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteTarget {
    /// Endpoints answer.
    Upstream {
        /// `upstream`: a declared upstream.
        name: String,
        /// `accept_any_content_type`: whether bodies of any content type are read as JSON. Default:
        /// the upstream's `accept_any_content_type`, whose default is `false`.
        accept_any_content_type: bool,
        /// `replace_prefix`, without a trailing slash; empty with `strip_prefix`. Default: the path
        /// stays.
        replace_prefix: Option<String>,
        /// `request_headers`. Default: none.
        request_headers: HeaderEdits,
    },
    /// `respond` as a table.
    Fixed(FixedAnswer),
    /// `respond = "health"`.
    Health,
}

/// Changes to the headers of a request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// `set`: the values are secrets in printable ASCII.
    pub set: Vec<(HeaderName, Secret)>,
    /// `remove`: none of them is in `set`.
    pub remove: Vec<HeaderName>,
}

/// An answer that is always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedAnswer {
    /// `status`: 200 to 599. Default 200, or 307 with `location`.
    pub status: StatusCode,
    /// `content_type`. Default `text/plain; charset=utf-8` with a body, else none.
    pub content_type: Option<HeaderValue>,
    /// `location`: present if the status is a redirect.
    pub location: Option<HeaderValue>,
    /// `body`: at most 64 KiB; empty with a status that has none. Default: empty.
    pub body: Bytes,
}

/// The permission for pages of other sites to use a route from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// `origins`, at most 1,000. Required.
    pub origins: Origins,
    /// `headers`. Default `["content-type"]`.
    pub headers: CorsHeaders,
    /// The methods that pages may use, which follow from the target: the value of
    /// `Access-Control-Allow-Methods`.
    pub methods: HeaderValue,
    /// `max_age`: `"0s"` to a day. Default `"10m"`.
    pub max_age: Duration,
    /// `credentials`: whether browsers may send them along. Default `false`.
    pub credentials: bool,
}

/// The origins of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `"*"`: every page.
    Any,
    /// These.
    Only(Vec<OriginPattern>),
}

/// Origins in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// One origin, without its scheme's default port.
    Exact(String),
    /// `https://*.example.com:8443`.
    Below {
        /// `https://`.
        begin: String,
        /// `.example.com:8443`.
        end: String,
    },
}

/// The request headers that pages may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsHeaders {
    /// `"*"`: all.
    Any,
    /// The value of `Access-Control-Allow-Headers`, which may be empty.
    Only(HeaderValue),
}
