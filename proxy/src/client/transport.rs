//! What connections to endpoints are made with.

use pingora::connectors::{ConnectorOptions, TransportConnector};

/// Makes connections, for so many worker threads.
pub struct Transport {
    pub(super) connector: TransportConnector,
    pub(super) workers: usize,
}

impl Transport {
    /// For `workers` threads: see [`crate::worker::become_worker`].
    pub fn new(workers: usize) -> Self {
        // No pool of Pingora's: endpoints own their idle connections.
        Transport { connector: TransportConnector::new(Some(ConnectorOptions::new(0))), workers }
    }
}
