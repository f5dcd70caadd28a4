//! The fingerprint of a plugin folder, which detects changes without reading files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The modules of a folder and their signatures. Equal fingerprints mean that no file was added,
/// removed, replaced or written in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderFingerprint {
    /// `None` if the folder can't be read.
    files: Option<BTreeMap<OsString, Option<Stamp>>>,
}

/// Differs whenever the file does. The time is the inode's change time: a copy that preserves the
/// file's time doesn't preserve this one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FolderFingerprint {
    /// The current state of `dir`. A link is represented by its target.
    pub fn read(dir: &Path) -> Self {
        FolderFingerprint { files: read(dir).ok() }
    }
}

fn read(dir: &Path) -> io::Result<BTreeMap<OsString, Option<Stamp>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if is_listed(&name) {
            // A dangling link has no stamp.
            let stamp = std::fs::metadata(dir.join(&name)).ok().map(|found| Stamp {
                inode: found.ino(),
                size: found.size(),
                changed: (found.ctime(), found.ctime_nsec()),
            });
            files.insert(name, stamp);
        }
    }
    Ok(files)
}

/// Whether a file of this name is a module or the signature of one: `*.wasm` or `*.wasm.sig`, not
/// hidden.
pub fn is_listed(name: &OsStr) -> bool {
    let path = Path::new(name);
    is_module(name) || path.extension() == Some(OsStr::new("sig")) && path.file_stem().is_some_and(is_module)
}

/// Whether a file of this name is a module: `*.wasm`, not hidden.
pub fn is_module(name: &OsStr) -> bool {
    let hidden = name.as_encoded_bytes().first() == Some(&b'.');
    !hidden && Path::new(name).extension() == Some(OsStr::new("wasm"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_those_of_modules_and_their_signatures() {
        for listed in ["a.wasm", "a.wasm.sig", "a.b.wasm"] {
            assert!(is_listed(OsStr::new(listed)), "{listed}");
        }
        for other in
            [".a.wasm", ".a.wasm.sig", "a.sig", "a.wasm.sig.tmp", "a.wasm.minisig", "wasm", "wasm.sig", ".wasm.sig"]
        {
            assert!(!is_listed(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn every_change_of_a_module_is_another_fingerprint_and_no_other_change_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let now = || FolderFingerprint::read(folder.path());
        let empty = now();
        assert_ne!(empty, FolderFingerprint::default(), "a folder that can't be read is no empty one");

        fs::write(path("a.wasm.tmp"), "1").unwrap();
        fs::write(path(".hidden.wasm"), "1").unwrap();
        assert_eq!(now(), empty);
        fs::rename(path("a.wasm.tmp"), path("a.wasm")).unwrap();
        let one = now();
        assert_ne!(one, empty);
        assert_eq!(now(), one);
        fs::write(path("a.wasm"), "22").unwrap();
        let written = now();
        assert_ne!(written, one);
        fs::write(path("b"), "33").unwrap();
        fs::rename(path("b"), path("a.wasm")).unwrap();
        let replaced = now();
        assert_ne!(replaced, written, "another file of the same size");
        fs::write(path("a.wasm.sig"), "4").unwrap();
        assert_ne!(now(), replaced);
        fs::remove_file(path("a.wasm.sig")).unwrap();
        assert_eq!(now(), replaced);
        fs::remove_file(path("a.wasm")).unwrap();
        assert_eq!(now(), empty);
        std::os::unix::fs::symlink("nothing", path("c.wasm")).unwrap();
        assert_ne!(now(), empty);
        assert_eq!(FolderFingerprint::read(&path("no-such-folder")), FolderFingerprint::default());
    }
}
