//! `pointsman`: arguments, conf, server, run.

use std::process::ExitCode;

/// Requests allocate a few kilobytes each, for which the system's allocator has no fast path.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pointsman::cli::main()
}
