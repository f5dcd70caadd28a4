//! The thread that replaces faulted instances: it drops the old one and makes a new one, so that no
//! request pays for either.
//!
//! A replacement that fails is retried: instances of an old generation may still fill the pool.

use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Policy;
use super::instance::ReadyInstance;

/// The pause before a failed replacement is retried.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// The channel to the thread, for instances that faulted.
#[derive(Clone)]
pub(super) struct InstanceReplacer(Sender<Faulted>);

struct Faulted {
    policy: Weak<Policy>,
    /// Sent only to be dropped: unmapping its memory takes a while.
    _instance: ReadyInstance,
}

impl InstanceReplacer {
    /// Starts the thread, which ends with the last sender.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, faulted) = channel();
        std::thread::Builder::new().name("policy-refill".into()).spawn(move || run(&faulted))?;
        Ok(InstanceReplacer(sender))
    }

    pub(super) fn replace(&self, instance: ReadyInstance, policy: Weak<Policy>) {
        // The receiver ends with its last sender, and `self` is one.
        let _ = self.0.send(Faulted { policy, _instance: instance });
    }
}

fn run(faulted: &Receiver<Faulted>) {
    let mut waiting: Vec<Weak<Policy>> = Vec::new();
    loop {
        let next = match waiting.is_empty() {
            true => faulted.recv().map_err(|RecvError| RecvTimeoutError::Disconnected),
            false => faulted.recv_timeout(RETRY_PERIOD),
        };
        match next {
            Ok(Faulted { policy, .. }) => {
                if !waiting.iter().any(|known| known.ptr_eq(&policy)) {
                    waiting.push(policy);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        waiting.retain(|policy| policy.upgrade().is_some_and(|policy: Arc<Policy>| !policy.fill()));
    }
}
