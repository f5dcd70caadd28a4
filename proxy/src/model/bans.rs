//! Methods that an endpoint said it doesn't support, remembered for a time.
//!
//! Method names come from clients, so there is room for [`MAX_METHODS`] only; when it is full, the ban that ends
//! first makes room. An endpoint without bans, the usual one, costs one load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Tick;

/// More than any node's methods.
const MAX_METHODS: usize = 512;
/// A longer name is no method that anybody supports, and isn't worth its memory.
const MAX_NAME: usize = 128;

/// The methods that an endpoint isn't asked for.
#[derive(Debug, Default)]
#[repr(C)]
pub struct MethodBans {
    /// First, for whoever keeps it beside what else is read at each decision.
    count: AtomicUsize,
    until: Mutex<HashMap<Box<str>, Tick>>,
}

impl MethodBans {
    /// Bans `method` for `duration`. Returns whether the ban is a new one.
    pub fn ban(&self, method: &str, duration: Duration, now: Tick) -> bool {
        if method.is_empty() || method.len() > MAX_NAME || duration.is_zero() {
            return false;
        }
        let mut until = self.lock();
        let known = until.get(method).is_some_and(|until| *until > now);
        if !known && until.len() >= MAX_METHODS {
            make_room(&mut until, now);
        }
        until.insert(method.into(), now.after(duration));
        self.count.store(until.len(), Relaxed);
        !known
    }

    /// Whether `method` is banned.
    pub fn is_banned(&self, method: &str, now: Tick) -> bool {
        self.count.load(Relaxed) > 0 && self.lock().get(method).is_some_and(|until| *until > now)
    }

    /// The banned methods, in alphabetical order.
    pub fn list(&self, now: Tick) -> Vec<String> {
        let mut list: Vec<String> =
            self.lock().iter().filter(|(_, until)| **until > now).map(|(method, _)| method.to_string()).collect();
        list.sort_unstable();
        list
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Tick>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room(until: &mut HashMap<Box<str>, Tick>, now: Tick) {
    until.retain(|_, end| *end > now);
    if until.len() >= MAX_METHODS
        && let Some(first) = until.iter().min_by_key(|(_, end)| **end).map(|(method, _)| method.clone())
    {
        until.remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::START.after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_ban_ends_with_its_time() {
        let bans = MethodBans::default();
        assert!(!bans.is_banned("trace_block", at(0)));
        assert!(bans.ban("trace_block", Duration::from_secs(10), at(0)));
        assert!(!bans.ban("trace_block", Duration::from_secs(10), at(5)), "not a new one");
        assert!(bans.is_banned("trace_block", at(14)) && !bans.is_banned("eth_call", at(14)));
        assert!(!bans.is_banned("trace_block", at(15)));
        assert_eq!((bans.list(at(14)), bans.list(at(15))), (vec!["trace_block".to_owned()], vec![]));
    }

    #[test]
    fn what_clients_make_up_takes_a_bounded_room() {
        let bans = MethodBans::default();
        for n in 0..2 * MAX_METHODS as u64 {
            bans.ban(&format!("made_up_{n}"), Duration::from_secs(1_000 + n), at(0));
        }
        assert_eq!(bans.list(at(0)).len(), MAX_METHODS);
        assert!(!bans.is_banned("made_up_0", at(0)) && bans.is_banned("made_up_1023", at(0)));
        assert!(!bans.ban(&"x".repeat(MAX_NAME + 1), Duration::from_secs(1), at(0)));
        assert!(!bans.ban("", Duration::from_secs(1), at(0)) && !bans.ban("a", Duration::ZERO, at(0)));
    }
}
