//! Cost of each part of the hot path, and of a whole request between two mock connections.
//!
//! `make bench-micro` measures time; `make instructions` counts instructions and compares them with
//! the recorded counts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't be set up has nothing to measure")]

mod instructions;
mod mock;
mod parts;

use std::process::ExitCode;

use criterion::Criterion;

/// The proxy's allocator: memory layout is part of the cost.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work", name, rounds] => instructions::work(name, rounds),
        ["instructions"] => return instructions::compare(),
        ["instructions", "--record"] => return instructions::record(),
        _ => time(),
    }
    ExitCode::SUCCESS
}

fn time() {
    let mut criterion = Criterion::default().configure_from_args();
    for part in parts::NATIVE.iter().chain(&parts::WITH_POLICIES) {
        let mut work = (part.set_up)();
        criterion.bench_function(part.name, |b| {
            b.iter_custom(&mut work);
        });
    }
    criterion.final_summary();
}
