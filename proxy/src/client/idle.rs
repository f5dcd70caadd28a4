//! The idle connections of one endpoint.
//!
//! An endpoint owns its connections: a limit per endpoint is exact, a changed client setting starts
//! with none, and dropping the endpoint closes them. The newest connection is taken first, so that
//! a pool shrinks after a burst. A connection is checked before it is reused, because the endpoint
//! may have closed it.
//!
//! A connection belongs to the reactor of the thread that opened it, which must wake any other
//! thread for each response. So each worker has idle connections of its own, and all other threads
//! share some. A worker without one takes another worker's, which is still cheaper than a TLS
//! handshake, at most once per 100 ms: beyond that it opens its own.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::model::Tick;
use crate::worker;

/// Idle connections, by worker.
pub(super) struct IdlePool {
    max: usize,
    timeout: Duration,
    /// The number of idle connections on all workers.
    waiting: AtomicUsize,
    workers: Box<[WorkerIdle]>,
}

/// The idle connections of one thread, on a cache line of their own.
#[derive(Default)]
#[repr(align(64))]
struct WorkerIdle {
    idle: Mutex<VecDeque<IdleConnection>>,
    /// The time at which this thread last borrowed, in nanoseconds; 0 if never.
    borrowed: AtomicU64,
}

struct IdleConnection {
    stream: Stream,
    since: Tick,
}

/// A connection that is in use.
pub struct Connection {
    /// The connection.
    pub stream: Stream,
    /// The thread that it belongs to.
    pub worker: WorkerId,
}

/// A thread that connections belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

/// The entry shared by threads that aren't workers.
const COMMON: usize = 0;
/// A thread that would borrow twice within this time opens a connection of its own.
const BORROW_PAUSE: Duration = Duration::from_millis(100);

impl IdlePool {
    /// A pool of at most `max` connections, each idle for at most `timeout`, for `workers` worker
    /// threads.
    pub(super) fn new(max: usize, timeout: Duration, workers: usize) -> Self {
        let workers = std::iter::repeat_with(WorkerIdle::default).take(COMMON + 1 + workers).collect();
        IdlePool { max, timeout, waiting: AtomicUsize::new(0), workers }
    }

    /// Takes this thread's newest open connection, or else another thread's.
    pub(super) fn take(&self, now: Tick) -> Option<Connection> {
        let own = WorkerId::here();
        self.take_from(own, now).or_else(|| self.borrow(own, now))
    }

    fn take_from(&self, worker: WorkerId, now: Tick) -> Option<Connection> {
        loop {
            // The lock is not held while a socket is checked or closed.
            let mut newest = self.idle_of(worker).lock().pop_back()?;
            self.waiting.fetch_sub(1, Relaxed);
            if now.since(newest.since) < self.timeout && is_open(&mut newest.stream) {
                return Some(Connection { stream: newest.stream, worker });
            }
        }
    }

    fn borrow(&self, own: WorkerId, now: Tick) -> Option<Connection> {
        let borrowed = &self.idle_of(own).borrowed;
        let last = borrowed.load(Relaxed);
        if self.is_empty() || last != 0 && now.since(Tick::from_nanos(last)) < BORROW_PAUSE {
            return None;
        }
        let connection = (0..self.workers.len()).find_map(|number| self.take_from(WorkerId(number), now))?;
        borrowed.store(now.as_nanos().max(1), Relaxed);
        Some(connection)
    }

    /// Returns a connection whose last response was read to its end. If the pool is full, closes
    /// the oldest one of the thread with the most.
    pub(super) fn put(&self, connection: Connection, now: Tick) {
        if self.max == 0 {
            return;
        }
        let Connection { stream, worker } = connection;
        // Counted before it is visible, so that no taker can count it off first.
        let before = self.waiting.fetch_add(1, Relaxed);
        self.idle_of(worker).lock().push_back(IdleConnection { stream, since: now });
        if before >= self.max {
            self.close_surplus();
        }
    }

    fn close_surplus(&self) {
        let fullest = self.workers.iter().max_by_key(|worker| worker.lock().len());
        let surplus = fullest.and_then(|worker| worker.lock().pop_front());
        if surplus.is_some() {
            self.waiting.fetch_sub(1, Relaxed);
        }
    }

    /// Closes all connections that aren't `wanted`.
    pub(super) fn retain(&self, wanted: impl Fn(&Stream) -> bool) {
        self.filter(|connection| wanted(&connection.stream));
    }

    /// Closes connections that were idle for too long or closed by the endpoint.
    pub(super) fn reap(&self, now: Tick) {
        self.filter(|connection| now.since(connection.since) < self.timeout && is_open(&mut connection.stream));
    }

