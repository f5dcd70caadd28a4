//! Instruction counts of the hot path's parts, compared with the recorded ones:
//! `make instructions`.
//!
//! Unlike time, counts are not noisy: the same code executes the same instructions on a busy
//! machine. Valgrind counts only those in [`counted`], after a warm-up; other threads and setup are
//! excluded. WebAssembly is excluded, because Valgrind can't reserve the address space of
//! instances; a policy's own work is bounded by its fuel. The build is the tests' build: less
//! optimisation means higher counts, but changes are still visible, and no second build of all
//! dependencies is needed.
//!
//! `--record` writes the counts into `instructions.toml`. Without it the counts are compared with
//! that file, and an increase by more than [`TOLERANCE`] is an error.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::parts::{NATIVE, Part, Work};

/// Tolerance for compilers, C libraries and random seeds.
const TOLERANCE: f64 = 0.05;
/// Enough rounds for occasional work, such as growth and sampling.
const ROUNDS: u64 = 512;
const HEAD: &str =
    "# Instructions per round of each part, counted by Valgrind. Written by `make instructions ARGS=--record`.\n";

/// Runs a part under Valgrind.
pub(crate) fn work(name: &str, rounds: &str) {
    let part = NATIVE.iter().find(|part| part.name == name).expect("a known part");
    let rounds = rounds.parse().expect("a number");
    let mut work = (part.set_up)();
    work(rounds);
    counted(&mut work, rounds);
}

/// Valgrind selects it by its name.
#[inline(never)]
fn counted(work: &mut Work, rounds: u64) {
    work(rounds);
}

/// Records the current counts.
pub(crate) fn record() -> ExitCode {
    let mut text = HEAD.to_owned();
    for part in &NATIVE {
        let _ = writeln!(text, "{:?} = {}", part.name, count(part));
    }
    std::fs::write(recorded(), text).expect("a writable file");
    ExitCode::SUCCESS
}

/// Compares the current counts with the recorded ones.
pub(crate) fn compare() -> ExitCode {
    let text = std::fs::read_to_string(recorded()).expect("benches/hot_path/instructions.toml");
    let recorded: BTreeMap<String, u64> = toml::from_str(&text).expect("names and numbers");
    let mut worse = Vec::new();
    println!("{:<20} {:>10} {:>10}", "instructions", "recorded", "now");
    for part in &NATIVE {
        let now = count(part);
        let Some(&before) = recorded.get(part.name) else {
            worse.push(format!("{} is not recorded", part.name));
            continue;
        };
        let change = now as f64 / before as f64 - 1.0;
        println!("{:<20} {before:>10} {now:>10} {:>+7.1} %", part.name, change * 100.0);
        if change > TOLERANCE {
            worse.push(format!("{} takes {now} instructions, {before} are recorded", part.name));
        }
    }
    for line in &worse {
        eprintln!("error: {line}");
    }
    if worse.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "If that is worth it, record the new figures with `make instructions ARGS=--record` and say why in the commit."
    );
    ExitCode::FAILURE
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/hot_path/instructions.toml")
}

/// Instructions of one round.
fn count(part: &Part) -> u64 {
    let name = part.name;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*::instructions::counted*"])
        .arg(std::env::current_exe().expect("a path"))
        .args(["work", name, &ROUNDS.to_string()])
        .output()
        .expect("valgrind runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {told}");
    let counted = told.lines().find_map(|line| line.split_once("Collected :"));
    let count = counted.and_then(|(_, count)| count.trim().parse::<u64>().ok());
    count.filter(|count| *count > ROUNDS).unwrap_or_else(|| panic!("{name}: no count in {told}")) / ROUNDS
}
