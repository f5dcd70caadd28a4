//! The client's progress with the body of a request that streams through.

use std::time::Duration;

use bytes::Bytes;

use crate::clock;
use crate::model::{FloorRate, Pace, Tick};

/// The average rate at which a client must send a body (Apache's `RequestReadTimeout`).
const FLOOR: FloorRate = FloorRate { bytes_per_sec: 1 << 10, grace: Duration::from_secs(10) };

/// The size and the rate of a body, as far as it was read.
pub(super) struct BodyPace {
    pub(super) bytes: usize,
    pace: Pace,
    since: Tick,
}

impl BodyPace {
    pub(super) fn begin() -> Self {
        BodyPace { bytes: 0, pace: Pace::new(FLOOR), since: clock::now() }
    }

    /// Counts a piece.
    pub(super) fn count(&mut self, piece: Option<&Bytes>) {
        let now = clock::now();
        let size = piece.map_or(0, Bytes::len);
        self.bytes += size;
        self.pace.record(size, now.since(self.since));
        self.since = now;
    }

    /// Begins at the body's start again: what was read comes by once more in the next attempt.
    pub(super) fn rewind(&mut self) {
        self.bytes = 0;
    }

    /// Whether the client sends below the floor rate.
    pub(super) fn is_too_slow(&self) -> bool {
        self.pace.allowance(0).is_zero()
    }
}
