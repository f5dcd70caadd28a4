//! Errors of plugins: the stage that failed, and the reason.

use std::fmt;

use thiserror::Error;

use super::Fault;
use super::log::printable;

/// Longest reason in bytes. A config's refusal, at most 4 KiB, fits.
const REASON_BYTES: usize = 5 << 10;

/// A stage of loading a plugin, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The folder of compiled code.
    Cache,
    /// Reading the plugin folder and its files.
    Read,
    /// Verifying the signature.
    Signature,
    /// Decoding, validating and compiling the module.
    Compile,
    /// Resolving imports, running the start function, finding the exports.
    Instantiate,
    /// Checking the ABI version.
    Abi,
    /// Reading the module's description.
    Describe,
    /// Finding the version that the conf requires.
    Match,
    /// Applying the conf's `config` table.
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
    /// The file, plugin or policy, once known.
    what: String,
    /// The stage that failed.
    pub stage: Stage,
    reason: String,
}

impl PluginError {
    /// The reason may quote the module (an import, an unknown word in its description), so it is
    /// truncated and made fit to print.
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

    /// Adds the name of the file, plugin or policy.
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

/// An error that keeps the policy runtime from starting.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// Wasmtime can't run here.
    #[error("the WebAssembly engine does not start (is the address space limited, as by `ulimit -v`?): {0}")]
    Engine(String),
    /// The thread that replaces instances can't start.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}
