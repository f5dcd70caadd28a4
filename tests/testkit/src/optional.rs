//! Programs that not every machine has: a test without its program is left out. With `CI=true` it
//! fails.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

/// Programs whose absence was printed.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The file of `name` at `path`, relative to the repository, or the program `path` in `PATH`; `None`
/// and a printed line if it is missing. `script` installs it.
pub fn optional(name: &str, path: &str, script: &str) -> Option<PathBuf> {
    let found = if path.contains('/') { Some(crate::workspace().join(path)) } else { in_path(path) };
    if let Some(found) = found.filter(|file| file.is_file()) {
        return Some(found);
    }
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "{name} is missing: run {script}");
    if SAID.lock().unwrap().insert(name.to_owned()) {
        // Not with `eprintln`, whose output is hidden if a test succeeds.
        let line = format!("the tests with {name} were left out: {script} installs it\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
    }
    None
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
