//! The host's side of an instance: the data of its store, its quota, and the only function that it
//! may import.

use std::sync::Arc;

use wasmtime::{Caller, Engine, Extern, Linker, ResourceLimiter, Trap};

use super::limits::{LOG_CALL_FUEL, LOG_LINE_BYTES, Limits};
use super::log::GuestLog;
use super::stall::Stall;

/// The store's data for the host's side of calls.
pub(super) struct Host {
    pub(super) quota: Quota,
    pub(super) stall: Stall,
    log: Arc<GuestLog>,
}

/// The quota of an instance, and whether it was exceeded.
pub(super) struct Quota {
    memory: usize,
    table_elements: usize,
    /// Memory was refused during this call: a trap is then attributed to it.
    pub(super) refused: bool,
}

impl Host {
    pub(super) fn new(limits: &Limits, log: Arc<GuestLog>) -> Self {
        let quota = Quota { memory: limits.memory, table_elements: limits.table_elements, refused: false };
        Host { quota, stall: Stall::load(), log }
    }

    /// The imports of a module: `pointsman.log` and nothing else.
    pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
        let mut linker = Linker::new(engine);
        linker.func_wrap("pointsman", "log", guest_log)?;
        Ok(linker)
    }
}

impl Quota {
    fn admit(&mut self, desired: usize, limit: usize, maximum: Option<usize>) -> bool {
        let admitted = desired <= maximum.map_or(limit, |maximum| maximum.min(limit));
        self.refused |= !admitted;
        admitted
    }
}

impl ResourceLimiter for Quota {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.admit(desired, self.memory, maximum))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.admit(desired, self.table_elements, maximum))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }
}

/// Charges fuel first, whether or not the line is written: a guest that can't pay for the line ends
/// its call.
fn guest_log(mut caller: Caller<'_, Host>, level: i32, ptr: u32, len: u32) -> wasmtime::Result<()> {
    // The rest of a longer line isn't read.
    let bytes = u64::from(len).min(LOG_LINE_BYTES as u64);
    let left = caller.get_fuel()?.checked_sub(LOG_CALL_FUEL + bytes);
    caller.set_fuel(left.unwrap_or(0))?;
    if left.is_none() {
        return Err(Trap::OutOfFuel.into());
    }
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return Ok(()) };
    let (data, host) = memory.data_and_store_mut(&mut caller);
    let start = ptr as usize;
    if let Some(line) = data.get(start..start.saturating_add(len as usize)) {
        host.log.write(level, line);
    }
    Ok(())
}
