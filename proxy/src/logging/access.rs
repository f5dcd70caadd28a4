//! The access log: one line per request, in the form that every other line has.
//!
//! A request appends its line to what waits, and goes on. A thread hands over what has gathered,
//! some hundred times a second at most: a system call and a wake-up for each line would cost more
//! than the line. What there is no room for is dropped and counted.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::Level;

use super::line::{AccessLine, Stamp};

/// How a line is told from others, and what `RUST_LOG` calls it.
const TARGET: &str = "pointsman::access";
/// Between the time and what is told.
const HEAD: &str = "  INFO pointsman::access: ";
/// Lines wait for this long, for others to be written with them.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes that may wait: a few seconds' worth of a busy proxy, for a disk that is slow.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// Where requests are logged.
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

// A line is made before the lock is taken.
thread_local!(static LINE: RefCell<(Stamp, Vec<u8>)> = RefCell::default());

impl AccessLog {
    /// An access log into `writer`, and the thread that writes it.
    pub fn start(writer: impl Write + Send + 'static) -> Arc<Self> {
        let log = Arc::new(AccessLog {
            waiting: Mutex::default(),
            any: Condvar::new(),
            writer: Mutex::new(Box::new(writer)),
        });
        let writing = Arc::clone(&log);
        // Without a thread for it there is none for the proxy either.
        if let Err(error) = std::thread::Builder::new().name("access-log".into()).spawn(move || writing.run()) {
            tracing::error!(%error, "there is no access log");
        }
        log
    }

    /// Whether `RUST_LOG` wants it.
    pub fn is_wanted() -> bool {
        tracing::enabled!(target: TARGET, Level::INFO)
    }

    /// Logs a request that came to its end now.
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

    /// Until the log ends.
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

    /// Writes what waits, and ends.
    pub(super) fn flush(&self) {
        self.waiting().ended = true;
        self.any.notify_one();
        self.write();
    }

    fn write(&self) {
        // Held from here on, so that batches are written in their order.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, dropped) = {
            let mut waiting = self.waiting();
            (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.dropped))
        };
        if dropped > 0 {
            tracing::warn!(dropped, "lines of the access log were dropped: they come faster than they can be written");
        }
        // There is no place to tell that standard error is closed.
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
