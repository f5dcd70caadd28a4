//! The files of the plugin folder: their place, their size and their signatures.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::error::{PluginError, Stage};
use crate::files;
use crate::fingerprint::is_module;
use crate::signature::{self, KeyId, SignatureError, TrustedKey};

/// Largest signature file in bytes. Its comments may have 1 and 8 KiB, the rest is about 200 bytes.
const SIGNATURE_BYTES: usize = 16 << 10;

/// Maximum number of modules in a folder. Each takes a fraction of a second to compile, and memory.
const MODULES: usize = 1_000;

/// Why a file of the folder can't be read.
#[derive(Debug, Error)]
enum FileError {
    #[error(transparent)]
    Unfit(files::FileError),
    #[error("is a link that leads out of the plugin folder")]
    Outside,
    #[error("has {size} bytes; {kind} may have {limit}")]
    TooLarge { size: u64, kind: &'static str, limit: usize },
}

/// The module files of `dir`, sorted by name.
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
        if files.len() > MODULES {
            let reason = format!("holds more than {MODULES} modules; remove those that no policy names");
            return Err(PluginError::new(Stage::Read, reason).of(format!("plugin folder {}", dir.display())));
        }
    }
    files.sort();
    Ok(files)
}

/// Reads one of [`modules`].
pub(super) fn read_module(path: &Path, limit: usize) -> Result<Vec<u8>, PluginError> {
    read(path, "a module", limit).map_err(|e| PluginError::new(Stage::Read, e.to_string()))
}

/// The key that signed `wasm`, by the signature beside the module at `path`: `x.wasm.sig` for
/// `x.wasm`.
pub(super) fn verify(path: &Path, wasm: &[u8], keys: &[TrustedKey]) -> Result<KeyId, PluginError> {
    let beside = path.with_added_extension("sig");
    let [module, file] = [path, &beside].map(|path| path.file_name().unwrap_or_default().to_string_lossy());
    let refuse = |reason: String| PluginError::new(Stage::Signature, reason);
    let sign = format!("`minisign -Sm {module} -x {file}`");

    let signature = read(&beside, "a signature", SIGNATURE_BYTES).map_err(|error| match error {
        FileError::Unfit(files::FileError::Io(e)) if e.kind() == io::ErrorKind::NotFound => {
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

/// Reads a regular file inside of its folder. A link must lead to one.
fn read(path: &Path, kind: &'static str, limit: usize) -> Result<Vec<u8>, FileError> {
    let target = path.canonicalize().map_err(|e| FileError::Unfit(e.into()))?;
    // The folder's own path has no links: `modules` has resolved them.
    if !path.parent().is_some_and(|root| target.starts_with(root)) {
        return Err(FileError::Outside);
    }
    files::read(path, limit).map_err(|error| match error {
        files::FileError::TooLarge { size, limit } => FileError::TooLarge { size, kind, limit },
        error => FileError::Unfit(error),
    })
}
