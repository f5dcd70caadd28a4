//! Everything a guest may use, in one place.

use std::time::Duration;

/// What a policy module and its calls may use. `sdk/ABI.md`, section 5, publishes these numbers.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Limits {
    /// Fuel of a hot call, plus [`Limits::fuel_per_row`] for each row. One unit is about one
    /// instruction.
    pub fuel: u64,
    /// Further fuel per endpoint row.
    pub fuel_per_row: u64,
    /// Fuel of all load-time calls of an instance together.
    pub load_fuel: u64,
    /// Linear memory in bytes.
    pub memory: usize,
    /// Elements of a table.
    pub table_elements: usize,
    /// Size of a module file in bytes.
    pub module_bytes: usize,
    /// Functions of a module.
    pub functions: u32,
    /// Size of one function's code in bytes.
    pub function_bytes: usize,
    /// Blocks of a function, loops included.
    pub blocks: u64,
    /// Weight of one function: its bytes times its locals, the widest type's parameters and results
    /// counted with them, and [`Limits::OTHER_WORK`]; and [`Limits::LOOP_WORK`] times the square of
    /// its loops.
    pub function_weight: u64,
    /// Weight of all functions together.
    pub module_weight: u64,
    /// `describe` and error texts in bytes.
    pub text_bytes: usize,
    /// Log lines per second and policy.
    pub log_lines_per_sec: u32,
    /// Instances that may live at the same time: policies times worker threads times live
    /// generations.
    pub instances: u32,
}

impl Limits {
    /// What compiling a byte costs beside what its function's locals cost, in locals.
    pub(super) const OTHER_WORK: u64 = 16;
    /// What compiling a function's loops costs, times their square.
    pub(super) const LOOP_WORK: u64 = 4;

    /// Limits of ABI 1.0.
    pub const DEFAULT: Limits = Limits {
        // Much more than the shipped policies need, and little enough that a loop ends soon.
        fuel: 100_000,
        fuel_per_row: 2_000,
        load_fuel: 500_000_000,
        memory: 16 << 20,
        table_elements: 10_000,
        module_bytes: 8 << 20,
        // A compiler's time and memory grow with the square of a function's size, of the number of
        // its loops, and with each local that may need a value of its own wherever blocks join: a
        // file of 500 KB can take minutes and gigabytes. At these limits it takes seconds. The
        // functions of the shipped policies have at most 6 KB and 35 locals.
        functions: 20_000,
        function_bytes: 64 << 10,
        blocks: 4_096,
        function_weight: 4 << 20,
        module_weight: 32 << 20,
        text_bytes: 4 << 10,
        log_lines_per_sec: 10,
        instances: 2_000,
    };
}

/// Period of the epoch ticker.
pub(super) const EPOCH_PERIOD: Duration = Duration::from_millis(2);
/// Ticks before a hot call is looked at for the first time, and between two looks.
pub(super) const HOT_EPOCHS: u64 = 1;
/// Ticks before loading an instance is looked at: one second.
pub(super) const LOAD_EPOCHS: u64 = 500;
/// Processor time that ends the loading of an instance. Its fuel ends sooner, unless a guest makes
/// the host work much for little fuel.
pub(super) const LOAD_CPU_TIME: Duration = Duration::from_secs(2);
/// Processor time after the first look that ends a call. Time in which the thread didn't run
/// doesn't count: on a busy machine a call of 100 ns may be interrupted for longer than any
/// sensible deadline. Half of a period, so that a look that comes somewhat early doesn't spare a
/// busy call for another period.
pub(super) const EPOCH_CPU_TIME: Duration = Duration::from_millis(1);
/// The host's share of a log line.
pub(super) const LOG_LINE_BYTES: usize = 1_024;
/// Fuel of each line that a guest logs, beside one unit per byte that the host reads: about the
/// instructions that the host spends on a line that isn't written.
pub(super) const LOG_CALL_FUEL: u64 = 500;
