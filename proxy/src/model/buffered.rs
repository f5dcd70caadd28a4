//! Memory held by requests in the whole process (`max_buffered`).
//!
//! The number of requests under way and the size of each are bounded, but their product may exceed
//! a machine's memory. A guard counts what a request holds beyond its first few KiB, and releases
//! it however the request ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of each request that aren't counted: most are smaller, and cost nothing here.
const FREE: usize = 16 << 10;

/// Counted bytes of all requests of the process.
#[derive(Debug, Default)]
pub struct Buffered(AtomicUsize);

/// The counted bytes of one request. Dropping it releases them.
#[derive(Debug, Default)]
pub struct Held {
    /// Set once bytes are counted.
    all: Option<Arc<Buffered>>,
    counted: usize,
}

impl Buffered {
    /// The number of counted bytes.
    pub fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Held {
    /// Counts `bytes` for this request in total, before they are held. Returns whether they fit:
    /// all requests together may hold `most`.
    #[must_use]
    pub fn cover(&mut self, all: &Arc<Buffered>, bytes: usize, most: usize) -> bool {
        let more = bytes.saturating_sub(FREE).saturating_sub(self.counted);
        if more == 0 {
            return true;
        }
        let fits = |held: usize| held.checked_add(more).filter(|sum| *sum <= most);
        if all.0.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return false;
        }
        self.counted += more;
        self.all.get_or_insert_with(|| Arc::clone(all));
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.0.fetch_sub(self.counted, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let all = Arc::new(Buffered::default());
        let (mut a, mut b) = (Held::default(), Held::default());
        assert!(a.cover(&all, FREE, 0), "the first few KiB are free");
        assert!(a.all.is_none());
        assert!(a.cover(&all, FREE + 60, 100));
        assert!(a.cover(&all, FREE + 50, 100), "less than it has");
        assert!(!b.cover(&all, FREE + 41, 100));
        assert!(b.cover(&all, FREE + 40, 100));
        assert!(!a.cover(&all, FREE + 61, 100));
        assert_eq!(all.bytes(), 100);
        drop(a);
        assert_eq!(all.bytes(), 40);
        drop(b);
        assert_eq!(all.bytes(), 0);
    }
}
