//! The time until a running attempt is checked for a hedge.
//!
//! One timer covers these checks and the attempt's end: arming a timer takes a lock.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// No check is due.
const NEVER: u64 = u64::MAX;

/// The hedge timer of one attempt.
#[derive(Debug)]
pub(crate) struct HedgeTimer {
    /// The time of the next check, in nanoseconds from the attempt's beginning.
    look: AtomicU64,
    over: AtomicBool,
}

impl Default for HedgeTimer {
    fn default() -> Self {
        HedgeTimer::new(None)
    }
}

impl HedgeTimer {
    /// A timer that fires `after` the attempt's beginning, if ever.
    pub(crate) fn new(after: Option<Duration>) -> Self {
        let look = after.map_or(NEVER, nanos);
        HedgeTimer { look: AtomicU64::new(look), over: AtomicBool::new(false) }
    }

    /// Fires again, `after` the attempt's beginning.
    pub(crate) fn rearm(&self, after: Duration) {
        self.look.store(nanos(after), Relaxed);
        self.over.store(false, Relaxed);
    }

    /// Runs `attempt` within `budget`; `None` if it takes longer.
    pub(crate) async fn within<T>(
        &self,
        budget: Duration,
        mut attempt: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let began = Instant::now();
        let next = || budget.min(Duration::from_nanos(self.look.load(Relaxed)));
        let mut armed = next();
        let mut timer = pin!(sleep_until(began + armed));
        poll_fn(|cx| {
            if let Poll::Ready(done) = attempt.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            loop {
                let wanted = next();
                if wanted != armed {
                    armed = wanted;
                    timer.as_mut().reset(began + armed);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if armed == budget {
                    return Poll::Ready(None);
                }
                // The task that polls this also polls `wait_for`, and sees the flag.
                self.look.store(NEVER, Relaxed);
                self.over.store(true, Relaxed);
            }
        })
        .await
    }

    /// Runs `attempt`, which uses this timer; `None` each time the timer fires.
    pub(crate) async fn wait_for<T>(&self, mut attempt: impl Future<Output = T> + Unpin) -> Option<T> {
        poll_fn(|cx| match pin!(&mut attempt).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.over.load(Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test(start_paused = true)]
    async fn it_ends_before_the_attempt_does() {
        let began = Instant::now();
        let timer = HedgeTimer::new(Some(MS(30)));
        let endless = pin!(pending::<()>());
        let mut attempt = Box::pin(timer.within(MS(100), endless));
        assert_eq!(timer.wait_for(&mut attempt).await, None);
        assert_eq!(began.elapsed(), MS(30));
        assert_eq!(attempt.await, None, "timed out");
        assert_eq!(began.elapsed(), MS(100));
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_armed_again() {
        let began = Instant::now();
        let timer = HedgeTimer::new(Some(MS(30)));
        let endless = pin!(pending::<()>());
        let mut attempt = Box::pin(timer.within(MS(100), endless));
        assert_eq!(timer.wait_for(&mut attempt).await, None);
        for look in [45, 60] {
            timer.rearm(MS(look));
            assert_eq!(timer.wait_for(&mut attempt).await, None);
            assert_eq!(began.elapsed(), MS(look));
        }
        timer.rearm(MS(500));
        assert_eq!(timer.wait_for(&mut attempt).await, Some(None), "timed out");
        assert_eq!(began.elapsed(), MS(100));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_ends_in_time_is_all() {
        for after in [None, Some(MS(30)), Some(MS(200))] {
            let timer = HedgeTimer::new(after);
            let quick = pin!(async {
                tokio::time::sleep(MS(20)).await;
                7
            });
            let attempt = Box::pin(timer.within(MS(100), quick));
            assert_eq!(timer.wait_for(attempt).await, Some(Some(7)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_end_or_with_a_late_one_there_is_the_budget_alone() {
        for after in [None, Some(MS(100)), Some(MS(200))] {
            let began = Instant::now();
            let timer = HedgeTimer::new(after);
            let endless = pin!(pending::<()>());
            let attempt = Box::pin(timer.within(MS(100), endless));
            assert_eq!(timer.wait_for(attempt).await, Some(None));
            assert_eq!(began.elapsed(), MS(100));
        }
    }
}
