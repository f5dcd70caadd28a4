//! Detection of endpoints that fail requests which others answer, although their probes succeed.
//!
//! A probe shows that an endpoint is alive, not that it serves. A request that an endpoint failed
//! and another one answered is a *strike* against it. An endpoint is an *outlier* when strikes make
//! up [`SHARE`] of its requests in a window that begins with the first one, at least [`STRIKES`],
//! and for more than half of the clients that it served in that time. (Envoy's outlier detection by
//! failure percentage; the evidence is the same request answered elsewhere, in place of the pool's
//! average.)
//!
//! Invariant: one client among several makes no endpoint an outlier, whatever it requests. For an
//! endpoint without strikes, a success costs one load.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Tick;

/// The fewest strikes in a window that make an outlier. One burst of a restart has fewer.
const STRIKES: u32 = 5;
/// One strike in this many answers: the retry budget's default, beyond which clients see failures.
const SHARE: u32 = 5;
/// The time for which strikes count.
const WINDOW: Duration = Duration::from_secs(10);
/// The number of clients that are counted separately; all others are counted as one.
const MAX_CLIENTS: usize = 64;

/// The strikes of one endpoint.
#[derive(Debug, Default)]
pub struct Outlier {
    /// The end of the window, in nanoseconds.
    until: AtomicU64,
    /// The counts by client since the window began.
    clients: Mutex<Vec<Given>>,
}

#[derive(Clone, Copy, Debug)]
struct Given {
    client: u64,
    strikes: u32,
    answers: u32,
}

impl Outlier {
    /// Records a good answer to a request of `client`.
    pub fn answer(&self, client: u64, now: Tick) {
        if now.as_nanos() < self.until.load(Relaxed) {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let given = given(&mut clients, client);
            given.answers = given.answers.saturating_add(1);
        }
    }

    /// Records a failed request of `client` that another endpoint answered. Returns whether that
    /// makes this one an outlier; its strikes are then cleared.
    pub fn strike(&self, client: u64, now: Tick) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if now.as_nanos() >= self.until.load(Relaxed) {
            clients.clear();
            self.until.store(now.after(WINDOW).as_nanos(), Relaxed);
        }
        let given = given(&mut clients, client);
        given.strikes = given.strikes.saturating_add(1);
        let is_outlier = is_outlier(&clients);
        if is_outlier {
            clients.clear();
            self.until.store(0, Relaxed);
        }
        is_outlier
    }
}

fn given(clients: &mut Vec<Given>, client: u64) -> &mut Given {
    let known = clients.iter().position(|given| given.client == client);
    let at = known.unwrap_or_else(|| {
        if clients.len() < MAX_CLIENTS {
            clients.push(Given { client, strikes: 0, answers: 0 });
        }
        clients.len() - 1
    });
    &mut clients[at]
}

fn is_outlier(clients: &[Given]) -> bool {
    let strikes: u32 = clients.iter().map(|given| given.strikes).sum();
    let is_many = |strikes: u32, answers: u32| strikes.saturating_mul(SHARE) >= strikes.saturating_add(answers);
    let answers = clients.iter().map(|given| given.answers).sum();
    let struck = clients.iter().filter(|given| given.strikes > 0 && is_many(given.strikes, given.answers)).count();
    strikes >= STRIKES && is_many(strikes, answers) && 2 * struck > clients.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACKER: u64 = 666;

    fn at(ms: u64) -> Tick {
        Tick::START.after(Duration::from_millis(ms))
    }

    /// The result of `count` strikes with `answers` good answers before each.
    fn strikes(count: u32, answers: u32, step_ms: u64) -> bool {
        let outlier = Outlier::default();
        (0..count).any(|number| {
            let now = at(1 + u64::from(number) * step_ms);
            (0..answers).for_each(|_| outlier.answer(1, now));
            outlier.strike(1, now)
        })
    }

    #[test]
    fn one_in_five_that_others_answered_is_too_much() {
        assert!(strikes(STRIKES, 0, 10));
        assert!(!strikes(STRIKES - 1, 0, 10));
        assert!(strikes(STRIKES, 4, 10));
        assert!(!strikes(500, 6, 10));
        assert!(!strikes(500, 0, 3_000), "too rarely");
    }

    #[test]
    fn one_client_among_several_makes_no_outlier() {
        let outlier = Outlier::default();
        for ms in 1..5_000 {
            outlier.answer(1, at(ms));
            assert!(!outlier.strike(ATTACKER, at(ms)));
        }
        // A failure that all clients see makes an outlier.
        let all_see = (0..5_000).any(|_| outlier.strike(1, at(5_000)));
        assert!(all_see);
    }

    #[test]
    fn an_outlier_begins_anew() {
        let outlier = Outlier::default();
        assert_eq!((0..2 * STRIKES).filter(|_| outlier.strike(1, at(1))).count(), 2);
        outlier.answer(1, at(1));
        assert!(outlier.clients.lock().unwrap().is_empty(), "nothing is counted without a strike");
    }

    #[test]
    fn the_clients_beyond_those_that_are_told_apart_are_one() {
        let outlier = Outlier::default();
        outlier.strike(0, at(1));
        (0..10_000).for_each(|client| outlier.answer(client, at(1)));
        assert_eq!(outlier.clients.lock().unwrap().len(), MAX_CLIENTS);
    }
}
