//! Many direct hostile calls, without a quarantine.

use std::sync::Arc;
use std::time::Duration;

use bytemuck::Zeroable;
use nix::time::{ClockId, clock_gettime};
use pointsman::policy::abi::{AttemptBlock, EndpointRow, PlanBlock, RequestBlock};
use pointsman::policy::{Fault, Limits, Policy, PolicyRuntime, Setup};

use super::{BAD_DECISIONS, BAD_SCORES};
use crate::support::{harmless, hostile};

fn direct(runtime: &PolicyRuntime, name: &str) -> Arc<Policy> {
    runtime.load(name, Arc::new(runtime.compile(&hostile(name)).unwrap()), &Setup::plain(2)).unwrap()
}

/// Calls every function. Waits for an instance that is being replaced.
fn call_all(policy: &Policy) -> Vec<Fault> {
    let mut request = RequestBlock::new();
    request.set_method("eth_getLogs");
    let rows = [EndpointRow::zeroed(); 2];
    let mut faults = Vec::new();
    let mut keep = |call: &mut dyn FnMut() -> Option<Fault>| loop {
        match call() {
            Some(Fault::NotReady) => std::thread::yield_now(),
            answer => return faults.extend(answer),
        }
    };
    keep(&mut || policy.score(&request, &rows, &mut Vec::new()).err());
    keep(&mut || policy.retry(&request, &AttemptBlock::new()).err());
    if policy.plans() {
        keep(&mut || policy.plan(&request, &rows[0], &PlanBlock::new(3, 1e3, f32::NAN, f32::NAN)).err());
    }
    faults
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// The epoch ends a call after about 4 ms of processor time. The asserted limit allows for a busy
/// machine.
#[test]
fn no_call_holds_its_thread_for_long() {
    let runtime = PolicyRuntime::new(1, Limits { fuel_per_row: 100_000_000, ..Limits::DEFAULT }).unwrap();
    let hot = BAD_SCORES.iter().map(|(name, _)| *name).chain(BAD_DECISIONS.iter().map(|(name, _)| *name));
    for name in hot {
        let policy = direct(&runtime, name);
        for _ in 0..5 {
            let before = processor_time();
            assert!(call_all(&policy).len() <= 1, "{name}: who takes long may come to an end with so much fuel");
            let took = processor_time() - before;
            assert!(took < Duration::from_millis(100), "{name} took {took:?}");
        }
    }
}

#[test]
fn faults_leak_nothing() {
    let runtime = PolicyRuntime::new(1, Limits::DEFAULT).unwrap();
    let hot = ["score-trap", "score-grows-memory", "score-deep-recursion", "retry-no-such-action", "plan-endless-loop"];
    let policies = hot.map(|name| direct(&runtime, name));
    let round = || policies.iter().for_each(|policy| assert_eq!(call_all(policy).len(), 1));
    (0..50).for_each(|_| round());
    let before = resident_pages();
    (0..400).for_each(|_| round());
    let grown = resident_pages().saturating_sub(before);
    // Leaked instances would be 2,000 times several pages. Other tests run in this process, too.
    assert!(grown < 8_000, "{grown} pages");
}

fn resident_pages() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages")
}

/// Slightly damaged modules: each must end in an answer, a fault or a refusal.
#[test]
fn bytes_changed_at_random_crash_nothing() {
    let runtime = PolicyRuntime::new(1, Limits::DEFAULT).unwrap();
    let (good, mut random) = (harmless(), fastrand::Rng::with_seed(7));
    let (mut refused, mut loaded) = (0, 0);
    for _ in 0..400 {
        let mut wasm = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(8..wasm.len());
            wasm[at] = random.u8(..);
        }
        let policy = runtime.compile(&wasm).and_then(|plugin| runtime.load("p", Arc::new(plugin), &Setup::plain(2)));
        match policy {
            Ok(policy) if policy.kinds().scoring && policy.kinds().retry => {
                loaded += 1;
                call_all(&policy);
            }
            Ok(_) => loaded += 1,
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
        }
    }
    assert!(refused > 10 && loaded > 10, "{refused} refused, {loaded} loaded");
}
