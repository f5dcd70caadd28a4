//! The policies of an upstream, in the order of precedence.
//!
//! The canary decides the requests of its share; then the live policy decides, then the built-in
//! one. A policy that gives no answer, because of a fault or lack of time, is skipped. Invariant:
//! one policy decides all attempts of a request, as long as it answers.

use std::sync::Arc;
use std::time::Duration;

use super::canary::Canary;
use super::guarded_policy::Turn;
use super::shadow::Shadow;
use super::{GuardedPolicy, Upstream, Watched};
use crate::clock;
use crate::model::{RequestFacts, Tick};
use crate::policy::{Fault, Policy};

/// The policies of an upstream, as far as the conf names them.
pub(super) struct Deciders {
    pub(super) scoring: Option<GuardedPolicy>,
    pub(super) retry: Option<GuardedPolicy>,
    pub(super) shadow: Option<Arc<Shadow>>,
    pub(super) canary: Option<Canary>,
    /// Whether any of them gets the facts of the HTTP head.
    pub(super) reads_http: bool,
    /// The time limit of all calls for one request together.
    pub(super) time_budget: Duration,
}

/// A policy in its turn.
#[derive(Clone, Copy)]
pub(super) enum Decider<'a> {
    Canary(&'a Canary),
    Live(&'a GuardedPolicy),
}

impl Deciders {
    /// The policies that score for the request with this seed, in order.
    pub(super) fn scoring(&self, seed: u64) -> impl Iterator<Item = Decider<'_>> {
        in_order(self.canary.as_ref().filter(|canary| canary.scores(seed)), self.scoring.as_ref())
    }

    /// The policies that plan and decide about retries of the request with this seed, in order.
    pub(super) fn retry(&self, seed: u64) -> impl Iterator<Item = Decider<'_>> {
        in_order(self.canary.as_ref().filter(|canary| canary.decides(seed)), self.retry.as_ref())
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &GuardedPolicy> {
        let shadow = self.shadow.as_ref().map(|shadow| shadow.policy());
        let canary = self.canary.as_ref().map(Canary::policy);
        [self.scoring.as_ref(), self.retry.as_ref(), shadow, canary].into_iter().flatten()
    }

    /// The terms of all calls for this request.
    pub(super) fn turn<'r>(&self, request: &'r RequestFacts) -> Turn<'r> {
        Turn::of(request, self.time_budget)
    }
}

fn in_order<'a>(canary: Option<&'a Canary>, live: Option<&'a GuardedPolicy>) -> impl Iterator<Item = Decider<'a>> {
    canary.map(Decider::Canary).into_iter().chain(live.map(Decider::Live))
}

impl<'a> Decider<'a> {
    pub(super) fn policy(self) -> &'a GuardedPolicy {
        match self {
            Decider::Canary(canary) => canary.policy(),
            Decider::Live(policy) => policy,
        }
    }

    /// The policy's answer; `None` when the next one must be asked.
    pub(super) fn ask<R>(self, turn: Turn<'_>, call: impl FnOnce(&Policy) -> Result<R, Fault>) -> Option<R> {
        match self {
            Decider::Canary(canary) => canary.ask(turn, call),
            Decider::Live(policy) => policy.ask(turn, call),
        }
    }
}

impl Upstream {
    /// The policies in use: scoring, then retry.
    pub fn policies(&self) -> [Option<&GuardedPolicy>; 2] {
        [self.deciders.scoring.as_ref(), self.deciders.retry.as_ref()]
    }

    /// Whether any policy gets the facts of a request's HTTP head: without one, nobody reads them.
    pub fn reads_http(&self) -> bool {
        self.deciders.reads_http
    }

    /// The policy that scores without effect.
    pub fn shadow(&self) -> Option<&Shadow> {
        self.deciders.shadow.as_deref()
    }

    /// The policy that decides, or decided, a share of the requests.
    pub fn canary(&self) -> Option<&Canary> {
        self.deciders.canary.as_ref()
    }

    /// Begins to watch an admitted request, while a canary decides some of them. `seed` is the
    /// request's.
    pub fn watch(&self, seed: u64) -> Option<Watched<'_>> {
        self.watch_since(seed, clock::now())
    }

    /// Watches a request that was admitted at `began`.
    pub fn watch_since(&self, seed: u64, began: Tick) -> Option<Watched<'_>> {
        self.canary()?.watch(seed, began)
    }
}
