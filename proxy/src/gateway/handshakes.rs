//! The limit on TLS handshakes under way.
//!
//! A handshake holds buffers before anything is known about the client. At the limit the oldest is
//! cut for a new one, since it is the one least likely to succeed: a flood of half-open handshakes
//! displaces itself, while a client that answers is through within a few round trips.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Handshakes under way in the process. Each holds up to some 20 KiB.
pub(super) const MOST_HANDSHAKES: usize = 1_024;

/// The handshakes under way.
pub(super) struct Handshakes {
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    /// In the order of their beginning.
    under_way: BTreeMap<u64, Arc<Notify>>,
}

/// A handshake, counted until it is dropped.
pub(super) struct Handshake<'a> {
    all: &'a Handshakes,
    number: u64,
    cut: Arc<Notify>,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Self {
        Handshakes { most, inner: Mutex::default() }
    }

    /// Counts a handshake. At the limit, cuts the oldest.
    pub(super) fn begin(&self) -> Handshake<'_> {
        let mut inner = self.lock();
        if inner.under_way.len() >= self.most
            && let Some((_, oldest)) = inner.under_way.pop_first()
        {
            oldest.notify_one();
        }
        let (number, cut) = (inner.next, Arc::default());
        inner.next += 1;
        inner.under_way.insert(number, Arc::clone(&cut));
        Handshake { all: self, number, cut }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handshake<'_> {
    /// Completes when the handshake is cut.
    pub(super) async fn cut(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.all.lock().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_oldest_is_cut_for_a_new_one() {
        let all = Handshakes::new(2);
        let is_cut = |handshake: &Handshake<'_>| handshake.cut().now_or_never().is_some();
        let (first, second) = (all.begin(), all.begin());
        assert!(!is_cut(&first) && !is_cut(&second));
        let third = all.begin();
        assert!(is_cut(&first) && !is_cut(&second) && !is_cut(&third));
        // One that was cut doesn't count any more, and its end makes no room.
        drop(first);
        let fourth = all.begin();
        assert!(is_cut(&second) && !is_cut(&third));
        drop(third);
        let fifth = all.begin();
        assert!(!is_cut(&fourth) && !is_cut(&fifth));
        drop((second, fourth, fifth));
        assert!(all.lock().under_way.is_empty());
    }
}
