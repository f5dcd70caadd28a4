//! A long response that is forwarded while it arrives.
//!
//! Invariants: the attempt settles here, once: at the end of the response, on its failure, or as
//! canceled when the reply is dropped. From the request's deadline on, the endpoint must keep up a
//! floor rate over the time that the proxy waits for it. After a client has delayed the endpoint, a
//! failure isn't held against it: no endpoint waits forever.

use std::time::Duration;

use bytes::Bytes;

use crate::client::Arriving;
use crate::clock;
use crate::model::{AttemptResult, FloorRate, Outcome, Pace, RequestFacts, Tick};
use crate::upstream::{Attempt, Case, Selection};

/// The average rate that an endpoint must keep up in a long response, from the request's deadline
/// on.
const ENDPOINT_BYTES_PER_SEC: u32 = 16 << 10;
/// The shortest grace period, when the deadline is close.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// A success whose end is still arriving.
pub struct StreamingReply {
    /// The announced length of the whole body.
    pub length: Option<usize>,
    /// Set until the attempt is settled.
    under_way: Option<(Box<Arriving>, Attempt)>,
    result: AttemptResult,
    facts: RequestFacts,
    /// The number of the attempt.
    number: u32,
    stretch: Option<Stretch>,
}

/// The period since the first piece was requested.
#[derive(Clone, Copy)]
struct Stretch {
    began: Tick,
    pace: Pace,
}

/// A part of the response.
pub struct Piece {
    /// Its bytes.
    pub bytes: Bytes,
    /// The endpoint has sent everything.
    pub last: bool,
}

impl StreamingReply {
    /// The reply of attempt `number`, which settles as `result` when its end arrives.
    pub(super) fn new(
        arriving: Box<Arriving>,
        attempt: Attempt,
        result: AttemptResult,
        facts: &RequestFacts,
        number: u32,
    ) -> Self {
        let length = arriving.length;
        StreamingReply {
            length,
            under_way: Some((arriving, attempt)),
            result,
            facts: facts.clone(),
            number,
            stretch: None,
        }
    }

    /// Whether the request's deadline has passed.
    pub fn is_overdue(&self) -> bool {
        clock::now() >= self.facts.deadline
    }

    /// The next piece. `held_up`: the client has delayed the endpoint for long.
    ///
    /// # Errors
    /// A description of the failure, when the endpoint breaks off, trickles, or sends more than is
    /// allowed.
    pub async fn next(&mut self, held_up: bool) -> Result<Piece, &'static str> {
        let Some((arriving, attempt)) = &mut self.under_way else {
            return Ok(Piece { bytes: Bytes::new(), last: true });
        };
        let bytes = match &mut self.stretch {
            None => {
                self.stretch = Some(Stretch::begin(&self.facts));
                std::mem::take(&mut arriving.beginning)
            }
            Some(stretch) => match stretch.read(arriving, attempt).await {
                Ok(bytes) => bytes,
                Err(broken) => {
                    let (detail, began) = (broken.detail, stretch.began);
                    if !held_up || broken.outcome == Outcome::BadResponse {
                        self.break_off(*broken, began);
                    }
                    return Err(detail);
                }
            },
        };
        let last = arriving.is_complete();
        if last && let Some((arriving, attempt)) = self.under_way.take() {
            // The latency stays the first part's: the rest comes as fast as the client reads.
            attempt.succeed(&self.facts, &self.result);
            arriving.finish().await;
        }
        Ok(Piece { bytes, last })
    }

    fn break_off(&mut self, mut broken: AttemptResult, began: Tick) {
        let now = clock::now();
        broken.latency = self.result.latency + now.since(began);
        let case = Case { request: &self.facts, sent: None, result: &broken, may_retry: false, member: false };
        let selection = Selection { attempt: self.number, ..Selection::first(&self.facts, now) };
        if let Some((_, attempt)) = self.under_way.take() {
            attempt.break_off(&selection, &broken, case);
        }
    }
}

impl Stretch {
    fn begin(facts: &RequestFacts) -> Self {
        let began = clock::now();
        let grace = facts.deadline.since(began).max(LEAST_GRACE);
        Stretch { began, pace: Pace::new(FloorRate { bytes_per_sec: ENDPOINT_BYTES_PER_SEC, grace }) }
    }

    async fn read(&mut self, arriving: &mut Arriving, attempt: &Attempt) -> Result<Bytes, Box<AttemptResult>> {
        attempt.heard();
        let asked = clock::now();
        let piece = arriving.next(self.pace.allowance(0)).await?.unwrap_or_default();
        self.pace.record(piece.len(), clock::now().since(asked));
        Ok(piece)
    }
}
