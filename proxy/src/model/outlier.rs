//! Detection of endpoints that fail requests which others answer, although their probes succeed.
//!
//! A probe shows that an endpoint is alive, not that it serves. A request that an endpoint failed
//! and another one answered is a *strike* against it. An endpoint is an *outlier* when strikes make
//! up [`SHARE`] of its requests in a window that begins with the first one, or in the last second,
//! at least [`STRIKES`], and for more than half of the clients that it served lately. (Envoy's
//! outlier detection by failure percentage; the evidence is the same request answered elsewhere, in
//! place of the pool's average.)
//!
//! Invariant: one client among several makes no endpoint an outlier, whatever it requests and
//! however fast. So clients are counted before any strike, too. For an endpoint without strikes, a
//! success of a known client costs five loads and an addition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Tick;
use super::share::mix;
use super::windows::{Counts, Windows};

/// The fewest strikes in a window that make an outlier. One burst of a restart has fewer.
const STRIKES: u32 = 5;
/// One strike in this many answers: the retry budget's default, beyond which clients see failures.
const SHARE: u32 = 5;
/// The time for which strikes count.
const WINDOW: Duration = Duration::from_secs(10);
/// The window in which clients are counted: about the same, in a power of two of nanoseconds.
const CLIENTS_NANOS: u64 = 1 << 33;
/// The window in which answers are counted: about a second.
const ANSWERS_NANOS: u64 = 1 << 30;
/// The number of clients that are counted separately; all others are counted as one.
const MAX_CLIENTS: usize = 64;

/// The strikes of one endpoint.
#[derive(Debug, Default)]
pub struct Outlier {
    recent: Recent,
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
        self.recent.record(client, now);
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
        let is_outlier = is_outlier(&clients, self.recent.clients(now), self.recent.answers(now));
        if is_outlier {
            clients.clear();
            self.until.store(0, Relaxed);
        }
        is_outlier
    }
}

/// The clients and answers of late, whether there are strikes or not.
#[derive(Debug, Default)]
struct Recent {
    windows: Windows,
    /// A bit for each of 64 groups of clients.
    clients: Counts,
    seconds: Windows,
    answers: Counts,
}

impl Recent {
    fn record(&self, client: u64, now: Tick) {
        self.turn(now);
        let bit = 1 << (mix(client) & 63);
        if self.clients.now.load(Relaxed) & bit == 0 {
            self.clients.now.fetch_or(bit, Relaxed);
        }
        self.answers.now.fetch_add(1, Relaxed);
    }

    /// The approximate number of clients in the last window and the one before.
    fn clients(&self, now: Tick) -> usize {
        self.turn(now);
        (self.clients.now.load(Relaxed) | self.clients.before.load(Relaxed)).count_ones() as usize
    }

    /// The number of answers in the last second, about, and the one before.
    fn answers(&self, now: Tick) -> u32 {
        self.turn(now);
        let answers = self.answers.now.load(Relaxed).saturating_add(self.answers.before.load(Relaxed));
        u32::try_from(answers).unwrap_or(u32::MAX)
    }

    fn turn(&self, now: Tick) {
        self.windows.turn(now, CLIENTS_NANOS, |follows| self.clients.turn(follows));
        self.seconds.turn(now, ANSWERS_NANOS, |follows| self.answers.turn(follows));
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

/// `recent`: clients that were served lately. `answered`: answers in the last second.
fn is_outlier(clients: &[Given], recent: usize, answered: u32) -> bool {
    let strikes: u32 = clients.iter().map(|given| given.strikes).sum();
    let is_many = |strikes: u32, answers: u32| strikes.saturating_mul(SHARE) >= strikes.saturating_add(answers);
    let answers = clients.iter().map(|given| given.answers).sum::<u32>().max(answered);
    let struck = clients.iter().filter(|given| given.strikes > 0 && is_many(given.strikes, given.answers)).count();
    strikes >= STRIKES && is_many(strikes, answers) && 2 * struck > clients.len().max(recent)
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

    /// Before anybody counts strikes.
    #[test]
    fn a_burst_of_one_client_among_several_makes_no_outlier() {
        let outlier = Outlier::default();
        for client in 1..=3 {
            outlier.answer(client, at(8_000));
        }
        for ms in [8_001, 17_000] {
            assert!((0..100).all(|_| !outlier.strike(ATTACKER, at(ms))));
        }
        assert!((0..STRIKES).any(|_| outlier.strike(ATTACKER, at(60_000))), "it is alone by now");
    }

    /// Five odd requests among many good ones of the same client, such as a load balancer.
    #[test]
    fn a_burst_among_many_answers_makes_no_outlier() {
        let outlier = Outlier::default();
        for ms in 0..1_000 {
            outlier.answer(1, at(20_000 + ms));
        }
        assert!((0..50).all(|_| !outlier.strike(1, at(21_000))));
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
