//! The connector for endpoints.

use pingora::connectors::{ConnectorOptions, TransportConnector};

/// Opens connections, for a number of worker threads.
pub struct Transport {
    pub(super) connector: TransportConnector,
    pub(super) workers: usize,
}

impl Transport {
    /// For `workers` threads: see [`crate::worker::become_worker`].
    pub fn new(workers: usize) -> Self {
        // No pool of Pingora's: each endpoint owns its idle connections.
        Transport { connector: TransportConnector::new(Some(ConnectorOptions::new(0))), workers }
    }
}