    fn filter(&self, mut is_good: impl FnMut(&mut IdleConnection) -> bool) {
        for worker in &self.workers {
            let mut kept = std::mem::take(&mut *worker.lock());
            let before = kept.len();
            kept.retain_mut(&mut is_good);
            self.waiting.fetch_sub(before - kept.len(), Relaxed);
            // Connections put back meanwhile are newer.
            let mut idle = worker.lock();
            kept.append(&mut idle);
            *idle = kept;
        }
    }

    /// The number of idle connections.
    pub(super) fn len(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Whether there is no idle connection.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn idle_of(&self, worker: WorkerId) -> &WorkerIdle {
        self.workers.get(worker.0).unwrap_or(&self.workers[COMMON])
    }
}

impl WorkerId {
    /// The current thread.
    pub fn here() -> Self {
        WorkerId(worker::current().map_or(COMMON, |number| COMMON + 1 + number))
    }
}

impl WorkerIdle {
    fn lock(&self) -> MutexGuard<'_, VecDeque<IdleConnection>> {
        // Every change is a single operation on the queue: a panic can't leave it half done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an idle connection is usable. It has nothing to read: end-of-file or unexpected bytes
/// make it useless.
fn is_open(stream: &mut Stream) -> bool {
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    // Without a waker: the connection's next reader registers its own.
    let mut context = Context::from_waker(Waker::noop());
    matches!(Pin::new(stream).poll_read(&mut context, &mut buffer), Poll::Pending)
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::worker::become_worker;

    fn pool(max: usize) -> IdlePool {
        IdlePool::new(max, Duration::from_secs(10), 2)
    }

    fn at(ms: u64) -> Tick {
        Tick::START.after(Duration::from_millis(ms))
    }

    /// Puts a new connection of this thread into the pool. Returns the end that keeps it open.
    fn put(pool: &IdlePool, now: Tick) -> DuplexStream {
        let (near, far) = duplex(1);
        pool.put(Connection { stream: Box::new(near), worker: WorkerId::here() }, now);
        far
    }

    fn put_of(pool: &IdlePool, worker: usize, now: Tick) -> DuplexStream {
        become_worker(worker);
        put(pool, now)
    }

    #[test]
    fn a_worker_takes_its_own_connections_first() {
        let pool = pool(8);
        let _common = put(&pool, at(0));
        let _ends = [0, 0, 1].map(|worker| put_of(&pool, worker, at(0)));
        become_worker(0);
        let own = [(); 2].map(|()| pool.take(at(1_000)).unwrap().worker);
        assert_eq!(own, [WorkerId(1); 2]);
        assert_eq!(pool.take(at(1_000)).unwrap().worker, WorkerId(COMMON), "borrowed");
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn who_borrows_twice_in_a_moment_needs_its_own() {
        let pool = pool(8);
        let _ends = [0, 0, 0, 0].map(|worker| put_of(&pool, worker, at(0)));
        become_worker(1);
        let lent = pool.take(at(1_000)).unwrap();
        assert!(pool.take(at(1_099)).is_none());
        // A borrowed connection returns to its own worker.
        pool.put(lent, at(1_099));
        assert!(pool.take(at(1_099)).is_none());
        let _own = put(&pool, at(1_099));
        assert_eq!(pool.take(at(1_099)).unwrap().worker, WorkerId(2));
        assert_eq!(pool.take(at(1_100)).unwrap().worker, WorkerId(1));
        assert_eq!(pool.len(), 3);
    }

    #[test]
    fn of_too_many_the_oldest_of_the_thread_that_has_most_is_closed() {
        let pool = pool(3);
        let _ends = [(0, 1), (0, 2), (0, 3), (1, 4)].map(|(worker, second)| put_of(&pool, worker, at(second * 1_000)));
        assert_eq!(pool.len(), 3);
        become_worker(0);
        // Of the connections of seconds 2 and 3, one has been idle for too long.
        assert_eq!(pool.take(at(12_000)).unwrap().worker, WorkerId(1));
        assert_eq!(pool.take(at(12_000)).unwrap().worker, WorkerId(2), "none of its own is left");
        assert!(pool.is_empty());
        let none = IdlePool::new(0, Duration::from_secs(10), 2);
        let _end = put(&none, at(0));
        assert!(none.is_empty());
    }

    #[test]
    fn what_is_closed_or_unwanted_or_old_goes_from_every_worker() {
        let pool = pool(8);
        let [closed, _open, also_open, also_closed] = [0, 0, 1, 1].map(|worker| put_of(&pool, worker, at(0)));
        drop((closed, also_closed));
        pool.reap(at(9_999));
        assert_eq!(pool.len(), 2);
        pool.retain(|_| true);
        assert_eq!(pool.len(), 2);
        pool.reap(at(10_000));
        assert!(pool.is_empty());
        become_worker(7);
        let _end = put(&pool, at(0));
        pool.retain(|_| false);
        assert!(pool.is_empty(), "a worker that nobody counted on is one of the other threads");
        drop(also_open);
    }
}
