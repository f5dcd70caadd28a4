//! The machine's limits, from which defaults are derived.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

/// Files for anything but clients' connections and requests: listeners, logs, the admin address,
/// reloads, health checks.
const RESERVE: usize = 128;
/// Used if the system doesn't report the limit of files.
const SOME_FILES: usize = 1_024;
/// Used if the system doesn't report its memory.
const SOME_MEMORY: usize = 4 << 30;
/// More connections than this must be requested in the conf.
const MOST_CONNECTIONS: usize = 1_000_000;

/// Files that the process may open: the hard limit, to which the soft one is raised at startup.
pub(super) fn open_files() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(SOME_FILES, |(_, hard)| usize::try_from(hard).unwrap_or(usize::MAX))
}

/// Client connections for this many files: each may need a second one, to an endpoint.
pub(super) fn connections(files: usize) -> usize {
    let reserve = RESERVE.min(files / 2);
    ((files - reserve) / 2).clamp(1, MOST_CONNECTIONS)
}

/// Bytes of memory that the process may use: the machine's memory, or the limit of its control
/// groups if that is lower.
pub(super) fn memory() -> usize {
    let root = Path::new("/sys/fs/cgroup");
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let limits = groups.lines().filter_map(|line| group_limit(root, line));
    limits.chain(total).min().unwrap_or(SOME_MEMORY)
}

/// Parses `/proc/meminfo`.
fn total_memory(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1 << 10)
}

/// The lowest limit of a group and its ancestors. `line` is a line of `/proc/self/cgroup`: number,
/// controllers, path; version 2 has no controllers.
fn group_limit(root: &Path, line: &str) -> Option<usize> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let (root, file) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        "memory" => (root.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    let limit = |folder: &Path| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    let group = root.join(path.trim_start_matches('/'));
    // In a container the path may be the host's, and only the root of the group is visible.
    group.ancestors().take_while(|folder| folder.starts_with(&root)).filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_are_for_clients_and_some_are_for_neither_side() {
        let cases = [(0, 1), (3, 1), (100, 25), (256, 64), (1_024, 448), (524_288, 262_080), (usize::MAX, 1_000_000)];
        for (files, expected) in cases {
            assert_eq!(connections(files), expected, "{files}");
        }
    }

    #[test]
    fn the_least_limit_above_a_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        };
        put("a/memory.max", "4096\n");
        put("a/b/memory.max", "max\n");
        put("a/b/c/memory.max", "8192\n");
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/x/memory.limit_in_bytes", "1024\n");
        for (line, expected) in [
            ("0::/a/b/c", Some(4_096)),
            ("0::/a/b", Some(4_096)),
            ("0::/", None),
            ("0::/host/only", None),
            ("7:memory:/x", Some(1_024)),
            ("7:memory:/elsewhere", Some(9_223_372_036_854_771_712)),
            ("3:cpu,cpuacct:/x", None),
            ("", None),
        ] {
            assert_eq!(group_limit(root.path(), line), expected, "{line:?}");
        }
    }

    #[test]
    fn the_machines_memory_is_read() {
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16_384));
        assert_eq!(total_memory("MemTotal: many kB"), None);
        assert_eq!(total_memory(""), None);
    }
}
