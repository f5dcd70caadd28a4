//! A folder whose changes the system reports (inotify on Linux).

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::fingerprint::is_listed;

/// A watched folder, until it is dropped.
pub(super) struct WatchedFolder {
    path: PathBuf,
    identity: Identity,
    _watcher: RecommendedWatcher,
}

/// Device and inode.
type Identity = (u64, u64);

impl WatchedFolder {
    /// Notifies `touched` of every change in the folder at `path`, which may be a link.
    pub(super) fn watch(path: &Path, touched: Arc<Notify>) -> notify::Result<Self> {
        // Taken before the watch begins, so that a folder that is replaced in between is found to
        // be a different one.
        let identity = identity(path)?;
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // After an error, missed changes are unknown.
            if event.as_ref().map_or(true, may_matter) {
                touched.notify_one();
            }
        })?;
        watcher.watch(path, RecursiveMode::NonRecursive)?;
        Ok(WatchedFolder { path: path.to_owned(), identity, _watcher: watcher })
    }

    /// Whether this folder is still the one at its path.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Whether `event` may have changed modules or signatures. Opening or reading a file changes
/// nothing: a reload does so itself. A new or renamed file of any name may be the target of a link.
fn may_matter(event: &Event) -> bool {
    let names_one = || event.paths.iter().filter_map(|path| path.file_name()).any(is_listed);
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Data(_)) => names_one(),
        EventKind::Access(_) => false,
        _ => true,
    }
}
