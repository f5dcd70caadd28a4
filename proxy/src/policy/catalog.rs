//! The plugin folder: its modules, and those that the conf requires.
//!
//! A broken file harms only a policy that needs it. It is listed with its reason in the log, by
//! `check` and in the response to a reload; a policy whose plugin is missing is refused, and the
//! refusal quotes the broken files' reasons. A stricter rule would keep a proxy from starting after
//! a reboot because of a file that no policy needs. Names that begin with a dot are skipped, so
//! tools that write a temporary file and rename it do no harm.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use semver::VersionReq;

use super::cache::CodeCache;
use super::error::{PluginError, Stage};
use super::{Digest, Identity, Plugin, PolicyRuntime, files};
use crate::progress::Progress;
use crate::signature::{KeyId, TrustedKey};

/// The compiled plugins of a folder.
#[derive(Clone, Default)]
pub struct Catalog {
    plugins: BTreeMap<Digest, Entry>,
    /// Files that can't be used, sorted by name.
    broken: Vec<Broken>,
}

#[derive(Clone)]
struct Broken {
    file: String,
    reason: String,
    /// The identity of the file of this name in the previous generation.
    was: Option<Identity>,
}

/// The most warnings that are shown; one more gives the number of the rest.
const SHOWN: usize = 20;

#[derive(Clone)]
struct Entry {
    file: String,
    plugin: Arc<Plugin>,
    signer: Option<KeyId>,
}

/// The source of plugins.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The plugin folder.
    pub dir: &'a Path,
    /// One of these must have signed each file. `None` requires no signatures.
    pub trusted_keys: Option<&'a [TrustedKey]>,
    /// The cache of compiled code.
    pub cache: Option<&'a CodeCache>,
}

