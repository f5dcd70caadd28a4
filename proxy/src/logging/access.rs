//! The access log: one line per request, in the same form as other lines of the log.
//!
//! A request appends its line to a buffer and goes on. A thread writes the buffer, at most some
//! hundred times a second: a system call and a wake-up for each line would cost more than the line.
//! Lines that don't fit are dropped and counted.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::Level;

use super::line::{AccessLine, Stamp};

/// The target of these lines, also in `RUST_LOG`.
const TARGET: &str = "pointsman::access";
/// The text between the time and the fields.
const HEAD: &str = "  INFO pointsman::access: ";
/// How long the thread waits after a first line, to write others with it.
const GATHER: Duration = Duration::from_millis(10);
/// The buffer's size in bytes: a few seconds of a busy proxy, for a disk that is slow.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// The buffer of the access log.
pub struct AccessLog {
    waiting: Mutex<Waiting>,
    any: Condvar,
    writer: Mutex<Box<dyn Write + Send>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    dropped: u64,
    ended: bool,
}

// Lines are formatted before the lock is taken.
thread_local!(static LINE: RefCell<(Stamp, Vec<u8>)> = RefCell::default());

impl AccessLog {
    /// An access log that a thread of its own writes to `writer`.
    pub fn start(writer: impl Write + Send + 'static) -> Arc<Self> {
        let log = Arc::new(AccessLog {
            waiting: Mutex::default(),
            any: Condvar::new(),
            writer: Mutex::new(Box::new(writer)),
        });
        let writing = Arc::clone(&log);
        // A system that can't start this thread can't start the proxy's, either.
        if let Err(error) = std::thread::Builder::new().name("access-log".into()).spawn(move || writing.run()) {
            tracing::error!(%error, "there is no access log");
        }
        log
    }

    /// Whether `RUST_LOG` enables it.
    pub fn is_wanted() -> bool {
        tracing::enabled!(target: TARGET, Level::INFO)
    }

    /// Logs a request that has just ended.
    pub fn append(&self, line: &AccessLine<'_>) {
        LINE.with_borrow_mut(|(stamp, text)| {
            text.clear();
            stamp.put(text, SystemTime::now());
            text.extend_from_slice(HEAD.as_bytes());
            line.put(text);
            text.push(b'\n');
            self.push(text);
        });
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.lines.len() >= MAX_WAITING_BYTES {
            waiting.dropped += 1;
            return;
        }
        let was_empty = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if was_empty {
            self.any.notify_one();
        }
    }

    /// Writes the buffer until the log ends.
    fn run(&self) {
        loop {
            let waiting = self.any.wait_while(self.waiting(), |waiting| waiting.lines.is_empty() && !waiting.ended);
            if waiting.unwrap_or_else(PoisonError::into_inner).ended {
                return;
            }
            std::thread::sleep(GATHER);
            self.write();
        }
    }

    /// Writes the buffer, and ends the log.
    pub(super) fn flush(&self) {
        self.waiting().ended = true;
        self.any.notify_one();
        self.write();
    }

    fn write(&self) {
        // The lock is held from here on, so that batches are written in order.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, dropped) = {
            let mut waiting = self.waiting();
            (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.dropped))
        };
        if dropped > 0 {
            tracing::warn!(dropped, "lines of the access log were dropped: they come faster than they can be written");
        }
        // There is nowhere to report that standard error is closed.
        let _ = writer.write_all(&lines);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::super::line::tests::line;
    use super::*;

    struct Batches(Sender<Vec<u8>>);

    impl Write for Batches {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_once_and_what_waits_at_the_end_too() {
        let (sender, batches) = channel();
        let log = AccessLog::start(Batches(sender));
        for _ in 0..3 {
            (0..100).for_each(|_| log.append(&line("m")));
            assert!(batches.recv().unwrap().ends_with(b"generation=7\n"));
        }
        (0..5).for_each(|_| log.append(&line("last")));
        log.flush();
        drop(log);
        let rest: Vec<u8> = batches.iter().flatten().collect();
        let text = String::from_utf8(rest).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("last")).count(), 5);
    }

    #[test]
    fn what_has_no_room_is_dropped_and_not_waited_for() {
        let (sender, _batches) = channel();
        let log = AccessLog::start(Batches(sender));
        log.waiting().lines = vec![b'\n'; MAX_WAITING_BYTES];
        log.append(&line("m"));
        assert_eq!(log.waiting().dropped, 1);
        log.write();
        log.append(&line("m"));
        assert_eq!(log.waiting().dropped, 0);
    }
}
