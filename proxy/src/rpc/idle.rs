//! The idle connections of one endpoint.
//!
//! An endpoint owns its connections: a limit per endpoint is exact, a changed client setting starts afresh, and dropping the
//! endpoint closes them. The newest connection is taken first, so that a pool that was large for a moment shrinks.
//! A connection is looked at before it is used again, because the endpoint may have closed it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::model::Tick;

/// Connections that wait for a next request.
pub struct IdlePool {
    max: usize,
    timeout: Duration,
    idle: Mutex<VecDeque<IdleConnection>>,
}

struct IdleConnection {
    stream: Stream,
    since: Tick,
}

impl IdlePool {
    /// A pool of at most `max` connections, each kept for at most `timeout`.
    pub fn new(max: usize, timeout: Duration) -> Self {
        IdlePool { max, timeout, idle: Mutex::new(VecDeque::new()) }
    }

    /// The newest connection that is still open.
    pub fn take(&self, now: Tick) -> Option<Stream> {
        loop {
            // The lock is not held while a socket is looked at or closed.
            let mut newest = self.lock().pop_back()?;
            if now.since(newest.since) < self.timeout && is_open(&mut newest.stream) {
                return Some(newest.stream);
            }
        }
    }

    /// Keeps a connection whose last answer was read to its end.
    pub fn put(&self, stream: Stream, now: Tick) {
        let mut idle = self.lock();
        let surplus = if idle.len() >= self.max { idle.pop_front() } else { None };
        if self.max > 0 {
            idle.push_back(IdleConnection { stream, since: now });
        }
        drop(idle);
        drop(surplus);
    }

    /// Closes all connections that aren't `wanted`.
    pub fn retain(&self, wanted: impl Fn(&Stream) -> bool) {
        let waiting = std::mem::take(&mut *self.lock());
        self.put_back(waiting.into_iter().filter(|connection| wanted(&connection.stream)).collect());
    }

    /// Closes what has waited too long or was closed by the endpoint.
    pub fn reap(&self, now: Tick) {
        let waiting = std::mem::take(&mut *self.lock());
        let kept = waiting.into_iter().filter_map(|mut connection| {
            let good = now.since(connection.since) < self.timeout && is_open(&mut connection.stream);
            good.then_some(connection)
        });
        self.put_back(kept.collect());
    }

    /// Before those that were put meanwhile: they are the oldest.
    fn put_back(&self, mut kept: VecDeque<IdleConnection>) {
        let mut idle = self.lock();
        kept.append(&mut idle);
        kept.truncate(self.max);
        *idle = kept;
    }

    /// Connections that wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<IdleConnection>> {
        // Every change is a single operation on the queue: a panic can't leave it half done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that waits has nothing to read: an end or bytes that nobody asked for make it useless.
fn is_open(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    // Nobody is to be woken: the connection's next reader registers itself.
    let mut context = Context::from_waker(Waker::noop());
    matches!(Pin::new(stream).poll_read(&mut context, &mut buffer), Poll::Pending)
}
