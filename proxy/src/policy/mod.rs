//! The policy runtime: WebAssembly modules that score endpoints and decide on retries.
//!
//! The only module that uses Wasmtime. A plugin file becomes a [`Plugin`] (compiled, described), a
//! plugin with a config becomes a [`Policy`] (instances configured and probed, one per worker
//! thread), and a policy answers [`Policy::score`] and [`Policy::retry`] or returns a [`Fault`].
//!
//! Invariants:
//! - No instance is made on the request path. They exist before a policy is returned; after a fault
//!   a thread of the runtime makes the replacement, and until then that worker gets
//!   [`Fault::NotReady`].
//! - Every call has its own fuel and epoch deadline, and all of its output is validated.
//! - A call allocates nothing on the host's side beyond the caller's buffers.

pub mod abi;
mod cache;
mod catalog;
mod complexity;
mod decode;
mod engine;
mod error;
mod fault;
mod files;
mod guest_layout;
mod host;
mod instance;
mod instance_replacer;
mod limits;
mod log;
mod module;
pub mod native;
mod pool;
mod probe_input;
mod rows;
mod spent;
mod stall;

use std::fmt;
use std::sync::{Arc, Weak};

use abi::{AttemptBlock, EndpointRow, PlanBlock, RequestBlock};
pub use cache::CodeCache;
pub use catalog::{Catalog, Source};
pub use decode::Scored;
use engine::Engine;
pub use error::{PluginError, RuntimeError, Stage};
pub use fault::{Fault, Frames};
use instance::ReadyInstance;
use instance_replacer::InstanceReplacer;
pub use limits::Limits;
use log::GuestLog;
pub use module::{Kinds, Plugin};
use pool::InstancePool;
pub use rows::{Rows, TagTable, tag_bits};

use crate::hex::Hex;
use crate::model::{Decision, Plan};

/// The SHA-256 of a module's file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The identity of a module: its own name and version, and the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name that the conf asks for.
    pub plugin: String,
    /// Its semantic version.
    pub version: semver::Version,
    /// The SHA-256 of the file.
    pub digest: Digest,
}

/// Version and digest in the form of reports: `1.0.0@sha256:0123456789ab`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = self.digest.to_string();
        write!(f, "{}@sha256:{}", self.version, &digest[..12])
    }
}

/// The engine, and the thread that replaces faulted instances. There is one per process.
pub struct PolicyRuntime {
    engine: Arc<Engine>,
    limits: Limits,
    workers: usize,
    refill: InstanceReplacer,
}

/// The settings of a policy.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The conf's `config` table as JSON.
    pub config: &'a str,
    /// Fuel of a hot call, in place of [`Limits::fuel`].
    pub fuel: u64,
    /// Endpoints that the policy must have room for.
    pub rows: usize,
}

impl Setup<'_> {
    /// An empty config, default fuel, and room for `rows` endpoints.
    pub const fn plain(rows: usize) -> Self {
        Setup { config: "{}", fuel: Limits::DEFAULT.fuel, rows }
    }
}

impl PolicyRuntime {
    /// A runtime for `workers` threads that call policies concurrently.
    ///
    /// # Errors
    /// When Wasmtime can't run here, for example because address space is limited.
    pub fn new(workers: usize, limits: Limits) -> anyhow::Result<Self> {
        let engine =
            Engine::new(&limits).map_err(|e| anyhow::anyhow!("the WebAssembly engine does not start: {e:#}"))?;
        Ok(PolicyRuntime { engine: Arc::new(engine), limits, workers, refill: InstanceReplacer::start()? })
    }

    /// Compiles `wasm` and reads its description.
    ///
    /// # Errors
    /// When `wasm` isn't a module of a supported ABI version.
    pub fn compile(&self, wasm: &[u8]) -> Result<Plugin, PluginError> {
        self.compile_cached(wasm, Digest::of(wasm), None)
    }

    /// Like [`PolicyRuntime::compile`], unless `cache` has the code. `digest` is the digest of
    /// `wasm`.
    fn compile_cached(&self, wasm: &[u8], digest: Digest, cache: Option<&CodeCache>) -> Result<Plugin, PluginError> {
        Plugin::compile(self.engine.inner(), wasm, digest, &self.limits, cache)
    }

