//! An endpoint's address, which is also its identity.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::hex;
use url::{Host, Url};

/// The longest URL: far longer than any provider's, far shorter than the limit of an HTTP/1 request
/// line.
const MAX_LENGTH: usize = 8 << 10;

/// A validated URL in canonical form: `http` or `https`, the host in lower case, no default port, a
/// path.
///
/// Two endpoints are the same if their canonical URLs are. Its printed form is scheme and host
/// only, since providers put keys into the rest.
#[derive(Clone)]
pub struct EndpointUrl {
    canonical: String,
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path_and_query: String,
    userinfo: Option<(String, String)>,
}

impl EndpointUrl {
    /// Validates a URL and brings it into canonical form.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_LENGTH {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Whitespace);
        }
        let url = Url::parse(text).map_err(|_| UrlError::Form)?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            "ws" | "wss" => return Err(UrlError::WebSocket),
            _ => return Err(UrlError::Scheme),
        };
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let port = url.port_or_known_default().filter(|&port| port != 0).ok_or(UrlError::Port)?;
        let path_and_query = &url[url::Position::BeforePath..url::Position::AfterQuery];
        http::uri::PathAndQuery::try_from(path_and_query).map_err(|_| UrlError::Form)?;
        Ok(Self {
            tls,
            host: bare_host(&url)?,
            port,
            authority: url[url::Position::BeforeHost..url::Position::AfterPort].to_owned(),
            path_and_query: path_and_query.to_owned(),
            userinfo: userinfo(&url)?,
            canonical: url.into(),
        })
    }

    /// The same for a WebSocket URL, whose scheme is `ws` or `wss`: a connection begins as HTTP.
    pub fn parse_websocket(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("ws").filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
        EndpointUrl::parse(&format!("http{}", rest.ok_or(UrlError::NoWebSocket)?))
    }

    /// The whole URL, which identifies the endpoint. A secret: never print it.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether the scheme is `https`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host name or address, in lower case and without the brackets of IPv6, for resolution and
    /// SNI.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, or the scheme's default if the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port in the form of a `Host` header: IPv6 in brackets, no default port, no
    /// userinfo.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, which is never empty, and the query, if any. A secret.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// User and password, decoded, for basic authentication. A secret.
    pub fn userinfo(&self) -> Option<(&str, &str)> {
        self.userinfo.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }
}

/// Why a URL can't be an endpoint's. No variant holds a part of the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than 8 KiB.
    #[error("must be at most 8 KiB long")]
    TooLong,
    /// A space, a tab, a newline or a control character.
    #[error("must not contain spaces or control characters")]
    Whitespace,
    /// Not a URL.
    #[error("must be a URL such as \"https://rpc.example.com/v1\"")]
    Form,
    /// Neither `http` nor `https`.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// `ws` or `wss`.
    #[error("must begin with http:// or https://; a ws:// or wss:// URL is for ws_url")]
    WebSocket,
    /// A URL for WebSocket connections that is neither.
    #[error("must begin with ws:// or wss://")]
    NoWebSocket,
    /// Port 0.
    #[error("must not have port 0")]
    Port,
    /// A fragment, which is never sent.
    #[error("must not have a part after #, since it is never sent; write %23 for the character")]
    Fragment,
    /// A user or password that can't be sent as basic authentication.
    #[error("must have a user without a colon, and a user and password in UTF-8 without control characters")]
    Userinfo,
}

fn bare_host(url: &Url) -> Result<String, UrlError> {
    match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => Ok(name.to_owned()),
        Some(Host::Ipv4(address)) => Ok(address.to_string()),
        Some(Host::Ipv6(address)) => Ok(address.to_string()),
        _ => Err(UrlError::Form),
    }
}

fn userinfo(url: &Url) -> Result<Option<(String, String)>, UrlError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user = percent_decoded(url.username())?;
    let password = percent_decoded(url.password().unwrap_or_default())?;
    let unfit = |text: &str| text.chars().any(char::is_control);
    // Basic authentication joins the two with a colon (RFC 7617).
    if user.contains(':') || unfit(&user) || unfit(&password) {
        return Err(UrlError::Userinfo);
    }
    Ok(Some((user, password)))
}

fn percent_decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (hex::digit(*high), hex::digit(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Userinfo)
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]", self.host)
        } else {
            write!(f, "{scheme}://{}", self.host)
        }
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for EndpointUrl {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for EndpointUrl {}

impl PartialOrd for EndpointUrl {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EndpointUrl {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical.cmp(&other.canonical)
    }
}

impl Hash for EndpointUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}
