//! A folder that only this process's user can access, with files that are read and written whole.
//!
//! Write access for others could make the process run their code; read access could reveal the key.
//! The folder is checked by its path. A file is checked again after it is opened, so later changes
//! of its path don't matter.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use thiserror::Error;

/// Access for the user alone.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Access of others: none of these bits may be set.
const OTHERS: u32 = 0o077;

/// Why a folder or a file can't be used.
#[derive(Debug, Error)]
pub(super) enum FolderError {
    /// It breaks a rule. This is somebody's doing, and doesn't resolve itself.
    #[error("{0}")]
    Unfit(String),
    /// The system denies access.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A folder that was found to be private.
pub(super) struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Opens the folder at `path`, and creates it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, FolderError> {
        // Removes a trailing slash, since the system would follow a link before it.
        let path: PathBuf = path.components().collect();
        match DirBuilder::new().mode(FOLDER_MODE).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
            _ => {}
        }
        let found = fs::symlink_metadata(&path)?;
        if found.is_symlink() {
            return Err(FolderError::Unfit("is a link; name the folder that it leads to".into()));
        }
        if !found.is_dir() {
            return Err(FolderError::Unfit("is not a folder; remove it or name another".into()));
        }
        check_private(&found, &path, FOLDER_MODE)?;
        Ok(PrivateFolder { path })
    }

    /// The path of a file in the folder.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The bytes of a file, at most `limit`, and the open file. `None` if there is no such file.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, File)>, FolderError> {
        let path = self.file(name);
        // Follows no link, and doesn't wait for a pipe's writer.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mut file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) => {
                return Err(FolderError::Unfit(format!("is a link: {e}")));
            }
            Err(e) => return Err(e.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(FolderError::Unfit("is not a file".into()));
        }
        check_private(&found, &path, FILE_MODE)?;
        if found.len() > limit {
            return Err(FolderError::Unfit(format!("has {} bytes, more than {limit}", found.len())));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0));
        // One extra byte, so that a file that grew fails its verification.
        (&mut file).take(limit + 1).read_to_end(&mut bytes)?;
        Ok(Some((bytes, file)))
    }

    /// Writes a file atomically, and replaces one of the same name. It isn't synced: a reader
    /// detects what a power failure leaves.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes, |unfinished| fs::rename(unfinished, self.file(name)))
    }

    /// Like [`PrivateFolder::write`], but keeps an existing file of that name.
    pub(super) fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes, |unfinished| {
            let linked = fs::hard_link(unfinished, self.file(name));
            fs::remove_file(unfinished)?;
            linked.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })
        })
    }

    /// Removes a file, if it exists.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Names and metadata of the files, without those that vanish meanwhile.
    pub(super) fn list(&self) -> io::Result<Vec<(String, Metadata)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let (Ok(name), Ok(found)) = (entry.file_name().into_string(), entry.metadata()) {
                files.push((name, found));
            }
        }
        Ok(files)
    }

    fn put(&self, bytes: &[u8], place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        // A random name: processes in two containers may have the same process id.
        let unfinished = self.file(&format!("{:016x}{UNFINISHED}", fastrand::u64(..)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&unfinished)?;
        let placed = file.write_all(bytes).and_then(|()| place(&unfinished));
        if placed.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        placed
    }
}

/// The suffix of unfinished files.
pub(super) const UNFINISHED: &str = ".tmp";

fn check_private(found: &Metadata, path: &Path, mode: u32) -> Result<(), FolderError> {
    let (user, path) = (geteuid(), path.display());
    if found.uid() != user.as_raw() {
        let owner = found.uid();
        let reason =
            format!("belongs to user {owner}, but this process to user {user}: remove {path}, or run as user {owner}");
        return Err(FolderError::Unfit(reason));
    }
    if found.mode() & OTHERS != 0 {
        let has = found.mode() & 0o7777;
        let reason = format!("is open to others (mode {has:04o}): remove what is in it, and `chmod {mode:04o} {path}`");
        return Err(FolderError::Unfit(reason));
    }
    Ok(())
}
