//! Lines for the proxy's log: a policy's only way to be heard beside its answers.

/// How much a line matters. The proxy's own log level decides what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    /// Something is wrong, and the policy can't do its work.
    Error = 1,
    /// Something is wrong, and the policy works around it.
    Warn = 2,
    /// Worth knowing once, such as how the policy was configured.
    Info = 3,
    /// For the policy's author.
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
