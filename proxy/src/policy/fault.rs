//! What can go wrong with a guest, in words and as a metric label.

use thiserror::Error;

/// A policy broke a rule of the ABI. The native fallback answers the request in its place.
#[derive(Debug, Error)]
pub enum Fault {
    /// The guest trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// The call used up its fuel.
    #[error("used up its fuel")]
    Fuel,
    /// The call ran past the epoch deadline.
    #[error("ran too long")]
    Epoch,
    /// An export or a pointer is not what the ABI says.
    #[error("breaks the ABI: {0}")]
    Abi(String),
    /// The answer is outside of its range.
    #[error("gave an answer that is out of range: {0}")]
    Output(&'static str),
    /// The instance is being replaced after an earlier fault.
    #[error("has no instance ready on this thread")]
    NotReady,
}

impl Fault {
    /// The label in `policy_faults_total{kind}`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Fault::Trap(_) => "trap",
            Fault::Fuel => "fuel",
            Fault::Epoch => "epoch",
            Fault::Abi(_) => "abi",
            Fault::Output(_) => "output",
            Fault::NotReady => "not_ready",
        }
    }

    /// Every label, for building the metrics.
    pub const KINDS: [&'static str; 6] = ["trap", "fuel", "epoch", "abi", "output", "not_ready"];
}

impl From<wasmtime::Error> for Fault {
    fn from(error: wasmtime::Error) -> Self {
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::OutOfFuel) => Fault::Fuel,
            Some(wasmtime::Trap::Interrupt) => Fault::Epoch,
            Some(trap) => Fault::Trap(trap.to_string()),
            None => Fault::Trap(error.to_string()),
        }
    }
}
