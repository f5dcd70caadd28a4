//! The plugin folder: which modules there are, and which of them the conf asks for.
//!
//! Every `*.wasm` in the folder must be a good plugin, wanted or not: an operator who dropped a broken file is told at once,
//! instead of finding later that it was passed over. Names that begin with a dot are skipped, so that tools
//! which write a temporary file and rename it do no harm.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use semver::VersionReq;

use super::cache::CodeCache;
use super::error::{PluginError, Stage};
use super::{Digest, Plugin, PolicyRuntime, files};
use crate::signature::{KeyId, TrustedKey};

/// The compiled plugins of a folder.
#[derive(Clone, Default)]
pub struct Catalog {
    plugins: BTreeMap<Digest, Entry>,
}

#[derive(Clone)]
struct Entry {
    file: String,
    plugin: Arc<Plugin>,
    signer: Option<KeyId>,
}

/// Where plugins come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The plugin folder.
    pub dir: &'a Path,
    /// One of these must have signed each file. `None` asks for no signatures.
    pub trusted_keys: Option<&'a [TrustedKey]>,
    /// Where compiled code is kept from process to process.
    pub cache: Option<&'a CodeCache>,
}

impl Catalog {
    /// Reads every module in the folder. What `previous` has compiled already is taken over; signatures are verified every
    /// time, of the very bytes that are compiled or were.
    ///
    /// # Errors
    /// When the folder or one of its modules can't be used.
    pub fn scan(runtime: &PolicyRuntime, source: &Source<'_>, previous: &Catalog) -> Result<Self, PluginError> {
        let mut catalog = Catalog::default();
        for path in files::modules(source.dir)? {
            let entry = Entry::read(runtime, source, &path, previous)
                .and_then(|entry| catalog.add(entry))
                .map_err(|e| e.of(format!("plugin file {}", path.display())));
            entry?;
        }
        if let Some(cache) = source.cache {
            cache.tidy(catalog.plugins.keys());
        }
        Ok(catalog)
    }

    /// The highest version of `name` that fits `requirement` and, where it is given, the digest `pin`.
    ///
    /// # Errors
    /// When there is none; the message says what there is.
    pub fn find(&self, name: &str, requirement: &VersionReq, pin: Option<Digest>) -> Result<Arc<Plugin>, PluginError> {
        let named: Vec<&Entry> = self.plugins.values().filter(|e| e.plugin.identity().plugin == name).collect();
        let best = named
            .iter()
            .filter(|e| requirement.matches(&e.plugin.identity().version))
            .filter(|e| pin.is_none_or(|pin| pin == e.plugin.identity().digest))
            .max_by(|a, b| a.plugin.identity().version.cmp(&b.plugin.identity().version));
        match best {
            Some(entry) => Ok(Arc::clone(&entry.plugin)),
            None => Err(PluginError::new(Stage::Match, self.what_there_is(name, requirement, pin, &named))),
        }
    }

    /// Who signed the file of the module with this digest; `None` if no signatures were asked for.
    pub fn signer(&self, digest: Digest) -> Option<KeyId> {
        self.plugins.get(&digest)?.signer
    }

    fn add(&mut self, entry: Entry) -> Result<(), PluginError> {
        let identity = entry.plugin.identity();
        let twin = self.plugins.values().find(|e| {
            let other = e.plugin.identity();
            other.plugin == identity.plugin && other.version == identity.version && other.digest != identity.digest
        });
        if let Some(twin) = twin {
            let reason = format!(
                "is {} {}, and so is {} with different contents; give one of them another version or remove it",
                identity.plugin, identity.version, twin.file
            );
            return Err(PluginError::new(Stage::Match, reason));
        }
        self.plugins.entry(identity.digest).or_insert(entry);
        Ok(())
    }

    fn what_there_is(&self, name: &str, requirement: &VersionReq, pin: Option<Digest>, named: &[&Entry]) -> String {
        if named.is_empty() {
            let names: Vec<&str> = self.plugins.values().map(|e| e.plugin.identity().plugin.as_str()).collect();
            let there =
                if names.is_empty() { "it holds no plugin".into() } else { format!("it holds {}", names.join(", ")) };
            return format!("the plugin folder has no plugin named \"{name}\"; {there}");
        }
        let versions: Vec<String> = named.iter().map(|e| format!("{} in {}", e.plugin.identity(), e.file)).collect();
        let pinned = pin.map_or(String::new(), |pin| format!(" with sha256 {pin}"));
        format!("no \"{name}\" matches version \"{requirement}\"{pinned}; there is {}", versions.join(", "))
    }
}

impl Entry {
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
