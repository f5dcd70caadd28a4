//! All limits of guests, in one place.

use std::time::Duration;

/// The limits of policy modules and their calls, as published in `sdk/ABI.md`, section 5.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Limits {
    /// Fuel of a hot call, plus [`Limits::fuel_per_row`] for each row. One unit is about one
    /// instruction.
    pub fuel: u64,
    /// Additional fuel per endpoint row.
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
    /// Blocks of a function, including loops.
    pub blocks: u64,
    /// Weight of one function: its bytes times the sum of its locals, the parameters and results of
    /// the widest type, and [`Limits::OTHER_WORK`]; plus [`Limits::LOOP_WORK`] times the square of
    /// its number of loops.
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
    /// The cost of compiling a byte beyond that of its function's locals, in locals.
    pub(super) const OTHER_WORK: u64 = 16;
    /// The cost of compiling a function's loops, per square of their number.
    pub(super) const LOOP_WORK: u64 = 4;

    /// Limits of ABI 1.0.
    pub const DEFAULT: Limits = Limits {
        // Far more than the shipped policies need, and low enough that an endless loop ends soon.
        fuel: 100_000,
        fuel_per_row: 2_000,
        load_fuel: 500_000_000,
        memory: 16 << 20,
        table_elements: 10_000,
        module_bytes: 8 << 20,
        // A compiler's time and memory grow with the square of a function's size and of its number
        // of loops, and with each local that may need a value of its own wherever blocks join: a
        // file of 500 KB can take minutes and gigabytes. With these limits it takes seconds. The
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
/// Ticks before the first check of a hot call, and between checks.
pub(super) const HOT_EPOCHS: u64 = 1;
/// Ticks before the first check of an instance's load: one second.
pub(super) const LOAD_EPOCHS: u64 = 500;
/// Processor time that ends the load of an instance. Fuel ends it sooner, unless a guest makes the
/// host do much work for little fuel.
pub(super) const LOAD_CPU_TIME: Duration = Duration::from_secs(2);
/// Processor time after the first check that ends a call. Time in which the thread didn't run
/// doesn't count: on a busy machine a call of 100 ns may be preempted for longer than any sensible
/// deadline. It is half of a period, so that a check that comes somewhat early doesn't spare a busy
/// call for another period.
pub(super) const EPOCH_CPU_TIME: Duration = Duration::from_millis(1);
/// Longest log line in bytes, as far as the host reads it.
pub(super) const LOG_LINE_BYTES: usize = 1_024;
/// Fuel of each logged line, beside one unit per byte that the host reads: about the host's
/// instructions for a line that isn't written.
pub(super) const LOG_CALL_FUEL: u64 = 500;
