//! What an endpoint does, and when.

use std::time::Duration;

/// How an endpoint treats requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conduct {
    /// Answers.
    Serve,
    /// Answers, so many times slower.
    Slow(u32),
    /// A share answers with HTTP 500, a share is reset, the rest is answered.
    Flaky {
        /// Of HTTP 500.
        errors: f64,
        /// Of resets.
        resets: f64,
    },
    /// Answers what probes ask, and half of everything else. The other half gets HTTP 500, or
    /// nothing if it hangs.
    Lame {
        /// It never answers.
        hangs: bool,
    },
    /// HTTP 200 with a JSON-RPC error: -32603 and -32000 by turns.
    RpcErrors,
    /// Refuses what is above a rate, and answers the rest.
    Limited {
        /// The rate, and the burst.
        per_second: u32,
        /// How it refuses.
        refusal: Refusal,
    },
    /// HTTP 503.
    Unavailable,
    /// Reads a request and resets the connection.
    Reset,
    /// Reads requests and never answers.
    Hang,
    /// Closes what is open and refuses connections.
    Refuse,
}

/// How a rate limit is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP 200 with JSON-RPC error -32005, else HTTP 429.
    pub in_band: bool,
    /// With `Retry-After: 1`.
    pub retry_after: bool,
}

/// The conduct of an endpoint over time.
#[derive(Clone, Debug)]
pub struct Script(Vec<(Duration, Conduct)>);

impl Script {
    /// From the beginning on.
    pub fn always(conduct: Conduct) -> Script {
        Script(vec![(Duration::ZERO, conduct)])
    }

    /// From `start` on, which is later than all before.
    pub fn then(mut self, start: Duration, conduct: Conduct) -> Script {
        self.0.push((start, conduct));
        self
    }

    /// The conduct at this time.
    pub fn at(&self, elapsed: Duration) -> Conduct {
        let begun = self.0.partition_point(|(start, _)| *start <= elapsed);
        self.0[begun.saturating_sub(1)].1
    }

    /// When the endpoint next begins or ceases to refuse connections.
    pub fn next_turn(&self, elapsed: Duration) -> Option<Duration> {
        let refuses = self.at(elapsed) == Conduct::Refuse;
        let later = self.0.iter().filter(|(start, _)| *start > elapsed);
        later.into_iter().find(|(_, conduct)| (*conduct == Conduct::Refuse) != refuses).map(|(start, _)| *start)
    }
}
