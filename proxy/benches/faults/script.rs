//! The behaviour of an endpoint over time.

use std::time::Duration;

/// Treatment of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Conduct {
    /// Responds.
    Serve,
    /// Responds, slower by this factor.
    Slow(u32),
    /// Responds with HTTP 500 to a share, resets a share, and serves the rest.
    Flaky {
        /// Share of HTTP 500.
        errors: f64,
        /// Share of resets.
        resets: f64,
    },
    /// Answers what probes ask, and half of everything else. The other half gets HTTP 500, or
    /// nothing if it hangs.
    Lame {
        /// It never answers.
        hangs: bool,
    },
    /// HTTP 200 with a JSON-RPC error: -32603 and -32000 alternately.
    RpcErrors,
    /// Rejects requests above a rate and serves the rest.
    Limited {
        /// The rate and the burst.
        per_second: u32,
        /// Form of the rejection.
        refusal: Refusal,
    },
    /// HTTP 503.
    Unavailable,
    /// Reads a request and resets the connection.
    Reset,
    /// Reads requests and never responds.
    Hang,
    /// Closes open connections and refuses new ones.
    Refuse,
}

/// The response of a rate limit.
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
    /// Creates a script with one conduct from the start.
    pub fn always(conduct: Conduct) -> Script {
        Script(vec![(Duration::ZERO, conduct)])
    }

    /// Adds a conduct from `start` on, which is later than all previous ones.
    pub fn then(mut self, start: Duration, conduct: Conduct) -> Script {
        self.0.push((start, conduct));
        self
    }

    /// The conduct at this time.
    pub fn at(&self, elapsed: Duration) -> Conduct {
        let begun = self.0.partition_point(|(start, _)| *start <= elapsed);
        self.0[begun.saturating_sub(1)].1
    }

    /// Returns the time when the endpoint next starts or stops refusing connections.
    pub fn next_turn(&self, elapsed: Duration) -> Option<Duration> {
        let refuses = self.at(elapsed) == Conduct::Refuse;
        let later = self.0.iter().filter(|(start, _)| *start > elapsed);
        later.into_iter().find(|(_, conduct)| (*conduct == Conduct::Refuse) != refuses).map(|(start, _)| *start)
    }
}
