//! How long an attempt may take before another one is made beside it.
//!
//! One timer does for that and for the attempt's end: each that a request needs is set and taken back under a lock of all threads.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The patience with one attempt.
#[derive(Debug, Default)]
pub(super) struct Patience {
    after: Option<Duration>,
    over: AtomicBool,
}

impl Patience {
    /// Ends after so long, if ever.
    pub(super) fn new(after: Option<Duration>) -> Self {
        Patience { after, over: AtomicBool::new(false) }
    }

    /// What comes of `attempt` within `budget`; `None` if that is too short.
    pub(super) async fn within<T>(
        &self,
        budget: Duration,
        mut attempt: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let began = Instant::now();
        let first = self.after.filter(|after| *after < budget).unwrap_or(budget);
        let mut at_end = first == budget;
        let mut timer = pin!(sleep_until(began + first));
        poll_fn(|cx| {
            if let Poll::Ready(done) = attempt.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            while timer.as_mut().poll(cx).is_ready() {
                if at_end {
                    return Poll::Ready(None);
                }
                // Whoever polls this looks at it, too.
                self.over.store(true, Relaxed);
                at_end = true;
                timer.as_mut().reset(began + budget);
            }
            Poll::Pending
        })
        .await
    }

    /// What comes of `attempt`, which is run with this patience; `None` when that is over.
    pub(super) async fn wait_for<T>(&self, mut attempt: impl Future<Output = T> + Unpin) -> Option<T> {
        poll_fn(|cx| match pin!(&mut attempt).poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.over.load(Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[tokio::test(start_paused = true)]
    async fn it_ends_before_the_attempt_does() {
        let began = Instant::now();
        let patience = Patience::new(Some(MS(30)));
        let endless = pin!(pending::<()>());
        let mut attempt = Box::pin(patience.within(MS(100), endless));
        assert_eq!(patience.wait_for(&mut attempt).await, None);
        assert_eq!(began.elapsed(), MS(30));
        assert_eq!(attempt.await, None, "timed out");
        assert_eq!(began.elapsed(), MS(100));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_ends_in_time_is_all() {
        for after in [None, Some(MS(30)), Some(MS(200))] {
            let patience = Patience::new(after);
            let quick = pin!(async {
                tokio::time::sleep(MS(20)).await;
                7
            });
            let attempt = Box::pin(patience.within(MS(100), quick));
            assert_eq!(patience.wait_for(attempt).await, Some(Some(7)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_end_or_with_a_late_one_there_is_the_budget_alone() {
        for after in [None, Some(MS(100)), Some(MS(200))] {
            let began = Instant::now();
            let patience = Patience::new(after);
            let endless = pin!(pending::<()>());
            let attempt = Box::pin(patience.within(MS(100), endless));
            assert_eq!(patience.wait_for(attempt).await, Some(None));
            assert_eq!(began.elapsed(), MS(100));
        }
    }
}
