//! The files of the plugin folder: where they may be, how large they may be, and whose signature they bear.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::error::{PluginError, Stage};
use crate::listing::is_module;
use crate::signature::{self, KeyId, SignatureError, TrustedKey};

/// Bytes of a signature file. Its comments may have 1 and 8 KiB, the rest is some 200 bytes.
const SIGNATURE_BYTES: usize = 16 << 10;

/// Why a file of the folder isn't read.
#[derive(Debug, Error)]
enum FileError {
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
    #[error("is a link that leads out of the plugin folder")]
    Outside,
    #[error("is not a file")]
    NoFile,
    #[error("has {size} bytes; {kind} may have {limit}")]
    TooLarge { size: u64, kind: &'static str, limit: usize },
}

/// The module files of `dir` in the order of their names.
pub(super) fn modules(dir: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let refuse = |e: io::Error| {
        PluginError::new(Stage::Read, format!("can't be read: {e}")).of(format!("plugin folder {}", dir.display()))
    };
    let root = dir.canonicalize().map_err(refuse)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&root).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        if path.file_name().is_some_and(is_module) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The bytes of one of [`modules`].
pub(super) fn read_module(path: &Path, limit: usize) -> Result<Vec<u8>, PluginError> {
    read(path, "a module", limit).map_err(|e| PluginError::new(Stage::Read, e.to_string()))
}

/// Whose signature of `wasm` lies beside the module at `path`: in `x.wasm.sig` for `x.wasm`.
pub(super) fn verify(path: &Path, wasm: &[u8], keys: &[TrustedKey]) -> Result<KeyId, PluginError> {
    let beside = path.with_added_extension("sig");
    let [module, file] = [path, &beside].map(|path| path.file_name().unwrap_or_default().to_string_lossy());
    let refuse = |reason: String| PluginError::new(Stage::Signature, reason);
    let sign = format!("`minisign -Sm {module} -x {file}`");

    let signature = read(&beside, "a signature", SIGNATURE_BYTES).map_err(|error| match error {
        FileError::Io(e) if e.kind() == io::ErrorKind::NotFound => {
            refuse(format!("has no signature, which plugins.trusted_keys asks for: make {file} with {sign}"))
        }
        error => refuse(format!("its signature {file} {error}; make another with {sign}")),
    })?;
    signature::verify(wasm, &signature, keys).map_err(|error| {
        let advice = match error {
            SignatureError::UnknownKey(_) => {
                format!("sign it with one of plugins.trusted_keys {keys:?}, or add that key there")
            }
            SignatureError::Legacy => format!("make another with {sign}, by minisign 0.10 or later and without -l"),
            SignatureError::Malformed | SignatureError::Mismatch(_) => format!("make another with {sign}"),
        };
        refuse(format!("its signature {file} {error}; {advice}"))
    })
}

/// A plain file inside of its folder, also when a link leads to it.
fn read(path: &Path, kind: &'static str, limit: usize) -> Result<Vec<u8>, FileError> {
    let target = path.canonicalize()?;
    // The folder's own path has no links left: `modules` has followed them.
    if !path.parent().is_some_and(|root| target.starts_with(root)) {
        return Err(FileError::Outside);
    }
    if !target.is_file() {
        return Err(FileError::NoFile);
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > limit as u64 {
        return Err(FileError::TooLarge { size, kind, limit });
    }
    let mut bytes = Vec::new();
    // It may grow while it is read; one byte too many is refused later.
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
