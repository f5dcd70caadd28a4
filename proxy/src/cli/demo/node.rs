//! The script of a simulated endpoint: its latency, and when and how it fails.
//!
//! Time and chance are parameters, so that a test can predict what a visitor sees.

use std::time::Duration;

use serde_json::{Value, json};

/// A simulated endpoint, and its entry in the conf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) weight: u16,
    /// `rate_limit_per_sec` of the conf, which the proxy enforces by itself.
    pub(super) limit: Option<u32>,
    /// Typical latency.
    pub(super) latency: Duration,
    pub(super) trouble: Trouble,
}

/// How an endpoint fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trouble {
    None,
    /// This share of requests fails.
    Errors(f64),
    /// Requests beyond this rate per second are refused.
    Limits(f64),
    /// It alternates between up and down.
    Restarts {
        up: Duration,
        down: Duration,
    },
}

/// The reaction to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    Answer,
    /// HTTP 500.
    ServerError,
    /// HTTP 200 with a JSON-RPC error.
    InternalError,
    /// HTTP 429.
    TooMany,
}

/// By weight, the order of the tiers policy: the preferred endpoints are those that fail, so that
/// there is something to see.
pub(super) const SCRIPTS: [Script; 6] = [
    Script {
        name: "flaky",
        about: "one request in five fails: HTTP 500, or a JSON-RPC error with status 200",
        weight: 130,
        limit: None,
        latency: Duration::from_millis(9),
        trouble: Trouble::Errors(0.2),
    },
    Script {
        name: "metered",
        about: "answers 429 above 40 requests a second",
        weight: 120,
        limit: None,
        latency: Duration::from_millis(12),
        trouble: Trouble::Limits(40.0),
    },
    Script {
        name: "restarts",
        about: "dies every 15 seconds, and is back five seconds later",
        weight: 110,
        limit: None,
        latency: Duration::from_millis(6),
        trouble: Trouble::Restarts { up: Duration::from_secs(10), down: Duration::from_secs(5) },
    },
    Script {
        name: "fast",
        about: "healthy; its contract allows 60 requests a second, and the proxy keeps to it",
        weight: 100,
        limit: Some(60),
        latency: Duration::from_millis(4),
        trouble: Trouble::None,
    },
    Script {
        name: "medium",
        about: "healthy",
        weight: 60,
        limit: None,
        latency: Duration::from_millis(25),
        trouble: Trouble::None,
    },
    Script {
        name: "slow",
        about: "healthy, and far away",
        weight: 20,
        limit: None,
        latency: Duration::from_millis(60),
        trouble: Trouble::None,
    },
];

/// Latency factors: most answers take a little over three quarters of the latency, a few several
/// times as long.
const SHORTEST: f64 = 0.75;
const SPREAD: f64 = 0.3;
/// The longest delay, as a multiple of the latency.
const LONGEST: f64 = 6.0;
/// The time between two blocks, as on Ethereum.
const BLOCK_TIME_SECS: u64 = 12;
const FIRST_BLOCK: u64 = 21_000_000;

impl Script {
    /// The delay of an answer; `chance` is from 0 up to 1. The tail is exponential, as on a
    /// network.
    pub(super) fn delay(&self, chance: f64) -> Duration {
        let factor = SHORTEST - SPREAD * (1.0 - chance.clamp(0.0, 1.0)).ln();
        self.latency.mul_f64(factor.min(LONGEST))
    }

    /// Whether it listens `elapsed` after the start.
    pub(super) fn is_up(&self, elapsed: Duration) -> bool {
        match self.trouble {
            Trouble::Restarts { up, down } => {
                let in_cycle = elapsed.as_secs_f64() % (up + down).as_secs_f64();
                in_cycle < up.as_secs_f64()
            }
            _ => true,
        }
    }

    /// The reaction to a request; `chance` is from 0 up to 1.
    pub(super) fn react(&self, chance: f64, bucket: &mut Bucket, elapsed: Duration) -> Reaction {
        match self.trouble {
            Trouble::Errors(share) if chance < share / 2.0 => Reaction::ServerError,
            Trouble::Errors(share) if chance < share => Reaction::InternalError,
            Trouble::Limits(per_sec) if !bucket.take(per_sec, elapsed) => Reaction::TooMany,
            _ => Reaction::Answer,
        }
    }
}

/// The state of a rate limit.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    spent: f64,
    at: Duration,
}

impl Bucket {
    fn take(&mut self, per_sec: f64, elapsed: Duration) -> bool {
        let since = elapsed.saturating_sub(self.at);
        self.at = elapsed;
        self.spent = (self.spent - since.as_secs_f64() * per_sec).max(0.0);
        let admitted = self.spent + 1.0 <= per_sec;
        self.spent += if admitted { 1.0 } else { 0.0 };
        admitted
    }
}

