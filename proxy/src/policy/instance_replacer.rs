//! The thread that replaces faulted instances: it drops the old one and makes the new one, so that
//! no request pays for either.
//!
//! A replacement that can't be made now (instances of an old generation may still fill the pool) is
//! tried again.

use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Policy;
use super::instance::ReadyInstance;

/// Between two tries to replace an instance.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// Where policies send instances that faulted.
#[derive(Clone)]
pub(super) struct InstanceReplacer(Sender<Faulted>);

struct Faulted {
    policy: Weak<Policy>,
    /// Only dropped: unmapping its memory takes a while.
    _instance: ReadyInstance,
}

impl InstanceReplacer {
    /// Starts the thread. It ends with the last sender.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, faulted) = channel();
        std::thread::Builder::new().name("policy-refill".into()).spawn(move || run(&faulted))?;
        Ok(InstanceReplacer(sender))
    }

    pub(super) fn replace(&self, instance: ReadyInstance, policy: Weak<Policy>) {
        // The receiver ends with its last sender, and this is one.
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
