//! Problems of a conf, and their places.
//!
//! Invariant: no message holds a URL, a header value or a token. A line of the conf may hold a key,
//! so messages give its number and never its text.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::files::FileError;

/// The most problems that a message lists: enough to work through, short enough for a log line.
const LISTED: usize = 100;

/// Why a conf was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    // The message includes `reason`. As a `source` it would be printed twice.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The conf file.
        path: PathBuf,
        /// The reason.
        reason: FileError,
    },
    /// The conf has problems.
    #[error("{}", listing(path, problems))]
    Invalid {
        /// The conf file.
        path: PathBuf,
        /// At least one, in the order of the file.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// The problems in the order of the file; empty if it couldn't be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }
}

/// One problem of a conf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The path of the key, such as `upstreams.ethereum.endpoints[0].weight`; empty for a syntax
    /// error.
    pub key: String,
    /// The problem, and what to write instead.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A place in the conf file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

fn listing(path: &Path, problems: &[Problem]) -> String {
    let mut lines: Vec<String> =
        problems.iter().take(LISTED).map(|problem| format!("{}:{problem}", path.display())).collect();
    if let Some(more) = problems.len().checked_sub(LISTED).filter(|&more| more > 0) {
        lines.push(format!("{}: and {more} more", path.display()));
    }
    lines.join("\n")
}
