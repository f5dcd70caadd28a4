//! The lane of the tests' requests: the environment variable `POINTSMAN_TEST_LANE`.
//!
//! - `express`, the default: cleartext, in the express lane where possible.
//! - `session`: cleartext, past the express lane.
//! - `tls`: over TLS.
//! - `http2`: posts over HTTP/2 with TLS, raw bytes over TLS.
//!
//! The last two use a listener at the proxy's second address. A test that has a listener of its own
//! there keeps to cleartext.

use std::net::SocketAddr;
use std::sync::LazyLock;

use crate::client::Client;
use crate::http2::Http2Client;
use crate::tls::{Authority, Issued, TlsClient};

const NAME: &str = "proxy.example";

/// The lane of this run.
pub(crate) static LANE: LazyLock<Lane> = LazyLock::new(|| match std::env::var("POINTSMAN_TEST_LANE").as_deref() {
    Ok("session") => Lane::Session,
    Ok("tls") => Lane::Tls(Box::new(Secured::new(false))),
    Ok("http2") => Lane::Tls(Box::new(Secured::new(true))),
    Ok("express") | Err(_) => Lane::Express,
    Ok(other) => panic!("POINTSMAN_TEST_LANE: no lane {other}"),
});

pub(crate) enum Lane {
    Express,
    Session,
    Tls(Box<Secured>),
}

/// The certificate of the lane's listeners, and their clients.
pub(crate) struct Secured {
    issued: Issued,
    client: TlsClient,
    http2: bool,
}

impl Secured {
    fn new(http2: bool) -> Secured {
        let authority = Authority::new();
        Secured { issued: authority.certify(&[NAME]), client: TlsClient::trusting(&authority), http2 }
    }

    /// The files beside the conf.
    pub(crate) fn files(&self) -> [(&'static str, &str); 2] {
        [("lane.pem", &self.issued.chain), ("lane.key", &self.issued.key)]
    }

    /// The keys of the listener.
    pub(crate) fn listener(&self) -> &'static str {
        "tls = { certificates = [{ chain = 'lane.pem', key = 'lane.key' }] }"
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> Client {
        let client = self.client.connect(address, NAME);
        if !self.http2 {
            return client;
        }
        let http2 = Http2Client::try_connect(&self.client, address, NAME);
        client.posting_over(http2.unwrap_or_else(|error| panic!("{address}: {error}")))
    }
}
