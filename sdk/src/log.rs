//! Lines for the proxy's log: a policy's only output beside its results.

/// Severity of a line. The proxy's log level filters lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// An error that keeps the policy from working.
    Error = 1,
    /// A problem that the policy works around.
    Warn = 2,
    /// An event of general interest, such as the configuration.
    Info = 3,
    /// Details for the policy's author.
    Debug = 4,
}

/// Writes a line to the proxy's log; natively, to standard error.
///
/// The proxy keeps at most 1,024 bytes of a line and 10 lines per second and policy. Not for hot
/// calls: formatting a line costs more than scoring the endpoints.
pub fn log(level: Level, line: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::export::host_log(level as i32, line);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {line}");
}
