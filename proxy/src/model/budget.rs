//! A limit on retries and hedges together, so that they don't amplify an outage.
//!
//! Over a window of ten seconds they are limited to a share of the requests, plus a floor per
//! second that lets an upstream with little traffic retry at all. (Finagle's and Linkerd's retry
//! budget uses the same three numbers.) The window slides: the counts of the previous window fade
//! in proportion to the elapsed part of the current one. Counts are atomics and writers race
//! benignly: around the turn of a window a few more or fewer may pass.
//!
//! Invariant: no client spends another's budget. Each has the share of its own requests, and an
//! equal part of the floor. Client keys are divided into [`CLIENTS`] groups; the budgets of the
//! groups add up to the whole.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Tick;
use super::windows::{Counts, Windows};

/// The length of the window: Finagle's `ttl`.
const WINDOW: Duration = Duration::from_secs(10);
/// Groups of clients. Clients of the same group share its budget.
const CLIENTS: usize = 64;

/// The limits of the budget, from the upstream's conf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetLimits {
    /// Retries and hedges per request.
    pub share: f32,
    /// Retries and hedges per second that are always allowed.
    pub floor_per_sec: u32,
}

/// The retry budget of an upstream.
#[derive(Debug)]
pub struct RetryBudget {
    windows: Windows,
    clients: Box<[Client; CLIENTS]>,
}

/// The counts of one group of clients.
#[derive(Debug, Default)]
struct Client {
    requests: Counts,
    spent: Counts,
}

impl Default for RetryBudget {
    fn default() -> Self {
        let clients = Box::new(std::array::from_fn(|_| Client::default()));
        RetryBudget { windows: Windows::default(), clients }
    }
}

impl RetryBudget {
    /// Records a request of this client.
    pub fn deposit(&self, client: u64, now: Tick) {
        self.turn(now);
        self.client(client).requests.now.fetch_add(1, Relaxed);
    }

    /// Whether another retry or hedge of this client is allowed.
    pub fn allows(&self, limits: BudgetLimits, client: u64, now: Tick) -> bool {
        self.turn(now);
        let fading = 1.0 - now.as_nanos() as f64 % window_nanos() as f64 / window_nanos() as f64;
        let client = self.client(client);
        let active = self.clients.iter().filter(|other| sum(&other.requests, fading) > 0.0).count().max(1);
        let floor = f64::from(limits.floor_per_sec) * WINDOW.as_secs_f64() / active as f64;
        let allowed = floor + f64::from(limits.share) * sum(&client.requests, fading);
        sum(&client.spent, fading) + 1.0 <= allowed
    }

    /// Records a retry or hedge of this client.
    pub fn spend(&self, client: u64) {
        self.client(client).spent.now.fetch_add(1, Relaxed);
    }

    fn client(&self, key: u64) -> &Client {
        // The remainder is below the length, which is a usize.
        &self.clients[usize::try_from(key % CLIENTS as u64).unwrap_or(0)]
    }

    /// Starts a new window when its time has come.
    fn turn(&self, now: Tick) {
        self.windows.turn(now, window_nanos(), |follows| {
            for client in &*self.clients {
                client.requests.turn(follows);
                client.spent.turn(follows);
            }
        });
    }
}

/// The sum of both windows, with this share of the previous one.
fn sum(counts: &Counts, fading: f64) -> f64 {
    counts.now.load(Relaxed) as f64 + counts.before.load(Relaxed) as f64 * fading
}

const fn window_nanos() -> u64 {
    WINDOW.as_secs() * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 1;

    fn at(ms: u64) -> Tick {
        Tick::START.after(Duration::from_millis(ms))
    }

    fn spend_all(budget: &RetryBudget, limits: BudgetLimits, now: Tick) -> usize {
        (0..10_000).take_while(|_| budget.allows(limits, ONE, now)).map(|_| budget.spend(ONE)).count()
    }

    #[test]
    fn a_share_of_the_requests_and_a_floor() {
        let budget = RetryBudget::default();
        let share = BudgetLimits { share: 0.2, floor_per_sec: 0 };
        assert_eq!(spend_all(&budget, share, at(1)), 0);
        (0..100).for_each(|_| budget.deposit(ONE, at(1)));
        assert_eq!(spend_all(&budget, share, at(2)), 20);
        assert_eq!(spend_all(&budget, BudgetLimits { floor_per_sec: 3, ..share }, at(2)), 30);
    }

    #[test]
    fn the_window_slides() {
        let (budget, share) = (RetryBudget::default(), BudgetLimits { share: 0.5, floor_per_sec: 0 });
        (0..100).for_each(|_| budget.deposit(ONE, at(9_000)));
        assert_eq!(spend_all(&budget, share, at(9_999)), 50);
        // Half of the previous window counts, for requests and spending alike.
        assert_eq!(spend_all(&budget, share, at(15_000)), 0);
        (0..100).for_each(|_| budget.deposit(ONE, at(15_000)));
        assert_eq!(spend_all(&budget, share, at(15_000)), 50);
        // After a pause both are zero.
        assert_eq!(spend_all(&budget, share, at(90_000)), 0);
        budget.deposit(ONE, at(90_000));
        budget.deposit(ONE, at(90_000));
        assert_eq!(spend_all(&budget, share, at(90_001)), 1);
    }

    #[test]
    fn no_client_spends_anothers() {
        let (budget, limits) = (RetryBudget::default(), BudgetLimits { share: 0.2, floor_per_sec: 4 });
        let other = ONE + 1;
        (0..1_000).for_each(|_| budget.deposit(ONE, at(1)));
        (0..100).for_each(|_| budget.deposit(other, at(1)));
        // Its share, and half of the floor.
        assert_eq!(spend_all(&budget, limits, at(2)), 200 + 20);
        let spent =
            (0..10_000).take_while(|_| budget.allows(limits, other, at(2))).map(|_| budget.spend(other)).count();
        assert_eq!(spent, 20 + 20);
    }
}
