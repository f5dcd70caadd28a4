//! The log: one line per event on standard error, written by a thread of its own.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// What is logged where `RUST_LOG` says nothing: Pingora tells of its ordinary life at level info.
const DEFAULT_FILTER: &str = "info,pingora_core=warn,pingora_proxy=warn";
/// Lines that may wait for a slow terminal or disk. Beyond them lines are dropped, and requests go on.
const BUFFERED_LINES: usize = 64_000;

/// Lines that wait to be written. Dropping it writes them.
pub struct Log(Mutex<Option<WorkerGuard>>);

impl Log {
    /// Starts logging. `RUST_LOG` chooses what is logged, as the `tracing-subscriber` crate documents.
    pub fn start() -> Self {
        Self::start_in(std::io::stderr(), DEFAULT_FILTER)
    }

    /// Starts logging into `writer`, with `default_filter` where `RUST_LOG` says nothing.
    pub fn start_in(writer: impl Write + Send + 'static, default_filter: &str) -> Self {
        let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).finish(writer);
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false).init();
        Log(Mutex::new(Some(guard)))
    }

    /// Writes what waits; for an exit that drops nothing.
    pub fn flush(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