    /// Makes the policy `name` from a plugin: instantiates, configures and probes it.
    ///
    /// # Errors
    /// When the module refuses its config, or faults during its load or its probes.
    pub fn load(&self, name: &str, plugin: Arc<Plugin>, setup: &Setup<'_>) -> Result<Arc<Policy>, PluginError> {
        let policy = Arc::new_cyclic(|me| Policy {
            name: name.to_owned(),
            plugin,
            config: setup.config.to_owned(),
            capacity: capacity(setup.rows),
            pool: InstancePool::new(self.workers),
            engine: Arc::clone(&self.engine),
            limits: Limits { fuel: setup.fuel, ..self.limits },
            log: GuestLog::new(name, self.limits.log_lines_per_sec),
            refill: self.refill.clone(),
            me: me.clone(),
        });
        let subject = || format!("policy \"{name}\" (plugin \"{}\" {})", policy.identity().plugin, policy.identity());
        policy.pool.fill(|| policy.instance()).map_err(|e| e.of(subject()))?;
        policy.probe().map_err(|e| e.of(subject()))?;
        Ok(policy)
    }
}

/// The number of rows that instances have room for: rounded up, so that a policy survives the
/// addition of an endpoint.
fn capacity(rows: usize) -> usize {
    rows.next_power_of_two().max(64)
}

/// A loaded, configured and probed module, under a name from the conf.
pub struct Policy {
    name: String,
    plugin: Arc<Plugin>,
    config: String,
    capacity: usize,
    pool: InstancePool,
    engine: Arc<Engine>,
    limits: Limits,
    log: Arc<GuestLog>,
    refill: InstanceReplacer,
    me: Weak<Policy>,
}

impl Policy {
    /// The name in the conf.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The module's identity.
    pub fn identity(&self) -> &Identity {
        self.plugin.identity()
    }

    /// The kinds of policy that the module implements.
    pub fn kinds(&self) -> Kinds {
        self.plugin.kinds()
    }

    /// The tags whose bits it reads, if it lists them.
    pub fn tags(&self) -> Option<&[String]> {
        self.plugin.tags()
    }

    /// Whether it gets the fields since version 1.2 of the request block: those of the HTTP head.
    pub fn reads_http(&self) -> bool {
        self.plugin.minor >= abi::MINOR_OF_1_2
    }

    /// Whether loading `plugin` with `setup` would give the same policy, for as many endpoints as
    /// this one has room for.
    pub fn is_same(&self, plugin: &Plugin, setup: &Setup<'_>) -> bool {
        self.identity() == plugin.identity() && self.config == setup.config && self.limits.fuel == setup.fuel
    }

    /// Whether it can score `rows` endpoints.
    pub fn has_room(&self, rows: usize) -> bool {
        self.capacity >= rows
    }

    /// Whether both are the same module with the same config under the same name, so that knowledge
    /// of one holds for the other.
    pub fn is_alike(&self, other: &Policy) -> bool {
        self.name == other.name && self.identity() == other.identity() && self.config == other.config
    }

