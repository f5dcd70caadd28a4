//! One instance of a module: its store, its memory and its typed exports.
//!
//! Invariants: every call begins with a fresh epoch deadline and fresh fuel, which only load-time
//! calls share; every pointer from the guest is checked against its memory at each use; after a
//! fault the instance isn't called again (its owner drops it).

use std::sync::Arc;

use bytemuck::{bytes_of, cast_slice_mut, pod_read_unaligned};
use wasmtime::{Memory, Module, Store, TypedFunc, WasmParams, WasmResults};

use super::Rows;
use super::abi::{AttemptBlock, DecisionBlock, EndpointRow, MINOR_OF_1_2, PlanBlock, RequestBlock, size};
use super::decode::{Scored, refusal};
use super::error::{PluginError, Stage};
use super::fault::Fault;
use super::guest_layout::{Area, FLAGS_AT, put, slot};
use super::host::Host;
use super::limits::{HOT_EPOCHS, LOAD_EPOCHS, Limits};
use super::log::GuestLog;
use super::module::{Kinds, Plugin};
use super::spent;
use super::stall::Stall;

const INITIALIZE: &str = "_initialize";
const ALLOC: &str = "pointsman_alloc";
const CONFIGURE: &str = "pointsman_configure";
/// The optional export of retry policies.
pub(super) const PLAN: &str = "pointsman_plan";

/// An instance that can only be asked for its description.
pub(super) struct Instance {
    store: Store<Host>,
    instance: wasmtime::Instance,
    memory: Memory,
    limits: Limits,
}

/// A configured instance with reserved memory for its blocks.
pub(super) struct ReadyInstance {
    inner: Instance,
    area: Area,
    hot: Hot,
    /// The minor version of the ABI that the module was built for.
    minor: u32,
}

/// The exports of hot calls.
struct Hot {
    score: Option<TypedFunc<(u32, u32, u32, u32), ()>>,
    retry: Option<TypedFunc<(u32, u32, u32), ()>>,
    plan: Option<TypedFunc<(u32, u32, u32), ()>>,
}

impl Instance {
    /// Instantiates `module` and runs its start functions.
    pub(super) fn bare(engine: &wasmtime::Engine, module: &Module, limits: &Limits) -> Result<Self, PluginError> {
        Self::with_log(engine, module, limits, GuestLog::new("", limits.log_lines_per_sec))
    }

