//! Resource usage of a process and its children.

use std::fs::read_to_string;
use std::time::Duration;

use anyhow::Context;

/// Measures processor time and memory of a process and its children from its start on.
pub struct Meter {
    processes: Vec<i32>,
    begin: Duration,
    /// Peak so far, in bytes.
    resident: u64,
}

/// The measured usage.
pub struct Used {
    /// User and system time of all threads.
    pub processor: Duration,
    /// Peak memory in bytes.
    pub resident: u64,
}

impl Meter {
    /// Starts measuring a process and its current children.
    ///
    /// # Errors
    /// If one of them has ended, or the system doesn't support it.
    pub fn start(id: u32) -> anyhow::Result<Meter> {
        let processes = family(i32::try_from(id)?)?;
        let mut meter = Meter { begin: processor_time(&processes)?, processes, resident: 0 };
        meter.look()?;
        Ok(meter)
    }

    /// Samples the memory.
    ///
    /// # Errors
    /// If a process has ended.
    pub fn look(&mut self) -> anyhow::Result<()> {
        self.resident = self.resident.max(resident_of(&self.processes)?);
        Ok(())
    }

    /// Returns the usage since the start.
    ///
    /// # Errors
    /// If a process has ended.
    pub fn stop(mut self) -> anyhow::Result<Used> {
        let processor = processor_time(&self.processes)? - self.begin;
        self.look()?;
        Ok(Used { processor, resident: self.resident })
    }
}

/// Resident memory of a process and its children, in bytes.
///
/// # Errors
/// If one of them ends.
pub fn resident_now(id: u32) -> anyhow::Result<u64> {
    resident_of(&family(i32::try_from(id)?)?)
}

/// A process and its descendants.
fn family(id: i32) -> anyhow::Result<Vec<i32>> {
    let processes = std::fs::read_dir("/proc")?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let pairs: Vec<(i32, i32)> = ids.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut family = vec![id];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    Ok(family)
}

fn parent(id: i32) -> Option<i32> {
    let stat = read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may contain any character; the state and the parent follow it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// In nanoseconds, including ended threads; `/proc` counts in hundredths of a second.
#[cfg(target_os = "linux")]
fn processor_time(processes: &[i32]) -> anyhow::Result<Duration> {
    use nix::time::ClockId;
    use nix::unistd::Pid;

    let time = |id: &i32| Ok(Duration::from(ClockId::pid_cpu_clock_id(Pid::from_raw(*id))?.now()?));
    processes.iter().map(time).sum()
}

#[cfg(not(target_os = "linux"))]
fn processor_time(_: &[i32]) -> anyhow::Result<Duration> {
    anyhow::bail!("only Linux tells the processor time of another process")
}

fn resident_of(processes: &[i32]) -> anyhow::Result<u64> {
    processes.iter().map(|id| resident(*id)).sum()
}

fn resident(id: i32) -> anyhow::Result<u64> {
    let status = read_to_string(format!("/proc/{id}/status")).with_context(|| format!("process {id} has ended"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
