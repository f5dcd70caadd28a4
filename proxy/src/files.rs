//! Reading of all files that the conf names.
//!
//! Invariant: no path can make a reload hang or fill the memory. Only regular files are read,
//! wherever a link leads; an open file is checked again, since its name may have changed hands;
//! opening doesn't wait for a pipe's other end; and no more than the limit is read, whatever size a
//! file reports, and however it grows.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use thiserror::Error;

/// Why a file can't be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// An error of the operating system.
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    /// A folder, a pipe, a socket or a device.
    #[error("is not a file but {0}; only regular files are read, also through links")]
    Special(&'static str),
    /// It exceeds the limit.
    #[error("is larger than the {limit} bytes that it may have")]
    TooLarge {
        /// Its size in bytes, as far as known.
        size: u64,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// When it isn't a regular file, is larger, or can't be read.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    // Opening a device may have side effects, so devices are refused before.
    check(&std::fs::metadata(path)?, limit)?;
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let found = file.metadata()?;
    check(&found, limit)?;
    read_open(file, found.len(), limit)
}

/// Like [`read`], but returns text.
///
/// # Errors
/// Like [`read`]'s, and when the file isn't UTF-8.
pub fn read_text(path: &Path, limit: usize) -> Result<String, FileError> {
    let text = String::from_utf8(read(path, limit)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8").into())
}

fn check(found: &Metadata, limit: usize) -> Result<(), FileError> {
    if !found.is_file() {
        return Err(FileError::Special(kind(found.file_type())));
    }
    if found.len() > limit as u64 {
        return Err(FileError::TooLarge { size: found.len(), limit });
    }
    Ok(())
}

/// Reads one byte beyond the limit, which shows that the file grew.
fn read_open(file: File, size: u64, limit: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge { size: bytes.len() as u64, limit });
    }
    Ok(bytes)
}

fn kind(file: FileType) -> &'static str {
    if file.is_dir() {
        "a folder"
    } else if file.is_fifo() {
        "a pipe"
    } else if file.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use nix::sys::stat::Mode;
    use tempfile::TempDir;

    use super::*;

    fn place() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        (folder, path)
    }

    #[test]
    fn only_regular_files_are_read() {
        let (folder, path) = place();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        let said = || [&path, &link].map(|path| read(path, 10).map_err(|e| e.to_string()));
        let expect = |part: &str| {
            for said in said() {
                let error = said.unwrap_err();
                assert!(error.contains(part), "{error}");
            }
        };
        expect("can't be read");
        fs::create_dir(&path).unwrap();
        expect("is not a file but a folder");
        fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        expect("is not a file but a pipe");
        fs::remove_file(&path).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        expect("is not a file but a socket");
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        expect("is not a file but a device");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(said().map(Result::unwrap), [b"0123456789".to_vec(), b"0123456789".to_vec()]);
    }

    #[test]
    fn no_more_is_read_than_the_limit() {
        let (_folder, path) = place();
        fs::write(&path, "0123456789").unwrap();
        assert!(matches!(read(&path, 9), Err(FileError::TooLarge { size: 10, limit: 9 })));
        // A sparse terabyte, which takes no disk space.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(matches!(read(&path, 16 << 20), Err(FileError::TooLarge { .. })));
        // It grows after its size was checked.
        file.set_len(0).unwrap();
        let open = File::open(&path).unwrap();
        (&file).write_all(&[b'x'; 100]).unwrap();
        assert!(matches!(read_open(open, 0, 10), Err(FileError::TooLarge { size: 11, limit: 10 })));
        assert!(read_text(&path, 1_000).is_ok());
        fs::write(&path, b"\xff").unwrap();
        assert!(read_text(&path, 10).unwrap_err().to_string().contains("not UTF-8"));
    }

    /// A name may change hands between two checks: here it does so constantly.
    #[test]
    fn a_file_that_turns_into_a_pipe_and_back_never_hangs_a_reader() {
        let (folder, path) = place();
        let [file, pipe] = ["file", "pipe"].map(|name| folder.path().join(name));
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::write(&file, "x").unwrap();
                    fs::rename(&file, &path).unwrap();
                    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
                    fs::rename(&pipe, &path).unwrap();
                }
            });
            // Until both outcomes have occurred often, so that the name did change.
            let (mut read_it, mut refused) = (0, 0);
            while read_it < 100 || refused < 100 {
                match read(&path, 10) {
                    Ok(_) => read_it += 1,
                    Err(_) => refused += 1,
                }
            }
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
