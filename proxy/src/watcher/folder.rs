//! A folder whose changes the system tells (inotify on Linux).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::fingerprint::is_listed;

/// A folder under watch, until it is dropped.
pub(super) struct WatchedFolder {
    path: PathBuf,
    identity: Identity,
    _watcher: RecommendedWatcher,
}

/// Device and inode.
type Identity = (u64, u64);

impl WatchedFolder {
    /// Notifies `touched` whenever something changes in `path`, itself or what it links to.
    pub(super) fn watch(path: &Path, touched: Arc<Notify>) -> notify::Result<Self> {
        // Before the watch begins: if the folder is replaced meanwhile, it is found to be another
        // one.
        let identity = identity(path)?;
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // After an error it isn't known what was missed.
            if event.as_ref().map_or(true, may_matter) {
                touched.notify_one();
            }
        })?;
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        Ok(WatchedFolder { path: path.to_owned(), identity, _watcher: watcher })
    }

    /// Whether this is what stands at its path.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Whether modules or signatures may be different after `event`. That a file was opened or read is
/// no change: a reload does so itself. A new or renamed file of any name may be what one of them
/// links to.
fn may_matter(event: &Event) -> bool {
    let names_one = || event.paths.iter().filter_map(|path| path.file_name()).any(is_listed);
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Data(_)) => names_one(),
        EventKind::Access(_) => false,
        _ => true,
    }
}