    /// Scores `rows` on this thread's instance. `scores` gets one number per row, with a usable one
    /// among them unless the request is refused.
    ///
    /// # Errors
    /// A [`Fault`]; the instance is then replaced in the background, and `scores` is meaningless.
    pub fn score<'a>(
        &self,
        request: &RequestBlock,
        rows: impl Into<Rows<'a>>,
        scores: &mut Vec<f64>,
    ) -> Result<Scored, Fault> {
        let rows = rows.into();
        self.call(|instance| decode::useful(instance.score(request, rows, scores)?, scores))
    }

    /// Takes the fuel that this thread's calls of all policies have used since the last take.
    pub fn take_spent() -> u64 {
        spent::take()
    }

    /// The number of worker threads with an instance.
    pub fn workers(&self) -> u32 {
        self.pool.workers()
    }

    /// Decides about the next step after an attempt, on this thread's instance.
    ///
    /// # Errors
    /// A [`Fault`]; the instance is then replaced in the background.
    pub fn retry(&self, request: &RequestBlock, attempt: &AttemptBlock) -> Result<Decision, Fault> {
        self.call(|instance| decode::decision(&instance.retry(request, attempt)?))
    }

    /// Like [`Policy::score`], on an instance that no request uses. It may be called from any
    /// thread; concurrent calls wait for each other.
    ///
    /// # Errors
    /// A [`Fault`]; the instance is then replaced in the background.
    pub fn score_aside(&self, request: &RequestBlock, rows: Rows<'_>, scores: &mut Vec<f64>) -> Result<Scored, Fault> {
        let score = |instance: &mut ReadyInstance| decode::useful(instance.score(request, rows, scores)?, scores);
        self.replacing(self.pool.with_spare(score))
    }

    /// Whether the policy makes plans; [`Policy::plan`] may be called only then.
    pub fn plans(&self) -> bool {
        self.plugin.plans
    }

    /// Plans a request whose first endpoint is `row`, on this thread's instance; `plan` is the
    /// upstream's own plan.
    ///
    /// # Errors
    /// A [`Fault`]; the instance is then replaced in the background.
    pub fn plan(&self, request: &RequestBlock, row: &EndpointRow, plan: &PlanBlock) -> Result<Plan, Fault> {
        self.call(|instance| decode::plan(&instance.plan(request, row, plan)?, plan))
    }

    fn call<R>(&self, f: impl FnOnce(&mut ReadyInstance) -> Result<R, Fault>) -> Result<R, Fault> {
        self.replacing(self.pool.with(f))
    }

    /// Schedules the replacement of an instance that faulted.
    fn replacing<R>(&self, (answer, faulted): (Result<R, Fault>, Option<ReadyInstance>)) -> Result<R, Fault> {
        if let Some(instance) = faulted {
            self.refill.replace(instance, self.me.clone());
        }
        answer
    }

    /// Replaces faulted instances. Returns whether all were replaced.
    fn fill(&self) -> bool {
        let filled = self.pool.fill(|| self.instance());
        if let Err(error) = &filled {
            tracing::error!(policy = self.name, %error, "a faulted instance could not be replaced");
        }
        filled.is_ok()
    }

    fn instance(&self) -> Result<ReadyInstance, PluginError> {
        let log = Arc::clone(&self.log);
        ReadyInstance::new(self.engine.inner(), &self.plugin, &self.config, self.capacity, log, &self.limits)
    }

    /// Calls each hot export with canned input: a module that can't answer it is refused at load.
    fn probe(&self) -> Result<(), PluginError> {
        if self.kinds().scoring {
            self.probe_score("of different endpoints", &probe_input::rows())?;
            self.probe_score("without health checks, prices and traffic", &probe_input::unknown_rows())?;
            self.probe_score("in which everything is known", &probe_input::known_rows())?;
        }
        if self.kinds().retry {
            let json_rpc = probe_input::attempts().map(|attempt| (probe_input::request(), attempt));
            let http = probe_input::http_attempts().map(|attempt| (probe_input::http_request(), attempt));
            for (request, attempt) in json_rpc.chain(http.filter(|_| self.reads_http())) {
                self.retry(&request, &attempt).map_err(|fault| PluginError::fault(Stage::Probe, "retry", &fault))?;
            }
        }
        if self.plans() {
            self.plan(&probe_input::request(), &probe_input::rows()[1], &probe_input::plan())
                .map_err(|fault| PluginError::fault(Stage::Probe, "plan", &fault))?;
        }
        Ok(())
    }
}

impl Policy {
    /// Scores the endpoints of a pool that `what` describes. NaN for all is refused: it is an error
    /// in the module's arithmetic, which would occur in a good pool, too. Negative infinity for all
    /// is only a warning: it is a choice that may fit other pools, such as one of endpoints with a
    /// tag or a price.
    fn probe_score(&self, what: &str, rows: &[EndpointRow]) -> Result<(), PluginError> {
        let mut scores = Vec::new();
        let scored = self
            .call(|instance| instance.score(&probe_input::request(), rows.into(), &mut scores))
            .map_err(|fault| PluginError::fault(Stage::Probe, "score", &fault))?;
        match decode::useful(scored, &scores) {
            Ok(_) => Ok(()),
            Err(Fault::Output(decode::LEFT_OUT_ALL)) => {
                let (policy, plugin) = (&self.name, self.identity());
                tracing::warn!(
                    policy,
                    plugin = plugin.plugin,
                    version = %plugin,
                    "policy leaves out every endpoint of a pool {what}; for such a pool the built-in policy decides"
                );
                Ok(())
            }
            Err(fault) => {
                let reason = format!(
                    "score {fault}, of a pool {what}; a score must be a number also where head_lag_blocks, price or latency_p99_ms is NaN \
                     or idle_ms infinite"
                );
                Err(PluginError::new(Stage::Probe, reason))
            }
        }
    }
}

/// A minimal policy for tests: it scores every endpoint with 0.
#[cfg(test)]
pub(crate) const IDLE: &str = r#"(module
  (memory (export "memory") 2)
  (data (i32.const 0) "{\22name\22:\22idle\22,\22version\22:\221.0.0\22,\22kinds\22:[\22scoring\22]}")
  (func (export "pointsman_abi_version") (result i32) (i32.const 65536))
  (func (export "pointsman_describe") (result i64) (i64.const 53))
  (func (export "pointsman_alloc") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "pointsman_configure") (param i32 i32) (result i64) (i64.const 0))
  (func (export "pointsman_score") (param i32 i32 i32 i32)))"#;
