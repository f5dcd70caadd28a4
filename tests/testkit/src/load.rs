//! Clients that send requests continuously while a test changes the proxy.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::client::Response;
use crate::json;
use crate::proxy::Proxy;

/// The load while it lasts.
pub struct Load {
    stop: AtomicBool,
    failed: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    /// Answers so far.
    pub fn answered(&self) -> usize {
        self.answered.load(SeqCst)
    }

    /// Whether a client has failed; then the test can stop.
    pub fn has_failed(&self) -> bool {
        self.failed.load(SeqCst)
    }

    fn run(&self, proxy: &Proxy, pause: Duration, check: &(impl Fn(&Response) + Sync)) {
        let _stop = Failing(self);
        let mut client = proxy.client();
        while !self.stop.load(SeqCst) {
            let response = client.post(json::READ);
            assert_eq!(response.status, 200, "{}", response.text());
            check(&response);
            self.answered.fetch_add(1, SeqCst);
            std::thread::sleep(pause);
        }
    }
}

/// Records a panic of its thread.
struct Failing<'a>(&'a Load);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, SeqCst);
        }
    }
}

/// Ends the load even if the test panics: the scope would wait for the clients.
struct Ends<'a>(&'a Load);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, SeqCst);
    }
}

/// Runs `test` while `clients` clients send reads, with `pause` between two requests, and `check`
/// each answer, whose status must be 200. Fails if a client fails. Returns the number of answers.
pub fn under_load(
    proxy: &Proxy,
    clients: usize,
    pause: Duration,
    check: impl Fn(&Response) + Sync,
    test: impl FnOnce(&Load),
) -> usize {
    let load = Load { stop: AtomicBool::new(false), failed: AtomicBool::new(false), answered: AtomicUsize::new(0) };
    std::thread::scope(|scope| {
        let _ends = Ends(&load);
        for _ in 0..clients {
            scope.spawn(|| load.run(proxy, pause, &check));
        }
        test(&load);
    });
    load.answered()
}
