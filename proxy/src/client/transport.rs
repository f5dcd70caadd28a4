//! The connectors for endpoints.

use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};

/// Idle connections of probes over HTTP/2, of all endpoints together.
const PROBE_CONNECTIONS: usize = 1_024;

/// Opens connections, for a number of worker threads.
pub struct Transport {
    pub(super) connector: TransportConnector,
    /// For probes over HTTP/2.
    pub(super) http2: Connector,
    pub(super) workers: usize,
}

impl Transport {
    /// For `workers` threads: see [`crate::worker::become_worker`].
    pub fn new(workers: usize) -> Self {
        Transport {
            // No pool of Pingora's: each endpoint owns its idle connections.
            connector: TransportConnector::new(Some(ConnectorOptions::new(0))),
            http2: Connector::new(Some(ConnectorOptions::new(PROBE_CONNECTIONS))),
            workers,
        }
    }
}
