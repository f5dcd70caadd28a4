//! Where a process runs.

use std::io::Result;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder of its own, which vanishes when this is dropped, and free ports.
pub struct Site {
    folder: TempDir,
    /// Loopback addresses that were free a moment ago.
    pub addresses: Vec<SocketAddr>,
}

impl Site {
    /// A new one with so many addresses.
    pub fn new(addresses: usize) -> Result<Site> {
        // All at once, or they might be the same.
        let listeners: Vec<_> = (0..addresses).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<_>>()?;
        Ok(Site { folder: tempfile::Builder::new().prefix("pointsman-bench-").tempdir()?, addresses })
    }

    /// Where the process serves: the first address.
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
