//! Log lines of guests. Their rate is limited and their text is made fit to print, because a guest
//! isn't trusted with the operator's terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::limits::LOG_LINE_BYTES;
use crate::clock;
use crate::model::Tick;
use crate::text;

/// The log of one policy, shared by its instances, so that a guest doesn't get more lines by
/// faulting.
#[derive(Debug)]
pub(super) struct GuestLog {
    policy: String,
    lines_per_sec: u32,
    /// The current second in the upper half, its number of lines in the lower one.
    window: AtomicU64,
}

impl GuestLog {
    pub(super) fn new(policy: &str, lines_per_sec: u32) -> Arc<Self> {
        Arc::new(GuestLog { policy: policy.to_owned(), lines_per_sec, window: AtomicU64::new(0) })
    }

    /// Writes one line at the guest's level: 1 error to 4 debug; other levels count as debug.
    pub(super) fn write(&self, level: i32, line: &[u8]) {
        if !self.admit(clock::now()) {
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

    fn admit(&self, now: Tick) -> bool {
        const LINES: u64 = u32::MAX as u64;
        let second = now.since(Tick::START).as_secs() << 32;
        let next = |window: u64| {
            let lines = if window & !LINES == second { window & LINES } else { 0 };
            (lines < u64::from(self.lines_per_sec)).then_some(second | (lines + 1))
        };
        self.window.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// `bytes` as text, without characters that affect how other text is displayed.
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if text::is_unfit(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_dropped_until_the_next_second() {
        let log = GuestLog::new("p", 2);
        let at = |seconds| Tick::START.after(Duration::from_secs(seconds));
        for second in [0, 1, 7] {
            let admitted = [(); 4].map(|()| log.admit(at(second)));
            assert_eq!(admitted, [true, true, false, false], "second {second}");
        }
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(printable(b"a\x1b[31mb\n\xff"), "a [31mb \u{fffd}");
        assert_eq!(printable("a\u{202e}b\u{200b}".as_bytes()), "a b ");
    }
}
