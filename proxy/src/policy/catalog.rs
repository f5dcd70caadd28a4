//! The plugin folder: which modules there are, and which of them the conf asks for.
//!
//! Every `*.wasm` in the folder must be a good plugin, wanted or not: an operator who dropped a broken file is told at once,
//! instead of finding later that it was passed over. Names that begin with a dot are skipped, so that tools
//! which write a temporary file and rename it do no harm.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use semver::VersionReq;

use super::error::{PluginError, Stage};
use super::{Digest, Plugin, PolicyRuntime};

/// The compiled plugins of a folder.
#[derive(Clone, Default)]
pub struct Catalog {
    plugins: BTreeMap<Digest, Entry>,
}

#[derive(Clone)]
struct Entry {
    file: String,
    plugin: Arc<Plugin>,
}

impl Catalog {
    /// Reads every module in `dir`. What `previous` has compiled already is taken over.
    ///
    /// # Errors
    /// When the folder or one of its modules can't be used.
    pub fn scan(runtime: &PolicyRuntime, dir: &Path, previous: &Catalog) -> Result<Self, PluginError> {
        let mut catalog = Catalog::default();
        for path in module_files(dir)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let subject = format!("plugin file {}", path.display());
            let wasm = read(&path, runtime.limits.module_bytes).map_err(|e| e.of(&subject))?;
            let digest = Digest::of(&wasm);
            let plugin = match previous.plugins.get(&digest) {
                Some(known) => Arc::clone(&known.plugin),
                None => Arc::new(runtime.compile(&wasm).map_err(|e| e.of(&subject))?),
            };
            catalog.add(file, plugin).map_err(|e| e.of(&subject))?;
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

    fn add(&mut self, file: String, plugin: Arc<Plugin>) -> Result<(), PluginError> {
        let identity = plugin.identity();
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
        self.plugins.entry(identity.digest).or_insert(Entry { file, plugin });
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

/// The module files of `dir` in the order of their names.
fn module_files(dir: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let refuse = |e: std::io::Error| {
        PluginError::new(Stage::Read, format!("can't be read: {e}")).of(format!("plugin folder {}", dir.display()))
    };
    let root = dir.canonicalize().map_err(refuse)?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&root).map_err(refuse)? {
        let path = entry.map_err(refuse)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        check_place(&root, &path).map_err(|e| e.of(format!("plugin file {}", path.display())))?;
        files.push(path);
    }
    files.sort();
    Ok(files)
}

/// A module is a plain file inside of the folder, also when a link leads to it.
fn check_place(root: &Path, path: &Path) -> Result<(), PluginError> {
    let refuse = |reason: String| PluginError::new(Stage::Read, reason);
    let target = path.canonicalize().map_err(|e| refuse(format!("can't be read: {e}")))?;
    if !target.starts_with(root) {
        return Err(refuse("is a link that leads out of the plugin folder".into()));
    }
    if !target.is_file() {
        return Err(refuse("is not a file".into()));
    }
    Ok(())
}

fn read(path: &Path, limit: usize) -> Result<Vec<u8>, PluginError> {
    let refuse = |e: std::io::Error| PluginError::new(Stage::Read, format!("can't be read: {e}"));
    let file = std::fs::File::open(path).map_err(refuse)?;
    let size = file.metadata().map_err(refuse)?.len();
    if size > limit as u64 {
        return Err(PluginError::new(Stage::Read, format!("has {size} bytes; a module may have {limit}")));
    }
    let mut wasm = Vec::new();
    // It may grow while it is read; one byte too many is refused later.
    file.take(limit as u64 + 1).read_to_end(&mut wasm).map_err(refuse)?;
    Ok(wasm)
}
