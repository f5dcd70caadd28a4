//! Lines that guests write. Their number is limited, and what is in them is made fit to print: a guest is not trusted
//! with the operator's terminal.

use std::time::{Duration, Instant};

use super::limits::{LOG_LINE_BYTES, Limits};

/// The log of one instance.
#[derive(Clone, Debug)]
pub(super) struct GuestLog {
    policy: String,
    lines_per_sec: u32,
    window: Option<Instant>,
    lines: u32,
}

impl GuestLog {
    pub(super) fn new(policy: &str, limits: &Limits) -> Self {
        GuestLog { policy: policy.to_owned(), lines_per_sec: limits.log_lines_per_sec, window: None, lines: 0 }
    }

    /// Writes one line at the guest's level: 1 error to 4 debug, anything else counts as debug.
    pub(super) fn write(&mut self, level: i32, line: &[u8]) {
        if !self.admit(Instant::now()) {
            return;
        }
        let line = printable(&line[..line.len().min(LOG_LINE_BYTES)]);
        let policy = self.policy.as_str();
        match level {
            1 => tracing::error!(target: "pointsman::guest", policy, "{line}"),
            2 => tracing::warn!(target: "pointsman::guest", policy, "{line}"),
            3 => tracing::info!(target: "pointsman::guest", policy, "{line}"),
            _ => tracing::debug!(target: "pointsman::guest", policy, "{line}"),
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        let fresh = self.window.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1));
        if fresh {
            self.window = Some(now);
            self.lines = 0;
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= self.lines_per_sec
    }
}

/// `bytes` as text without control characters.
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_dropped_until_the_next_second() {
        let mut log = GuestLog::new("p", &Limits { log_lines_per_sec: 2, ..Limits::DEFAULT });
        let start = Instant::now();
        assert_eq!([log.admit(start), log.admit(start), log.admit(start)], [true, true, false]);
        assert!(log.admit(start + Duration::from_secs(1)));
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(printable(b"a\x1b[31mb\n\xff"), "a [31mb \u{fffd}");
    }
}
