//! The limit on client connections, and which one is closed to admit another.
//!
//! Every connection takes a file descriptor, and so do those to endpoints, the log and a reload: if
//! clients took them all, every request would fail and endpoints would be blamed. So the limit
//! (`max_connections`) lies below that of the process. When it is reached, the connection that has
//! been idle longest is shed; if none is idle, the new one is refused.
//!
//! Opening and closing a connection takes a lock. A request costs two atomic operations.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::clock;
use crate::metrics::Metrics;
use crate::model::Tick;

/// A request is under way.
const BUSY: u64 = u64::MAX;
/// Shed: the connection's task will close it.
const SHED: u64 = u64::MAX - 1;
/// One extra connection is shed per this many allowed: finding the oldest scans all of them.
const SHARE: usize = 1_024;
/// Maximum of shed connections that are still open. They no longer count toward the limit, but
/// still hold file descriptors.
const MAX_CLOSING: usize = 16;
/// Shortest time between two warnings about refusals.
const WARN_PERIOD: Duration = Duration::from_secs(10);

/// The open client connections.
pub struct Connections {
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    members: HashMap<u64, Open>,
    by_address: HashMap<IpAddr, usize>,
    /// Connections that are shed and still open.
    closing: usize,
    next: u64,
    warned: Option<Tick>,
    refused_since: u64,
}

struct Open {
    member: Arc<Member>,
    /// `None` until a header of the PROXY protocol has named the client.
    address: Option<IpAddr>,
}

struct Member {
    /// The beginning of the idle time in nanoseconds, or `BUSY` or `SHED`.
    waits_since: AtomicU64,
    task: AtomicWaker,
}

/// The limits on connections.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// `max_connections`.
    pub in_all: usize,
    /// `max_connections_per_address`.
    pub per_address: usize,
}

/// The limit that refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `max_connections`.
    InAll,
    /// `max_connections_per_address`.
    PerAddress,
}

/// An open connection, counted until it is dropped.
pub struct ConnectionCount {
    all: Arc<Connections>,
    number: u64,
    member: Arc<Member>,
}