impl Catalog {
    /// Reads every module in the folder. Modules that `previous` has are reused; signatures are
    /// verified every time, over the bytes that are compiled now or were then.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn scan(
        runtime: &PolicyRuntime,
        source: &Source<'_>,
        previous: &Catalog,
        progress: &Progress,
    ) -> Result<Self, PluginError> {
        let mut catalog = Catalog::default();
        for path in files::modules(source.dir)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            progress.enter(format!("read and compile {file}"));
            match Entry::read(runtime, source, &path, previous) {
                Ok(entry) => drop(catalog.plugins.entry(entry.plugin.identity().digest).or_insert(entry)),
                Err(error) => {
                    let was = previous.plugins.values().find(|entry| entry.file == file);
                    let was = was.map(|entry| entry.plugin.identity().clone());
                    catalog.broken.push(Broken { file, reason: error.to_string(), was });
                }
            }
        }
        progress.enter("tidy the folder of compiled code");
        if let Some(cache) = source.cache {
            cache.tidy(catalog.plugins.keys());
        }
        Ok(catalog)
    }

    /// The highest version of `name` that satisfies `requirement` and, if given, has the digest
    /// `pin`.
    ///
    /// # Errors
    /// When there is none; the message lists the available plugins.
    pub fn find(&self, name: &str, requirement: &VersionReq, pin: Option<Digest>) -> Result<Arc<Plugin>, PluginError> {
        let refuse = |reason: String| Err(PluginError::new(Stage::Match, reason));
        let named: Vec<&Entry> = self.plugins.values().filter(|e| e.plugin.identity().plugin == name).collect();
        let fits = |identity: &Identity| {
            identity.plugin == name
                && requirement.matches(&identity.version)
                && pin.is_none_or(|pin| pin == identity.digest)
        };
        let best = named
            .iter()
            .filter(|e| fits(e.plugin.identity()))
            .max_by(|a, b| a.plugin.identity().version.cmp(&b.plugin.identity().version));
        // A file that is being overwritten, or has lost its signature, must not cause a downgrade
        // to an older version.
        let newest = best.map(|entry| &entry.plugin.identity().version);
        let was_better = |was: &Identity| fits(was) && newest.is_some_and(|newest| was.version > *newest);
        if let Some(lost) = self.broken.iter().find(|broken| broken.was.as_ref().is_some_and(was_better)) {
            return refuse(format!("the plugin file {} that it was loaded from is broken: {}", lost.file, lost.reason));
        }
        match best {
            Some(entry) => match self.twin(entry).filter(|_| pin.is_none()) {
                Some(twin) => refuse(entry.conflict(twin)),
                None => Ok(Arc::clone(&entry.plugin)),
            },
            None => refuse(self.what_there_is(name, requirement, pin, &named)),
        }
    }

    /// Problems of files that no policy needed, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let broken =
            self.broken.iter().map(|broken| format!("plugin file {} is not used: {}", broken.file, broken.reason));
        let twins = self.plugins.values().filter_map(|entry| self.twin(entry).map(|twin| entry.conflict(twin)));
        let mut warnings: Vec<String> = broken.chain(twins).collect();
        let more = warnings.len().saturating_sub(SHOWN);
        if more > 0 {
            warnings.truncate(SHOWN);
            warnings.push(format!("and {more} more files of the plugin folder are not used"));
        }
        warnings
    }

    /// The key that signed the module with this digest; `None` if no signatures are required.
    pub fn signer(&self, digest: Digest) -> Option<KeyId> {
        self.plugins.get(&digest)?.signer
    }

    /// Another file of the same plugin name and version.
    fn twin(&self, entry: &Entry) -> Option<&Entry> {
        let identity = entry.plugin.identity();
        self.plugins.values().find(|e| {
            let other = e.plugin.identity();
            other.plugin == identity.plugin && other.version == identity.version && other.digest != identity.digest
        })
    }

    fn what_there_is(&self, name: &str, requirement: &VersionReq, pin: Option<Digest>, named: &[&Entry]) -> String {
        if named.is_empty() {
            let names: Vec<&str> = self.plugins.values().map(|e| e.plugin.identity().plugin.as_str()).collect();
            let there =
                if names.is_empty() { "it holds no plugin".into() } else { format!("it holds {}", names.join(", ")) };
            return format!("the plugin folder has no plugin named \"{name}\"; {there}{}", self.broken_files(name));
        }
        let versions: Vec<String> = named.iter().map(|e| format!("{} in {}", e.plugin.identity(), e.file)).collect();
        let pinned = pin.map_or(String::new(), |pin| format!(" with sha256 {pin}"));
        let (there, broken) = (versions.join(", "), self.broken_files(name));
        format!("no \"{name}\" matches version \"{requirement}\"{pinned}; there is {there}{broken}")
    }

    /// Broken files, which may contain the missing plugin: their plugin names are unknown. Files
    /// whose own name contains the plugin's come first.
    fn broken_files(&self, name: &str) -> String {
        let mut files: Vec<&Broken> = self.broken.iter().collect();
        files.sort_by_key(|broken| !broken.file.contains(name));
        files.iter().map(|broken| format!("; {} can't be used: {}", broken.file, broken.reason)).collect()
    }
}

impl Entry {
    fn conflict(&self, twin: &Entry) -> String {
        let identity = self.plugin.identity();
        format!(
            "{} is {} {}, and so is {} with different contents; give one of them another version or remove it",
            self.file, identity.plugin, identity.version, twin.file
        )
    }

    fn read(
        runtime: &PolicyRuntime,
        source: &Source<'_>,
        path: &Path,
        previous: &Catalog,
    ) -> Result<Self, PluginError> {
        let wasm = files::read_module(path, runtime.limits.module_bytes)?;
        let signer = source.trusted_keys.map(|keys| files::verify(path, &wasm, keys)).transpose()?;
        let digest = Digest::of(&wasm);
        let plugin = match previous.plugins.get(&digest) {
            Some(known) => Arc::clone(&known.plugin),
            None => Arc::new(runtime.compile_cached(&wasm, digest, source.cache)?),
        };
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Entry { file, plugin, signer })
    }
}
