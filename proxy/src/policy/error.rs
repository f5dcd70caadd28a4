//! Why a plugin was refused: the stage that refused it, and the reason.

use std::fmt;

use thiserror::Error;

use super::Fault;
use super::log::printable;

/// Bytes of a reason. A config's refusal, at most 4 KiB, fits.
const REASON_BYTES: usize = 5 << 10;

/// A step of loading a plugin, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The folder for compiled code.
    Cache,
    /// Reading the plugin folder and its files.
    Read,
    /// The signature that a file must have.
    Signature,
    /// Decoding, validating and compiling the module.
    Compile,
    /// Resolving imports, running the start function, finding the exports.
    Instantiate,
    /// The ABI version.
    Abi,
    /// The module's own description.
    Describe,
    /// Finding the version that the conf asks for.
    Match,
    /// The conf's `config` table.
    Configure,
    /// Calls with canned input.
    Probe,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Cache => "cache",
            Stage::Read => "read",
            Stage::Signature => "signature",
            Stage::Compile => "compile",
            Stage::Instantiate => "instantiate",
            Stage::Abi => "abi",
            Stage::Describe => "describe",
            Stage::Match => "match",
            Stage::Configure => "configure",
            Stage::Probe => "probe",
        })
    }
}

/// A plugin or policy that can't be used.
#[derive(Debug, Error)]
#[error("{}stage {stage}: {reason}", subject(what))]
pub struct PluginError {
    /// The file, plugin or policy, once it is known.
    what: String,
    /// Where loading stopped.
    pub stage: Stage,
    reason: String,
}

impl PluginError {
    /// The reason may quote the module (an import, an unknown word in its description): it is cut
    /// and made fit to print.
    pub(super) fn new(stage: Stage, reason: impl AsRef<[u8]>) -> Self {
        let reason = reason.as_ref();
        PluginError { what: String::new(), stage, reason: printable(&reason[..reason.len().min(REASON_BYTES)]) }
    }

    pub(super) fn fault(stage: Stage, call: &str, fault: &Fault) -> Self {
        match fault.backtrace().filter(|at| !at.is_empty()) {
            Some(at) => PluginError::new(stage, format!("{call} {fault}; backtrace: {at}")),
            None => PluginError::new(stage, format!("{call} {fault}")),
        }
    }

    /// Names the file, plugin or policy that the error is about.
    #[must_use]
    pub(super) fn of(mut self, what: impl Into<String>) -> Self {
        if self.what.is_empty() {
            self.what = what.into();
        }
        self
    }
}

fn subject(what: &str) -> String {
    if what.is_empty() { String::new() } else { format!("{what}: ") }
}

/// The policy runtime does not start.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// Wasmtime refuses to run here.
    #[error("the WebAssembly engine does not start (is the address space limited, as by `ulimit -v`?): {0}")]
    Engine(String),
    /// No thread for replacing instances.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}
