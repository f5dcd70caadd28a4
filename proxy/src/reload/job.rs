//! A preparation on a thread of its own, and its supervision.
//!
//! A preparation can't be interrupted, for example while it reads from a dead network file system
//! or compiles. So it doesn't run on the thread that answers reloads. That thread waits, logs slow
//! stages, and gives up when a stage exceeds its time limit.
//!
//! Invariants: the result of a thread that was given up is dropped unseen; and there is never more
//! than one such thread, since no other preparation begins until it has ended.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use crate::progress::Progress;

/// How often the stage is checked. The end of the work is noticed at once.
const LOOK: Duration = Duration::from_millis(100);

/// The time limits of one stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// After this time the log reports the stage, and again whenever the time has doubled.
    pub(crate) warn: Duration,
    /// After this time the preparation is given up.
    pub(crate) give_up: Duration,
}

impl Patience {
    /// A stage reads a file, or compiles and probes one module, which takes seconds on a slow
    /// machine.
    pub(crate) const RELOAD: Patience = Patience { warn: Duration::from_secs(5), give_up: Duration::from_secs(30) };
    /// At the start no other generation could serve, so the process only waits and logs the stage.
    pub(crate) const START: Patience = Patience { warn: Duration::from_secs(5), give_up: Duration::MAX };
}

/// Work on a thread of its own.
pub(crate) struct Job<T> {
    progress: Progress,
    result: Receiver<T>,
    began: Instant,
}

/// Why there is no result.
pub(crate) enum Failed<T> {
    /// The work panicked in this stage.
    Panicked(String),
    /// The work is still running.
    Hangs(Stuck<T>),
}

/// Work that was given up.
pub(crate) struct Stuck<T> {
    job: Job<T>,
    pub(crate) stage: String,
    pub(crate) since: Duration,
}

impl<T: Send + 'static> Job<T> {
    /// Starts `work`.
    pub(crate) fn start(progress: Progress, work: impl FnOnce(&Progress) -> T + Send + 'static) -> io::Result<Self> {
        let (sender, result) = channel();
        let its = progress.clone();
        std::thread::Builder::new().name("prepare".into()).spawn(move || {
            // A receiver that gave up doesn't want the result.
            let _ = sender.send(work(&its));
        })?;
        Ok(Job { progress, result, began: Instant::now() })
    }

    /// Waits for the result.
    pub(crate) fn wait(self, patience: Patience) -> Result<T, Failed<T>> {
        let mut due = (String::new(), patience.warn);
        loop {
            match self.result.recv_timeout(LOOK) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(Failed::Panicked(self.progress.stage().0)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let (stage, lasted) = self.progress.stage();
            if stage != due.0 {
                due = (stage.clone(), patience.warn);
            }
            if lasted >= due.1 {
                tracing::warn!(stage, seconds = lasted.as_secs_f64(), "preparing a generation takes long");
                due.1 = lasted * 2;
            }
            if lasted >= patience.give_up {
                self.progress.give_up();
                return Err(Failed::Hangs(Stuck { job: self, stage, since: lasted }));
            }
        }
    }
}

impl<T> Stuck<T> {
    /// Whether the work has ended after all. Its result is dropped.
    pub(crate) fn is_over(&self) -> bool {
        match self.job.result.try_recv() {
            Err(TryRecvError::Empty) => false,
            Ok(_) | Err(TryRecvError::Disconnected) => {
                let seconds = self.job.began.elapsed().as_secs_f64();
                tracing::warn!(seconds, "the preparation that hung has ended; reloads are carried out again");
                true
            }
        }
    }

    /// The current stage, and how long it has lasted.
    pub(crate) fn doing(&self) -> (String, Duration) {
        self.job.progress.stage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Patience = Patience { warn: Duration::from_millis(1), give_up: Duration::from_millis(50) };
    const LONG: Patience = Patience { warn: Duration::from_secs(60), give_up: Duration::from_secs(60) };

    #[test]
    fn work_that_ends_gives_its_result() {
        let job = Job::start(Progress::default(), |progress| {
            progress.enter("adding");
            1 + 1
        });
        assert!(matches!(job.unwrap().wait(LONG), Ok(2)));
    }

    #[test]
    fn work_that_hangs_is_given_up_in_its_stage_and_its_late_result_is_dropped() {
        let (go, gate) = channel::<()>();
        let (dropped, was_dropped) = channel();
        struct Tells(std::sync::mpsc::Sender<bool>, Progress);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.send(self.1.is_given_up());
            }
        }
        let job = Job::start(Progress::default(), move |progress| {
            progress.enter("plugin file x.wasm");
            let _ = gate.recv();
            Tells(dropped, progress.clone())
        });
        let Err(Failed::Hangs(stuck)) = job.unwrap().wait(SHORT) else { panic!("it can't have ended") };
        assert_eq!((stuck.stage.as_str(), stuck.doing().0.as_str()), ("plugin file x.wasm", "plugin file x.wasm"));
        assert!(stuck.since >= SHORT.give_up && !stuck.is_over());
        go.send(()).unwrap();
        while !stuck.is_over() {
            std::thread::yield_now();
        }
        assert!(was_dropped.recv().unwrap(), "it was told that nobody waits");
    }

    #[test]
    fn a_stage_has_its_time_whatever_the_others_took() {
        let (go, gate) = channel::<()>();
        let patience = Patience { warn: LONG.warn, give_up: Duration::from_secs(10) };
        let job = Job::start(Progress::default(), move |progress| {
            for stage in 0..1_000 {
                progress.enter(format!("{stage}"));
            }
            gate.recv().is_ok()
        });
        go.send(()).unwrap();
        assert!(matches!(job.unwrap().wait(patience), Ok(true)));
    }

    #[test]
    fn a_panic_is_an_end_and_says_where() {
        let job: io::Result<Job<()>> = Job::start(Progress::default(), |progress| {
            progress.enter("here");
            panic!("as the test wants");
        });
        let Err(Failed::Panicked(stage)) = job.unwrap().wait(LONG) else { panic!("it panicked") };
        assert_eq!(stage, "here");
    }
}