impl Connections {
    /// No connections.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Connections { metrics, inner: Mutex::default() })
    }

    /// Counts a connection. At a limit, sheds the one that has been idle longest.
    ///
    /// # Errors
    /// When none is idle. The refusal is counted and logged.
    pub fn enter(self: &Arc<Self>, client: IpAddr, most: Most) -> Result<ConnectionCount, Full> {
        self.admit(Some(network(client)), most)
    }

    /// The same for a client whose address isn't known yet: see [`ConnectionCount::name_client`].
    ///
    /// # Errors
    /// As of [`Connections::enter`].
    pub(super) fn enter_unnamed(self: &Arc<Self>, most: Most) -> Result<ConnectionCount, Full> {
        self.admit(None, most)
    }

    fn admit(self: &Arc<Self>, address: Option<IpAddr>, most: Most) -> Result<ConnectionCount, Full> {
        let mut inner = self.lock();
        let mut shed = 0;
        if let Some(address) = address {
            match inner.make_room(address, most) {
                Some(count) => shed += count,
                None => return Err(self.refuse(inner, Full::PerAddress)),
            }
        }
        if inner.members.len() >= most.in_all {
            let surplus = inner.members.len() - most.in_all;
            let count = inner.shed(1 + surplus + most.in_all / SHARE, |_| true);
            shed += count;
            if count <= surplus {
                self.metrics.connections_shed.inc_by(shed as u64);
                return Err(self.refuse(inner, Full::InAll));
            }
        }
        let member = Arc::new(Member { waits_since: AtomicU64::new(waiting(clock::now())), task: AtomicWaker::new() });
        let number = inner.next;
        inner.next += 1;
        inner.members.insert(number, Open { member: Arc::clone(&member), address });
        if let Some(address) = address {
            *inner.by_address.entry(address).or_default() += 1;
        }
        self.metrics.connections_shed.inc_by(shed as u64);
        self.tell(&inner);
        Ok(ConnectionCount { all: Arc::clone(self), number, member })
    }

    /// Counts a connection that can't be accepted because file descriptors ran out.
    pub(super) fn lack_files(&self) {
        self.metrics.count_refused_connection("files");
    }

    /// Whether too many shed connections are still open to accept another: each holds a file
    /// descriptor.
    pub(super) fn is_behind(&self) -> bool {
        self.lock().closing > MAX_CLOSING
    }

    fn refuse(&self, mut inner: MutexGuard<'_, Inner>, why: Full) -> Full {
        self.metrics.count_refused_connection(why.label());
        self.tell(&inner);
        inner.refused_since += 1;
        let now = clock::now();
        if inner.warned.is_none_or(|warned| now.since(warned) >= WARN_PERIOD) {
            inner.warned = Some(now);
            let refused = std::mem::take(&mut inner.refused_since);
            tracing::warn!(refused, open = inner.members.len(), limit = why.key(), "connections are refused");
        }
        why
    }

    fn tell(&self, inner: &Inner) {
        self.metrics.connections.set(i64::try_from(inner.members.len()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Makes room for one more connection from `address`. Returns the number of shed connections;
    /// `None` if the limit is reached and none of them is idle.
    fn make_room(&mut self, address: IpAddr, most: Most) -> Option<usize> {
        // By default one address may use the whole limit; then this limit is never the one reached.
        let has_limit = most.per_address < most.in_all;
        if !has_limit || self.by_address.get(&address).is_none_or(|count| *count < most.per_address) {
            return Some(0);
        }
        let shed = self.shed(1, |open| open.address == Some(address));
        (shed > 0).then_some(shed)
    }

    /// Sheds up to `count` of the matching connections, longest idle first. Returns the number
    /// shed.
    fn shed(&mut self, count: usize, fits: impl Fn(&Open) -> bool) -> usize {
        let waiting = self.members.iter().filter(|(_, open)| fits(open));
        let since = waiting.map(|(&number, open)| (open.member.waits_since.load(SeqCst), number));
        let mut since: Vec<(u64, u64)> = since.filter(|&(since, _)| since < SHED).collect();
        if count < since.len() {
            since.select_nth_unstable(count);
            since.truncate(count);
        }
        since.into_iter().filter(|&(since, number)| self.shed_one(since, number)).count()
    }

    /// Sheds one connection, unless it has a request by now.
    fn shed_one(&mut self, since: u64, number: u64) -> bool {
        let Some(Open { member, .. }) = self.members.get(&number) else { return false };
        if member.waits_since.compare_exchange(since, SHED, SeqCst, SeqCst).is_err() {
            return false;
        }
        member.task.wake();
        self.remove(number);
        self.closing += 1;
        true
    }

    fn remove(&mut self, number: u64) {
        // A shed connection was removed before.
        let Some(Open { address: Some(address), .. }) = self.members.remove(&number) else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Full {
    fn label(self) -> &'static str {
        match self {
            Full::InAll => "max_connections",
            Full::PerAddress => "max_connections_per_address",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Full::InAll => "server.max_connections",
            Full::PerAddress => "server.max_connections_per_address",
        }
    }
}

impl ConnectionCount {
    /// Counts the connection for `client` from now on, under the limit of its address.
    ///
    /// # Errors
    /// As of [`Connections::enter`]. The connection must be closed then.
    pub(super) fn name_client(&self, client: IpAddr, most: Most) -> Result<(), Full> {
        let address = network(client);
        let mut inner = self.all.lock();
        // A shed connection is counted nowhere any more.
        if !inner.members.contains_key(&self.number) {
            return Ok(());
        }
        let Some(shed) = inner.make_room(address, most) else {
            return Err(self.all.refuse(inner, Full::PerAddress));
        };
        if let Some(open) = inner.members.get_mut(&self.number) {
            open.address = Some(address);
            *inner.by_address.entry(address).or_default() += 1;
        }
        self.all.metrics.connections_shed.inc_by(shed as u64);
        self.all.tell(&inner);
        Ok(())
    }

    /// Marks the connection as idle. A new connection starts idle.
    pub(super) fn rest(&self, now: Tick) {
        // A shed connection stays shed.
        let _ = self.member.waits_since.compare_exchange(BUSY, waiting(now), SeqCst, SeqCst);
    }

    /// Marks the connection as busy. Returns false if it was shed meanwhile.
    pub(super) fn wake_up(&self) -> bool {
        let member = &self.member.waits_since;
        member.fetch_update(SeqCst, SeqCst, |since| (since != SHED).then_some(BUSY)).is_ok()
    }

    /// Whether the connection is shed. If not, registers the task to be woken when it is.
    pub(super) fn is_shed(&self, cx: &Context<'_>) -> bool {
        self.member.task.register(cx.waker());
        self.member.waits_since.load(SeqCst) == SHED
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let mut inner = self.all.lock();
        if inner.members.contains_key(&self.number) {
            inner.remove(self.number);
        } else {
            inner.closing = inner.closing.saturating_sub(1);
        }
        self.all.tell(&inner);
    }
}

/// The stored form of an idle connection's beginning.
fn waiting(since: Tick) -> u64 {
    since.as_nanos().min(SHED - 1)
}

/// The address that limits apply to: an IPv6 client usually has 2^64 of them.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests;
