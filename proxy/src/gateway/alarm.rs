//! One timer for the whole life of a connection.
//!
//! Most waits end in time. So the timer isn't reset for each wait: if the next deadline is later,
//! the timer stays and checks the time when it fires. Only an earlier deadline moves it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::clock;
use crate::model::Tick;

#[derive(Debug)]
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// A timer that fires at `due`.
    pub(super) fn new(due: Tick) -> Self {
        Alarm(Box::pin(sleep_until(instant(due))))
    }

    /// Ready once `due` has passed.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>, due: Tick) -> Poll<()> {
        let due = instant(due);
        if self.0.deadline() > due {
            self.0.as_mut().reset(due);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if self.0.deadline() >= due {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(due);
        }
    }

    /// Waits until `due`.
    pub(super) async fn at(&mut self, due: Tick) {
        poll_fn(|cx| self.poll_due(cx, due)).await;
    }
}

fn instant(tick: Tick) -> Instant {
    clock::instant(tick).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LATE: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn it_goes_off_when_it_is_due_whatever_it_was_set_to() {
        let began = clock::now();
        let ms = |count| began.after(Duration::from_millis(count));
        let mut alarm = Alarm::new(began.after(LATE));
        for due in [ms(5), ms(30), ms(31), ms(2)] {
            alarm.at(due).await;
            assert!(clock::now() >= due);
        }
        // A deadline an hour ahead, then an early one.
        let waiting = tokio::time::timeout(Duration::from_millis(20), alarm.at(began.after(LATE))).await;
        assert!(waiting.is_err());
        alarm.at(ms(60)).await;
        assert!(clock::now() < began.after(LATE));
    }
}