    fn with_log(
        engine: &wasmtime::Engine,
        module: &Module,
        limits: &Limits,
        log: Arc<GuestLog>,
    ) -> Result<Self, PluginError> {
        let refuse = |e: wasmtime::Error| PluginError::new(Stage::Instantiate, format!("{e:#}"));
        let mut store = Store::new(engine, Host::new(limits, log));
        store.limiter(|host| &mut host.quota);
        store.epoch_deadline_callback(|mut caller| Ok(caller.data_mut().stall.look()));
        store.set_epoch_deadline(LOAD_EPOCHS);
        store.set_fuel(limits.load_fuel).map_err(refuse)?;
        let linker = Host::linker(engine).map_err(refuse)?;
        let instance = linker.instantiate(&mut store, module).map_err(|e| refuse_start(&store, &e, limits))?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| PluginError::new(Stage::Instantiate, "does not export a memory named `memory`"))?;
        let mut this = Instance { store, instance, memory, limits: *limits };
        if module.get_export(INITIALIZE).is_some() {
            this.load_call::<(), ()>(INITIALIZE, (), Stage::Instantiate)?;
        }
        Ok(this)
    }

    pub(super) fn abi_version(&mut self) -> Result<u32, PluginError> {
        self.load_call("pointsman_abi_version", (), Stage::Abi)
    }

    pub(super) fn describe(&mut self) -> Result<Vec<u8>, PluginError> {
        let slice: u64 = self.load_call("pointsman_describe", (), Stage::Describe)?;
        self.read_text(slice).map_err(|fault| PluginError::fault(Stage::Describe, "describe", &fault))
    }

    /// Checks that every export of these kinds of policies exists with the right type.
    pub(super) fn check_exports(&mut self, kinds: Kinds, plans: bool) -> Result<(), PluginError> {
        self.export::<(u32, u32), u32>(ALLOC)?;
        self.export::<(u32, u32), u64>(CONFIGURE)?;
        self.hot(kinds, plans).map(drop)
    }

    fn hot(&mut self, kinds: Kinds, plans: bool) -> Result<Hot, PluginError> {
        Ok(Hot {
            score: kinds.scoring.then(|| self.export("pointsman_score")).transpose()?,
            retry: kinds.retry.then(|| self.export("pointsman_retry")).transpose()?,
            plan: plans.then(|| self.export(PLAN)).transpose()?,
        })
    }

    fn configure(&mut self, config: &str) -> Result<(), PluginError> {
        let len = u32::try_from(config.len())
            .map_err(|_| PluginError::new(Stage::Configure, "its config is larger than 4 GiB"))?;
        let ptr = self.alloc(len, 8)?;
        put(self.memory.data_mut(&mut self.store), ptr, config.as_bytes())
            .map_err(|fault| PluginError::fault(Stage::Configure, "alloc", &fault))?;
        let answer: u64 = self.load_call(CONFIGURE, (ptr, len), Stage::Configure)?;
        if answer == 0 {
            return Ok(());
        }
        let text = self.read_text(answer).map_err(|fault| PluginError::fault(Stage::Configure, "configure", &fault))?;
        let reason = format!("refused its config: {}", super::log::printable(&text));
        Err(PluginError::new(Stage::Configure, reason))
    }

    pub(super) fn alloc(&mut self, size: u32, align: u32) -> Result<u32, PluginError> {
        let ptr: u32 = self.load_call(ALLOC, (size, align), Stage::Configure)?;
        let end = u64::from(ptr) + u64::from(size);
        if ptr == 0 || !ptr.is_multiple_of(align) || end > self.memory.data_size(&self.store) as u64 {
            let reason =
                format!("pointsman_alloc({size}, {align}) gave {ptr}, which is not such a place in its memory");
            return Err(PluginError::new(Stage::Configure, reason));
        }
        Ok(ptr)
    }

    fn load_call<P, R>(&mut self, export: &str, params: P, stage: Stage) -> Result<R, PluginError>
    where
        P: WasmParams,
        R: WasmResults,
    {
        let function = self.export::<P, R>(export)?;
        function
            .call(&mut self.store, params)
            .map_err(|e| PluginError::fault(stage, export.trim_start_matches("pointsman_"), &fault(&self.store, &e)))
    }

    fn export<P, R>(&mut self, name: &str) -> Result<TypedFunc<P, R>, PluginError>
    where
        P: WasmParams,
        R: WasmResults,
    {
        let function = self
            .instance
            .get_func(&mut self.store, name)
            .ok_or_else(|| PluginError::new(Stage::Instantiate, format!("does not export `{name}`")))?;
        function
            .typed(&self.store)
            .map_err(|e| PluginError::new(Stage::Instantiate, format!("export `{name}` has a wrong type: {e}")))
    }

    /// Reads the text at `ptr << 32 | len`.
    fn read_text(&self, slice: u64) -> Result<Vec<u8>, Fault> {
        let (ptr, len) = ((slice >> 32) as usize, (slice & 0xffff_ffff) as usize);
        if len > self.limits.text_bytes {
            return Err(Fault::Abi(format!("returned a text of {len} bytes, more than {}", self.limits.text_bytes)));
        }
        let text = self.memory.data(&self.store).get(ptr..ptr.saturating_add(len));
        text.map(<[u8]>::to_vec).ok_or_else(|| Fault::Abi("returned a slice outside of its memory".into()))
    }

    /// Makes a hot call with its own fuel and deadline.
    fn hot_call<P: WasmParams>(&mut self, function: &TypedFunc<P, ()>, fuel: u64, params: P) -> Result<(), Fault> {
        self.store.set_fuel(fuel).map_err(|e| fault(&self.store, &e))?;
        let host = self.store.data_mut();
        host.stall = Stall::hot();
        host.quota.refused = false;
        self.store.set_epoch_deadline(HOT_EPOCHS);
        let answer = function.call(&mut self.store, params).map_err(|e| fault(&self.store, &e));
        spent::note(fuel.saturating_sub(self.store.get_fuel().unwrap_or(0)), &answer);
        answer
    }
}

impl ReadyInstance {
    /// Instantiates and configures `plugin`, with room for `capacity` rows.
    pub(super) fn new(
        engine: &wasmtime::Engine,
        plugin: &Plugin,
        config: &str,
        capacity: usize,
        log: Arc<GuestLog>,
        limits: &Limits,
    ) -> Result<Self, PluginError> {
        let mut inner = Instance::with_log(engine, &plugin.module, limits, log)?;
        let hot = inner.hot(plugin.kinds(), plugin.plans)?;
        inner.configure(config)?;
        let area = Area::reserve(&mut inner, capacity)?;
        Ok(ReadyInstance { inner, area, hot, minor: plugin.minor })
    }

