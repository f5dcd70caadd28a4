//! A compiled plugin: the identity of its file, and its own description.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::abi::{ABI_MAJOR, MINOR_OF_1_2};
use super::cache::CodeCache;
use super::error::{PluginError, Stage};
use super::instance::{Instance, PLAN};
use super::limits::Limits;
use super::{Digest, Identity, complexity};
use crate::config::is_label;

/// A row's tags are the bits of a `u64`.
const MAX_TAGS: usize = 64;

/// The kinds of policy; a module may be both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Exports `pointsman_score`.
    pub scoring: bool,
    /// Exports `pointsman_retry`.
    pub retry: bool,
}

/// A compiled module whose ABI version is supported and whose exports are there.
pub struct Plugin {
    identity: Identity,
    kinds: Kinds,
    /// It exports `pointsman_plan`, an option of retry policies.
    pub(super) plans: bool,
    /// The minor version of the ABI that it was built for.
    pub(super) minor: u32,
    tags: Option<Vec<String>>,
    pub(super) module: wasmtime::Module,
}

#[derive(Deserialize)]
struct Describe {
    name: String,
    version: semver::Version,
    kinds: Vec<Kind>,
    /// Of any form in a module of an older version, which doesn't know the key.
    tags: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Scoring,
    Retry,
}

impl Plugin {
    /// Compiles `wasm`, or takes its code from `cache`, and checks it. Code of a valid module is
    /// stored in `cache`.
    pub(super) fn compile(
        engine: &wasmtime::Engine,
        wasm: &[u8],
        digest: Digest,
        limits: &Limits,
        cache: Option<&CodeCache>,
    ) -> Result<Self, PluginError> {
        if let Some(module) = cache.and_then(|cache| cache.load(digest)) {
            return Plugin::of(engine, module, digest, limits);
        }
        complexity::check(wasm, limits)?;
        let module = wasmtime::Module::from_binary(engine, wasm)
            .map_err(|e| PluginError::new(Stage::Compile, format!("does not compile: {e:#}")))?;
        let plugin = Plugin::of(engine, module, digest, limits)?;
        if let Some(cache) = cache {
            cache.store(&plugin.module, digest);
        }
        Ok(plugin)
    }

    /// Reads a module's version and description, and checks its exports against them.
    fn of(
        engine: &wasmtime::Engine,
        module: wasmtime::Module,
        digest: Digest,
        limits: &Limits,
    ) -> Result<Self, PluginError> {
        let mut instance = Instance::bare(engine, &module, limits)?;
        let minor = check_abi(instance.abi_version()?)?;
        let mut describe = parse_describe(&instance.describe()?)?;
        let tags = describe.tags.take().filter(|_| minor >= MINOR_OF_1_2).map(parse_tags).transpose()?;
        let kinds =
            Kinds { scoring: describe.kinds.contains(&Kind::Scoring), retry: describe.kinds.contains(&Kind::Retry) };
        let identity = Identity { plugin: describe.name, version: describe.version, digest };
        let plans = kinds.retry && module.get_export(PLAN).is_some();
        instance.check_exports(kinds, plans)?;
        Ok(Plugin { identity, kinds, plans, minor, tags, module })
    }

    /// Name, version and digest.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The kinds of policy that the module implements.
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// The tags whose bits it reads, if it lists them.
    pub fn tags(&self) -> Option<&[String]> {
        self.tags.as_deref()
    }
}

impl Digest {
    /// The sha256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }
}

/// Returns the minor version of a module whose major version is supported.
fn check_abi(version: u32) -> Result<u32, PluginError> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major == ABI_MAJOR {
        return Ok(minor);
    }
    let reason = format!("is built for ABI {major}.{minor}; this proxy knows ABI {ABI_MAJOR}");
    Err(PluginError::new(Stage::Abi, reason))
}

fn parse_describe(json: &[u8]) -> Result<Describe, PluginError> {
    let refuse = |reason: String| PluginError::new(Stage::Describe, reason);
    let describe: Describe = serde_json::from_slice(json).map_err(|e| refuse(format!("describe is not valid: {e}")))?;
    let name = describe.name.as_bytes();
    let good = matches!(name.first(), Some(b'a'..=b'z'))
        && name.len() <= 64
        && name.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if !good {
        return Err(refuse("its name must be 1 to 64 characters of a-z, 0-9 and '-', beginning with a letter".into()));
    }
    if describe.kinds.is_empty() {
        return Err(refuse("it says that it is neither a scoring nor a retry policy".into()));
    }
    Ok(describe)
}

fn parse_tags(tags: serde_json::Value) -> Result<Vec<String>, PluginError> {
    let refuse = |reason: String| PluginError::new(Stage::Describe, reason);
    let tags: Vec<String> =
        serde_json::from_value(tags).map_err(|e| refuse(format!("its tags must be a list of texts: {e}")))?;
    if tags.len() > MAX_TAGS {
        return Err(refuse(format!("it lists {} tags; an endpoint row has room for {MAX_TAGS}", tags.len())));
    }
    for (n, tag) in tags.iter().enumerate() {
        if !is_label(tag) {
            let reason =
                format!("its tag {tag:?} must be 1 to 64 characters without spaces, quotes or control characters");
            return Err(refuse(reason));
        }
        if tags[..n].contains(tag) {
            return Err(refuse(format!("it lists the tag {tag:?} twice")));
        }
    }
    Ok(tags)
}
