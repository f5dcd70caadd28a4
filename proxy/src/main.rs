//! `pointsman`: arguments, conf, server, run.

use std::process::ExitCode;

/// Requests allocate a few kilobytes each, which the system's allocator has no quick way for.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pointsman::cli::main()
}