    /// Scores `rows`; `scores` gets one number per row. Whether they are usable isn't checked here.
    pub(super) fn score(
        &mut self,
        request: &RequestBlock,
        rows: Rows<'_>,
        scores: &mut Vec<f64>,
    ) -> Result<Scored, Fault> {
        let len = rows.rows.len();
        let (Some(function), area) = (&self.hot.score, self.area) else {
            return Err(Fault::Abi("has no `pointsman_score`".into()));
        };
        if len > area.capacity {
            return Err(Fault::Abi(format!("was given {len} rows and has room for {}", area.capacity)));
        }
        let inner = &mut self.inner;
        let data = inner.memory.data_mut(&mut inner.store);
        area.put_request(data, request, self.minor)?;
        area.put_rows(data, rows)?;
        slot(data, area.scores, size_of::<f64>() * len)?.fill(0);

        let count = u32::try_from(len).unwrap_or(u32::MAX);
        let fuel = inner.limits.fuel + inner.limits.fuel_per_row * u64::from(count);
        inner.hot_call(function, fuel, (area.request, area.rows, count, area.scores))?;

        let data = inner.memory.data_mut(&mut inner.store);
        scores.clear();
        let at = area.request + FLAGS_AT;
        if self.minor >= MINOR_OF_1_2 && refusal(request.flags, pod_read_unaligned(slot(data, at, size_of::<u32>())?))?
        {
            scores.resize(len, f64::NEG_INFINITY);
            return Ok(Scored::Refused);
        }
        scores.resize(len, 0.0);
        let answer = slot(data, area.scores, size_of_val(scores.as_slice()))?;
        cast_slice_mut(scores.as_mut_slice()).copy_from_slice(answer);
        Ok(Scored::Ranked)
    }

    /// Decides about the next step after an attempt.
    pub(super) fn retry(&mut self, request: &RequestBlock, attempt: &AttemptBlock) -> Result<DecisionBlock, Fault> {
        let (Some(function), area) = (&self.hot.retry, self.area) else {
            return Err(Fault::Abi("has no `pointsman_retry`".into()));
        };
        let blank = DecisionBlock { size: size::<DecisionBlock>(), ..bytemuck::Zeroable::zeroed() };
        let inner = &mut self.inner;
        let data = inner.memory.data_mut(&mut inner.store);
        area.put_request(data, request, self.minor)?;
        area.put_attempt(data, attempt, self.minor)?;
        put(data, area.decision, bytes_of(&blank))?;

        inner.hot_call(function, inner.limits.fuel, (area.request, area.attempt, area.decision))?;

        let data = inner.memory.data_mut(&mut inner.store);
        Ok(pod_read_unaligned(slot(data, area.decision, size_of::<DecisionBlock>())?))
    }

    /// Plans a request whose first endpoint is `row`.
    pub(super) fn plan(
        &mut self,
        request: &RequestBlock,
        row: &EndpointRow,
        plan: &PlanBlock,
    ) -> Result<PlanBlock, Fault> {
        let (Some(function), area) = (&self.hot.plan, self.area) else {
            return Err(Fault::Abi(format!("has no `{PLAN}`")));
        };
        let inner = &mut self.inner;
        let data = inner.memory.data_mut(&mut inner.store);
        area.put_request(data, request, self.minor)?;
        put(data, area.rows, bytes_of(row))?;
        put(data, area.decision, bytes_of(plan))?;

        inner.hot_call(function, inner.limits.fuel, (area.request, area.rows, area.decision))?;

        let data = inner.memory.data_mut(&mut inner.store);
        Ok(pod_read_unaligned(slot(data, area.decision, size_of::<PlanBlock>())?))
    }
}

fn refuse_start(store: &Store<Host>, error: &wasmtime::Error, limits: &Limits) -> PluginError {
    if error.is::<wasmtime::Trap>() {
        PluginError::fault(Stage::Instantiate, "start", &fault(store, error))
    } else if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        let reason = format!("all {} instances are in use; plugins.max_instances may be raised", limits.instances);
        PluginError::new(Stage::Instantiate, reason)
    } else {
        let reason = format!("{error:#}");
        let advice = if reason.contains("unknown import") { import_advice(&reason) } else { "" };
        PluginError::new(Stage::Instantiate, format!("{reason}{advice}"))
    }
}

/// Advice about an import that doesn't exist.
fn import_advice(reason: &str) -> &'static str {
    if reason.contains("`env::abort`") {
        "; a policy may import pointsman.log only; AssemblyScript leaves this one out with `--use abort=`"
    } else if reason.contains("`wasi_snapshot_preview1::") {
        "; a policy may import pointsman.log only; build it for a target without WASI, as wasm32-unknown-unknown"
    } else {
        "; a policy may import pointsman.log only"
    }
}

fn fault(store: &Store<Host>, error: &wasmtime::Error) -> Fault {
    Fault::of(error, store.data().quota.refused)
}
