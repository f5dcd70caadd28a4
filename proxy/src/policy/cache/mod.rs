//! Compiled code on disk, so that a process needn't repeat the compilations of earlier ones.
//!
//! One file per module, named by the module's digest and by a digest of the settings that it was
//! compiled with: Wasmtime's own, including its version, our version, and the limits that modules
//! are checked against. Code is stored once its module has passed every check of a load. Code that
//! is read back passes all checks again that need no compiler.
//!
//! Invariants:
//! - Code is loaded only if a process of this user has sealed it for this module and these settings
//!   (`seal`), and the loaded bytes are the verified ones.
//! - A folder that others can access fails the load, because an operator must look at it. Any other
//!   problem is a warning, and modules are compiled.
//! - Processes may share the folder: files appear whole, and a file that vanishes is only a miss.

mod folder;
mod seal;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::FileTimes;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::Module;

use self::folder::{FolderError, PrivateFolder, UNFINISHED};
use self::seal::{KEY, Key, Label};
use super::error::{PluginError, Stage};
use super::limits::Limits;
use super::{Digest, PolicyRuntime};

/// Maximum size of all code files in bytes; the least recently used ones are removed first. The
/// code of a shipped module has about 400 KB, so more than a thousand fit.
const FOLDER_BYTES: u64 = 512 << 20;
/// An unfinished file that is older has lost its writer.
const ABANDONED: Duration = Duration::from_secs(60 * 60);
/// The file of the sealing key.
const KEY_FILE: &str = "key";
/// The suffix of code files.
const CODE: &str = ".code";

/// Compiled code in a folder. It is opened for each scan, since the folder's state may have
/// changed.
pub struct CodeCache {
    dir: PathBuf,
    /// `None` when the system denies access to the folder: then lookups miss and nothing is stored.
    usable: Option<Usable>,
    engine: wasmtime::Engine,
    settings: Digest,
    counts: [Cell<u64>; Outcome::ALL.len()],
}

struct Usable {
    folder: PrivateFolder,
    key: Key,
}

/// The result of a use of the cache.
#[derive(Clone, Copy)]
enum Outcome {
    /// Code was loaded.
    Hit,
    /// There was no code.
    Miss,
    /// A file exists that must not be loaded.
    Rejected,
    /// Reading or writing failed.
    Error,
}

impl Outcome {
    const ALL: [(Outcome, &'static str); 4] =
        [(Outcome::Hit, "hit"), (Outcome::Miss, "miss"), (Outcome::Rejected, "rejected"), (Outcome::Error, "error")];
}

impl CodeCache {
    /// Opens the cache in `dir`. The folder is created if it is missing, but not its parent. If the
    /// system denies access, a warning is logged and the cache stays empty.
    ///
    /// When others can access `dir`: it belongs to another user, its mode admits others, or it is a
    /// link. Also when it isn't a folder.
    pub fn open(dir: &Path, runtime: &PolicyRuntime) -> Result<Self, PluginError> {
        let engine = runtime.engine.inner().clone();
        let settings = settings(&engine, &runtime.limits);
        let mut cache = CodeCache { dir: dir.to_owned(), usable: None, engine, settings, counts: Default::default() };
        match PrivateFolder::open(dir) {
            Ok(folder) => cache.usable = cache.key(&folder).map(|key| Usable { folder, key }),
            Err(FolderError::Io(error)) => cache.trouble("", "can't be used, so modules are compiled", &error),
            Err(FolderError::Unfit(reason)) => {
                return Err(PluginError::new(Stage::Cache, reason).of(format!("plugins.cache_dir {}", dir.display())));
            }
        }
        Ok(cache)
    }

    /// The module with this digest, if its code is there and valid.
    pub(super) fn load(&self, digest: Digest) -> Option<Module> {
        let usable = self.usable.as_ref()?;
        let name = self.name(digest);
        match self.look(usable, &name, digest) {
            Ok(Some(module)) => {
                self.count(Outcome::Hit);
                return Some(module);
            }
            Ok(None) => self.count(Outcome::Miss),
            Err(FolderError::Unfit(reason)) => self.reject(&usable.folder, &name, &reason),
            Err(FolderError::Io(error)) => self.trouble(&name, "can't be read", &error),
        }
        None
    }

    /// Stores the code of a module that has passed every check.
    pub(super) fn store(&self, module: &Module, digest: Digest) {
        let Some(Usable { folder, key }) = &self.usable else { return };
        let name = self.name(digest);
        let written = match module.serialize() {
            Ok(code) => folder.write(&name, &seal::seal(&code, &self.label(digest), key)),
            Err(error) => Err(io::Error::other(format!("{error:#}"))),
        };
        if let Err(error) = written {
            self.trouble(&name, "can't be written", &error);
        }
    }

    /// Removes the least recently used code beyond the limit, except that of the modules `used`.
    /// Does nothing unless a module was missed: only then has the folder grown.
    pub(super) fn tidy<'a>(&self, used: impl Iterator<Item = &'a Digest>) {
        let Some(Usable { folder, .. }) = &self.usable else { return };
        let missed = [Outcome::Miss, Outcome::Rejected].iter().any(|outcome| self.counted(*outcome) > 0);
        if missed && let Err(error) = self.tidy_to(folder, FOLDER_BYTES, &used.map(|d| self.name(*d)).collect()) {
            self.trouble("", "can't be tidied", &error);
        }
    }

    /// Counts by result: `hit`, `miss` and `rejected` of lookups, `error` of any use.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL.into_iter().map(|(outcome, label)| (label, self.counted(outcome)))
    }

