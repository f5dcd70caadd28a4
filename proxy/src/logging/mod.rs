//! The log: one line per event on standard error, written by a thread of its own. Requests take a
//! shorter path: [`access`].

mod access;
mod filter;
mod line;
mod printable;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use access::AccessLog;
pub use line::AccessLine;
use printable::Printable;

/// The filter without `RUST_LOG`. Pingora logs routine events at level info.
const DEFAULT_FILTER: &str = "info,pingora_core=warn";
/// Lines that may wait for a slow terminal or disk. Further lines are dropped, so that requests
/// don't block.
const BUFFERED_LINES: usize = 8_192;

/// The log's buffers. Dropping it writes them.
pub struct Log {
    access: Arc<AccessLog>,
    guard: Mutex<Option<WorkerGuard>>,
}

impl Log {
    /// Starts logging. `RUST_LOG` sets the filter, as the `tracing-subscriber` crate documents,
    /// within the levels that are allowed ([`filter`]).
    pub fn start() -> Self {
        Self::start_in(std::io::stderr(), DEFAULT_FILTER)
    }

    /// Starts logging to `writer`, with `default_filter` where `RUST_LOG` sets nothing.
    pub fn start_in(writer: impl Write + Send + 'static, default_filter: &str) -> Self {
        let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).finish(writer);
        let asked = std::env::var("RUST_LOG");
        let filter::Choice { filter, warning } = filter::choose(asked.as_deref().ok(), default_filter);
        let access = AccessLog::start(writer.clone());
        let lines = tracing_subscriber::fmt::layer().with_writer(Printable(writer)).with_ansi(false);
        let cap = filter_fn(filter::may_be_logged);
        tracing_subscriber::registry().with(lines).with(filter).with(cap).init();
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        Log { access, guard: Mutex::new(Some(guard)) }
    }

    /// The access log.
    pub fn access(&self) -> &Arc<AccessLog> {
        &self.access
    }

    /// Writes buffered lines before an exit that runs no destructors.
    pub fn flush(&self) {
        self.access.flush();
        drop(self.guard.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}