/// The response body for `request`, a JSON-RPC request or a batch.
pub(super) fn answer(request: &Value, failed: bool, elapsed: Duration) -> Value {
    match request {
        Value::Array(members) => members.iter().map(|member| answer(member, failed, elapsed)).collect(),
        member if failed => error(member, -32603, "internal error"),
        member => match result(member["method"].as_str().unwrap_or_default(), elapsed) {
            Some(result) => json!({ "jsonrpc": "2.0", "id": member["id"], "result": result }),
            None => error(member, -32601, "the method does not exist"),
        },
    }
}

fn error(member: &Value, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": member["id"], "error": { "code": code, "message": message } })
}

fn result(method: &str, elapsed: Duration) -> Option<Value> {
    Some(match method {
        "eth_blockNumber" => json!(format!("{:#x}", FIRST_BLOCK + elapsed.as_secs() / BLOCK_TIME_SECS)),
        "eth_chainId" => json!("0x1"),
        "eth_gasPrice" => json!("0x4a817c800"),
        "eth_getBalance" => json!("0xde0b6b3a7640000"),
        "eth_call" => json!(format!("0x{:064x}", 1_000_000)),
        "eth_getLogs" => json!([]),
        "net_version" => json!("1"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str) -> Script {
        *SCRIPTS.iter().find(|script| script.name == name).unwrap()
    }

    fn reactions(script: Script, per_sec: u32) -> Vec<Reaction> {
        let mut bucket = Bucket::default();
        let step = Duration::from_secs(1) / per_sec;
        (0..per_sec * 10)
            .map(|n| script.react(f64::from(n % per_sec) / f64::from(per_sec), &mut bucket, step * n))
            .collect()
    }

    #[test]
    fn latency_is_around_what_the_script_says_with_a_tail() {
        let slow = script("slow");
        assert!((40..50).contains(&slow.delay(0.0).as_millis()), "{:?}", slow.delay(0.0));
        assert!((55..65).contains(&slow.delay(0.5).as_millis()), "{:?}", slow.delay(0.5));
        assert!((120..150).contains(&slow.delay(0.99).as_millis()), "{:?}", slow.delay(0.99));
        assert_eq!(slow.delay(1.0), slow.latency * 6);
    }

    #[test]
    fn the_flaky_one_fails_one_in_five_in_two_ways() {
        let reactions = reactions(script("flaky"), 100);
        let count = |of| reactions.iter().filter(|reaction| **reaction == of).count();
        assert_eq!(count(Reaction::ServerError), 100);
        assert_eq!(count(Reaction::InternalError), 100);
        assert_eq!(count(Reaction::Answer), 800);
    }

    #[test]
    fn the_metered_one_refuses_what_is_above_its_rate() {
        assert!(reactions(script("metered"), 40).iter().all(|reaction| *reaction == Reaction::Answer));
        let answered = reactions(script("metered"), 100).iter().filter(|r| **r == Reaction::Answer).count();
        // A burst of 40, and then 40 in each of ten seconds.
        assert!((435..=440).contains(&answered), "{answered}");
    }

    #[test]
    fn the_restarting_one_is_down_for_five_of_fifteen_seconds() {
        let restarts = script("restarts");
        let up: Vec<bool> = [0, 9, 10, 14, 15, 24, 25].map(|s| restarts.is_up(Duration::from_secs(s))).into();
        assert_eq!(up, [true, true, false, false, true, true, false]);
        assert!(script("fast").is_up(Duration::from_secs(12)));
    }

    #[test]
    fn answers_carry_the_ids_in_order() {
        let batch = json!([{"id": 7, "method": "eth_chainId"}, {"id": "a", "method": "no_such"}]);
        let members = answer(&batch, false, Duration::ZERO);
        assert_eq!(members[0], json!({"jsonrpc": "2.0", "id": 7, "result": "0x1"}));
        assert_eq!((&members[1]["id"], &members[1]["error"]["code"]), (&json!("a"), &json!(-32601)));
        assert_eq!(answer(&batch, true, Duration::ZERO)[0]["error"]["code"], -32603);
    }

    #[test]
    fn blocks_come_every_twelve_seconds() {
        let at = |secs| answer(&json!({"id": 1, "method": "eth_blockNumber"}), false, Duration::from_secs(secs));
        assert_eq!(at(11)["result"], "0x1406f40");
        assert_eq!(at(12)["result"], "0x1406f41");
    }
}