    /// The folder's key, generated at the first use. An invalid one is replaced, which invalidates
    /// all code.
    fn key(&self, folder: &PrivateFolder) -> Option<Key> {
        // In the second round the key exists, whichever process made it.
        for _ in 0..2 {
            match folder.read(KEY_FILE, KEY as u64) {
                Ok(Some((bytes, _))) => match <[u8; KEY]>::try_from(bytes) {
                    Ok(key) => return Some(Key(key)),
                    Err(_) => self.reject(folder, KEY_FILE, "is cut short"),
                },
                Ok(None) => {}
                Err(FolderError::Unfit(reason)) => self.reject(folder, KEY_FILE, &reason),
                Err(FolderError::Io(error)) => {
                    self.trouble(KEY_FILE, "can't be read, so modules are compiled", &error);
                    return None;
                }
            }
            let mut key = [0; KEY];
            let made = getrandom::fill(&mut key).map_err(|e| io::Error::other(e.to_string()));
            if let Err(error) = made.and_then(|()| folder.write_new(KEY_FILE, &key)) {
                self.trouble(KEY_FILE, "can't be made, so modules are compiled", &error);
                return None;
            }
        }
        self.trouble(KEY_FILE, "can't be replaced, so modules are compiled", &"something is in its place");
        None
    }

    fn look(&self, usable: &Usable, name: &str, digest: Digest) -> Result<Option<Module>, FolderError> {
        let Some((bytes, file)) = usable.folder.read(name, FOLDER_BYTES)? else { return Ok(None) };
        let unfit = |reason: String| FolderError::Unfit(reason);
        let verified = seal::open(&bytes, &self.label(digest), &usable.key).ok_or_else(|| {
            unfit("doesn't bear its seal: it was damaged, or made elsewhere or for another module".into())
        })?;
        let module = verified.load(&self.engine).map_err(|e| unfit(format!("isn't for this program: {e:#}")))?;
        // Records the time of use. If that fails, the file is removed somewhat earlier.
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
        Ok(Some(module))
    }

    fn tidy_to(&self, folder: &PrivateFolder, limit: u64, used: &BTreeSet<String>) -> io::Result<()> {
        let mut left = limit;
        let mut others = Vec::new();
        for (name, found) in folder.list()? {
            let age = found.modified()?.elapsed().unwrap_or_default();
            if name.ends_with(UNFINISHED) && age > ABANDONED {
                folder.remove(&name)?;
            } else if used.contains(&name) {
                left = left.saturating_sub(found.len());
            } else if name.ends_with(CODE) {
                others.push((age, name, found.len()));
            }
        }
        others.sort();
        for (_, name, size) in others {
            if size <= left {
                left -= size;
            } else {
                // And all that is older.
                left = 0;
                tracing::debug!(file = %folder.file(&name).display(), "compiled code that was not used for long is removed");
                folder.remove(&name)?;
            }
        }
        Ok(())
    }

    fn label(&self, module: Digest) -> Label {
        Label { module, settings: self.settings }
    }

    /// Code for several settings may exist side by side: processes of different versions share a
    /// folder during an upgrade.
    fn name(&self, module: Digest) -> String {
        let settings = self.settings.to_string();
        format!("{module}-{}{CODE}", &settings[..16])
    }

    fn reject(&self, folder: &PrivateFolder, name: &str, reason: &str) {
        self.count(Outcome::Rejected);
        tracing::warn!(file = %folder.file(name).display(), "a file in plugins.cache_dir is not used and made anew: it {reason}");
        if let Err(error) = folder.remove(name) {
            self.trouble(name, "can't be removed", &error);
        }
    }

    fn trouble(&self, name: &str, what: &str, error: &dyn Display) {
        self.count(Outcome::Error);
        tracing::warn!(file = %self.dir.join(name).display(), "plugins.cache_dir: {what}: {error}");
    }

    fn count(&self, outcome: Outcome) {
        self.counts[outcome as usize].update(|count| count + 1);
    }

    fn counted(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].get()
    }
}

/// The digest of everything but the module that compiled code depends on: the compiler and its
/// settings, and our version's checks.
fn settings(engine: &wasmtime::Engine, limits: &Limits) -> Digest {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    // The number of instances doesn't affect code.
    Limits { instances: 0, ..*limits }.hash(&mut hasher);
    Digest(hasher.0.finalize().into())
}

/// A digest of any [`Hash`] value: equal in all processes, and long enough to resist collisions.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Unused: the whole digest is taken instead.
    fn finish(&self) -> u64 {
        0
    }
}
