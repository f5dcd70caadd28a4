//! `pointsman`: arguments, conf, server, run.

use std::process::ExitCode;

fn main() -> ExitCode {
    pointsman::cli::main()
}
