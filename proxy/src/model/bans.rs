//! Temporary bans of methods at an endpoint that doesn't support them or always fails them.
//!
//! "No such method" is believed at once. Any other failure that another endpoint didn't have is a
//! *strike*: [`STRIKES`] of them ban the method, if they span [`STRIKE_TIME`] and the method had no
//! success in between. So no client can cause a ban of a method that others use with success.
//!
//! Method names come from clients, so only [`MAX_METHODS`] are stored; when the table is full, the
//! ban that ends first is removed. An endpoint without bans, the usual one, costs one load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Tick;

/// More than any node has.
const MAX_METHODS: usize = 512;
/// No endpoint supports a method with a longer name.
const MAX_NAME: usize = 128;

/// Failures in a row after which a method is banned.
const STRIKES: u32 = 3;
/// The shortest span of those failures: one burst counts as one event.
const STRIKE_TIME: Duration = Duration::from_secs(1);

/// The banned methods of an endpoint.
#[derive(Debug, Default)]
#[repr(C)]
pub struct MethodBans {
    /// The first field, next to the other data that each decision reads.
    count: AtomicUsize,
    /// The number of methods with strikes.
    struck: AtomicUsize,
    until: Mutex<HashMap<Box<str>, Tick>>,
    strikes: Mutex<HashMap<Box<str>, Strikes>>,
}

/// Consecutive failures of a method.
#[derive(Debug)]
struct Strikes {
    first: Tick,
    count: u32,
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

    /// Records that `method` failed here while another endpoint answered the same request. Returns
    /// whether that starts a ban.
    pub fn strike(&self, method: &str, duration: Duration, now: Tick) -> bool {
        if method.is_empty() || method.len() > MAX_NAME || duration.is_zero() {
            return false;
        }
        let mut all = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(method) && all.len() >= MAX_METHODS {
            all.clear();
        }
        let strikes = all.entry(method.into()).or_insert(Strikes { first: now, count: 0 });
        strikes.count += 1;
        let is_out = strikes.count >= STRIKES && now.since(strikes.first) >= STRIKE_TIME;
        if is_out {
            all.remove(method);
        }
        self.struck.store(all.len(), Relaxed);
        drop(all);
        is_out && self.ban(method, duration, now)
    }

    /// Records a success of `method`.
    pub fn succeed(&self, method: &str) {
        if self.struck.load(Relaxed) > 0 {
            let mut all = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
            all.remove(method);
            self.struck.store(all.len(), Relaxed);
        }
    }

    /// Whether no method is banned: the usual case, for one load.
    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Whether `method` is banned.
    pub fn is_banned(&self, method: &str, now: Tick) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut until = self.lock();
        let end = until.get(method).copied();
        if end.is_some_and(|end| end <= now) {
            until.remove(method);
            self.count.store(until.len(), Relaxed);
        }
        end.is_some_and(|end| end > now)
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
        assert_eq!((bans.list(at(14)), bans.list(at(15))), (vec!["trace_block".to_owned()], vec![]));
        assert!(!bans.is_banned("trace_block", at(15)));
        assert_eq!(bans.count.load(Relaxed), 0, "a ban that is over costs nothing");
    }

    #[test]
    fn a_method_is_out_after_three_strikes_in_a_second_without_a_success() {
        let (bans, minute) = (MethodBans::default(), Duration::from_secs(60));
        let strike = |ms| bans.strike("eth_call", minute, Tick::START.after(Duration::from_millis(ms)));
        assert!(!strike(0) && !strike(1) && !strike(2) && !strike(3), "one burst");
        bans.succeed("eth_call");
        assert!(!strike(1_500) && !strike(1_600) && !strike(2_400));
        assert!(strike(2_500));
        assert!(bans.is_banned("eth_call", at(3)) && !bans.is_banned("eth_getBalance", at(3)));
        for n in 0..3 * MAX_METHODS {
            bans.strike(&format!("made_up_{n}"), minute, at(4));
        }
        assert!(bans.struck.load(Relaxed) <= MAX_METHODS);
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
