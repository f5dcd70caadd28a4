//! Secret values and their sources: the conf itself, the environment or a file.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::files::{self, FileError};

/// The largest secret file in bytes. Keys and tokens are far shorter; the limit catches a wrong
/// path.
const MAX_SECRET_FILE: usize = 64 << 10;

/// The longest variable name that messages show.
const MAX_SHOWN: usize = 64;

/// A value that appears in no log, metric, page or message: its printed form is `<redacted>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// The key of the hash of clients' addresses. A secret: with it, addresses can be found by trial.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClientKey(pub [u8; 16]);

impl ClientKey {
    /// Derives the key from a secret.
    pub(super) fn derived(secret: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let [first, _] = *digest.as_chunks().0 else { return ClientKey([0; 16]) };
        ClientKey(first)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Why a value isn't available.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("env: must be followed by the name of an environment variable, as in \"env:RPC_KEY\"")]
    BadName,
    #[error("the environment variable {0} isn't set; set it before the start, or write file:PATH")]
    Unset(String),
    #[error("the environment variable {0} is empty")]
    EmptyVariable(String),
    #[error("file: must be followed by a path, as in \"file:keys/rpc\"")]
    NoPath,
    #[error("the file {} {reason}", path.display())]
    Unreadable { path: PathBuf, reason: FileError },
    #[error("the file {} is larger than 64 KiB, which is no secret", .0.display())]
    TooLarge(PathBuf),
    #[error("the file {} is empty", .0.display())]
    EmptyFile(PathBuf),
    #[error("must not be empty")]
    Empty,
    #[error("file: must be followed by a path, and is followed by a URL; without file: it is the value itself")]
    UrlForPath,
    #[error(
        "holds env: or file: behind other text, where nothing is filled in; put the whole value into a variable or a file, and write \"env:NAME\" or \"file:PATH\""
    )]
    Embedded,
    #[error("holds a placeholder, and none is filled in; put the whole value into a variable and write \"env:NAME\"")]
    Placeholder,
}

/// The sources of `env:NAME` and `file:PATH`.
pub(super) struct Sources<'a> {
    /// The conf's folder, the base of relative paths.
    pub(super) folder: &'a Path,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

impl Sources<'_> {
    /// The value of `text`: itself, or the contents of `env:NAME` or `file:PATH`.
    pub(super) fn resolve(&self, text: &str) -> Result<String, SecretError> {
        if let Some(name) = text.strip_prefix("env:") {
            self.variable(name)
        } else if let Some(path) = text.strip_prefix("file:") {
            self.file(path)
        } else if text.is_empty() {
            Err(SecretError::Empty)
        } else if has_placeholder(text) {
            Err(SecretError::Placeholder)
        } else if has_reference(text) {
            Err(SecretError::Embedded)
        } else {
            Ok(text.to_owned())
        }
    }

    fn variable(&self, name: &str) -> Result<String, SecretError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) {
            return Err(SecretError::BadName);
        }
        match (self.env)(name) {
            None => Err(SecretError::Unset(shown(name))),
            Some(value) if value.is_empty() => Err(SecretError::EmptyVariable(shown(name))),
            Some(value) => Ok(value),
        }
    }

    fn file(&self, path: &str) -> Result<String, SecretError> {
        if path.is_empty() {
            return Err(SecretError::NoPath);
        }
        // The path may hold a key, so it isn't shown.
        if path.contains("://") {
            return Err(SecretError::UrlForPath);
        }
        let path = self.folder.join(path);
        let text = match files::read_text(&path, MAX_SECRET_FILE) {
            Ok(text) => text,
            Err(FileError::TooLarge { .. }) => return Err(SecretError::TooLarge(path)),
            Err(reason) => return Err(SecretError::Unreadable { path, reason }),
        };
        let value = text.trim_end_matches(['\r', '\n']);
        if value.is_empty() {
            return Err(SecretError::EmptyFile(path));
        }
        Ok(value.to_owned())
    }
}

/// A variable's name for a message, unless it may be the secret itself, pasted behind `env:`.
fn shown(name: &str) -> String {
    let is_usual = name.len() <= MAX_SHOWN && !name.bytes().any(|byte| byte.is_ascii_lowercase());
    if is_usual { name.to_owned() } else { "that env: names (its name isn't shown)".to_owned() }
}

/// Whether `text` has a placeholder of a shell or a template engine: `${NAME}`, `$(command)`,
/// `{{ name }}`, or `$NAME` as a word. A secret that happens to look like one can come from `env:`
/// or `file:`.
fn has_placeholder(text: &str) -> bool {
    let is_name = |rest: &str| {
        let word = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let is_upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        word.len() > 1 && word.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') && word.chars().all(is_upper)
    };
    let is_variable = |(at, _): (usize, &str)| !text[..at].ends_with(char::is_alphanumeric) && is_name(&text[at + 1..]);
    ["${", "$(", "{{"].iter().any(|begin| text.contains(begin)) || text.match_indices('$').any(is_variable)
}

/// Whether `env:NAME` follows other text, as in `Bearer env:NAME` or `https://host/env:NAME`, or
/// `file:PATH` follows a space.
fn has_reference(text: &str) -> bool {
    let is_name = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_word = |at: usize| !text[..at].ends_with(char::is_alphanumeric);
    text.match_indices("env:").any(|(at, name)| is_word(at) && is_name(&text[at + name.len()..]))
        || text.contains(" file:")
}
