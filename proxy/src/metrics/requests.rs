//! Counters of an upstream's requests: by method and status, which aren't known before the requests are.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use prometheus::{IntCounter, IntCounterVec};

/// The counters of one upstream. Each is looked up by its labels once.
pub(super) struct RequestCounters {
    all: IntCounterVec,
    upstream: String,
    known: RwLock<HashMap<(&'static str, u16), IntCounter>>,
}

impl RequestCounters {
    pub(super) fn new(all: IntCounterVec, upstream: &str) -> Self {
        RequestCounters { all, upstream: upstream.to_owned(), known: RwLock::default() }
    }

    /// Counts an answered request. `method` comes from a fixed list.
    pub(super) fn count(&self, method: &'static str, status: u16) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(&(method, status)) {
            return counter.inc();
        }
        drop(known);
        let counter = self.all.with_label_values(&[&self.upstream, method, status_text(status, &mut [0; 3])]);
        counter.inc();
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert((method, status), counter);
    }
}

pub(super) fn status_text(status: u16, digits: &mut [u8; 3]) -> &str {
    *digits = [(status / 100 % 10) as u8, (status / 10 % 10) as u8, (status % 10) as u8].map(|d| d + b'0');
    std::str::from_utf8(digits).unwrap_or("000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits() {
        assert_eq!(status_text(429, &mut [0; 3]), "429");
    }
}
