//! Faults of guests, as messages and as a metric label.

use std::fmt;

use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};

use super::log::printable;

/// The most frames of a backtrace that are shown, from the innermost on.
const FRAMES: usize = 16;
/// The longest function name that is shown, in bytes. The guest chooses its names, and mangled ones
/// are long.
const NAME_BYTES: usize = 80;

/// A policy broke a rule of the ABI. The native fallback decides in its place.
#[derive(Debug, Error)]
pub enum Fault {
    /// The guest trapped.
    #[error("trapped: {0}")]
    Trap(String, Frames),
    /// The call used up its fuel.
    #[error("used up its fuel")]
    Fuel(Frames),
    /// The call exceeded its epoch deadline.
    #[error("ran too long")]
    Epoch(Frames),
    /// The guest was refused memory, or room in a table, and trapped.
    #[error("was refused memory and trapped: {0}")]
    Memory(String, Frames),
    /// An export or a pointer violates the ABI.
    #[error("breaks the ABI: {0}")]
    Abi(String),
    /// The answer is out of range.
    #[error("gave an answer that is out of range: {0}")]
    Output(&'static str),
    /// The instance is being replaced after an earlier fault.
    #[error("has no instance ready on this thread")]
    NotReady,
}

/// The guest's backtrace: its functions from the innermost on, fit to print. Empty if unknown.
#[derive(Debug, Default)]
pub struct Frames(String);

impl Fault {
    /// The cause of a call's end. `starved` means that the guest was refused memory during it.
    pub(super) fn of(error: &wasmtime::Error, starved: bool) -> Fault {
        let at = Frames::of(error);
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Fault::Fuel(at),
            Some(Trap::Interrupt) => Fault::Epoch(at),
            Some(trap) if starved => Fault::Memory(trap.to_string(), at),
            Some(trap) => Fault::Trap(trap.to_string(), at),
            None => Fault::Trap(error.root_cause().to_string(), at),
        }
    }

    /// The label in `policy_faults_total{kind}`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Fault::Trap(..) => "trap",
            Fault::Fuel(_) => "fuel",
            Fault::Epoch(_) => "epoch",
            Fault::Memory(..) => "memory",
            Fault::Abi(_) => "abi",
            Fault::Output(_) => "output",
            Fault::NotReady => "not_ready",
        }
    }

    /// All labels, for building the metrics.
    pub const KINDS: [&'static str; 7] = ["trap", "fuel", "epoch", "memory", "abi", "output", "not_ready"];

    /// The guest's backtrace, if a call was interrupted.
    pub fn backtrace(&self) -> Option<&Frames> {
        match self {
            Fault::Trap(_, at) | Fault::Fuel(at) | Fault::Epoch(at) | Fault::Memory(_, at) => Some(at),
            Fault::Abi(_) | Fault::Output(_) | Fault::NotReady => None,
        }
    }
}

impl Frames {
    /// Whether the backtrace is unknown.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(error: &wasmtime::Error) -> Self {
        let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Frames::default() };
        let frames = backtrace.frames().iter().take(FRAMES).map(|frame| {
            let name = frame.func_name().unwrap_or_default().as_bytes();
            let name = printable(&name[..name.len().min(NAME_BYTES)]);
            let offset = frame.module_offset().unwrap_or_default();
            format!("{offset:#x} func[{}] {name}", frame.func_index()).trim_end().to_owned()
        });
        Frames(frames.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
