//! The process's only Wasmtime engine: its features, and the ticker that stops runaway calls.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::limits::{EPOCH_PERIOD, Limits};

/// A Wasmtime engine with a thread that advances its epoch. Dropping it ends the thread.
pub(super) struct Engine {
    inner: wasmtime::Engine,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Engine {
    pub(super) fn new(limits: &Limits) -> wasmtime::Result<Self> {
        let inner = wasmtime::Engine::new(&config(limits))?;
        let (stop, stopped) = channel();
        let engine = inner.clone();
        let thread = std::thread::Builder::new().name("policy-epoch".into()).spawn(move || {
            while stopped.recv_timeout(EPOCH_PERIOD) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })?;
        Ok(Engine { inner, ticker: Some((stop, thread)) })
    }

    pub(super) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// Policies are core modules that compute: all other features of Wasm are off, and floats are
/// deterministic on all machines.
fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    config
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(limits.instances)
        .total_memories(limits.instances)
        .total_tables(limits.instances)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_memory_size(limits.memory)
        .table_elements(limits.table_elements);
    pool
}
