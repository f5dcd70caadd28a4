//! The folder and addresses of a process.

use std::io::Result;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary folder, removed on drop, and free ports.
pub struct Site {
    folder: TempDir,
    /// Loopback addresses that were free when chosen.
    pub addresses: Vec<SocketAddr>,
}

impl Site {
    /// Creates a site with this number of addresses.
    pub fn new(addresses: usize) -> Result<Site> {
        // All at once, so that they differ.
        let listeners: Vec<_> = (0..addresses).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<_>>()?;
        Ok(Site { folder: tempfile::Builder::new().prefix("pointsman-bench-").tempdir()?, addresses })
    }

    /// The listening address: the first one.
    pub fn listen(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file in the folder and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }
}
