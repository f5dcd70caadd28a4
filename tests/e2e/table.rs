//! The table of the shipped retry policy, row by row: retries, the client's answer, penalties,
//! cooldowns and method bans. The rows' numbers are those of `docs/retry-table.md`.

mod rules;

use crate::support::{Answer, Conf, Origin, Proxy, json};

/// The first backoff: twice the conf's base.
const BACKOFF: f64 = 20.0;
/// The conf's maximum.
const LONGEST_BACKOFF: f64 = 60.0;
/// The weight of a failure in the average of an endpoint's penalties.
const RISE: f64 = 0.8;

/// A failure of an endpoint and its effects.
struct Case {
    row: u8,
    name: &'static str,
    make: Box<dyn Fn() -> Origin + Send + Sync>,
    /// The client's answer without a retry: status and error code.
    seen: (u16, i64),
    /// Whether a read, a write and a raw transaction are retried.
    moves: [bool; 3],
    /// Milliseconds.
    held: f64,
    /// Seconds.
    cools: f64,
    bans: bool,
}

fn case(row: u8, name: &'static str, seen: (u16, i64), make: impl Fn() -> Origin + Send + Sync + 'static) -> Case {
    Case { row, name, make: Box::new(make), seen, moves: [false; 3], held: 0.0, cools: 0.0, bans: false }
}

/// A JSON-RPC error, which is its own name.
fn rpc(row: u8, code: i64, message: &'static str) -> Case {
    case(row, message, (200, code), move || Origin::always("bad", Answer::rpc_error(code, message)))
}

/// Any other answer, which the client never sees.
fn http(row: u8, name: &'static str, answer: Answer) -> Case {
    case(row, name, (502, -32000), move || Origin::always("bad", answer.clone()))
}

impl Case {
    fn reads(self) -> Case {
        Case { moves: [true, false, false], ..self }
    }

    fn safe(self) -> Case {
        Case { moves: [true, false, true], ..self }
    }

    fn seen(self, status: u16, code: i64) -> Case {
        Case { seen: (status, code), ..self }
    }

    fn held(self, ms: u32) -> Case {
        Case { held: ms.into(), ..self }
    }

    fn cools(self, seconds: f64) -> Case {
        Case { cools: seconds, ..self }
    }

    fn check(&self) {
        // The remembered state would affect the next request.
        let is_remembered = self.held > 0.0 || self.cools > 0.0 || self.bans;
        let (mut bad, mut good, mut proxy) = self.start();
        for (body, moves) in [json::READ, json::WRITE, json::RAW_WRITE].into_iter().zip(self.moves) {
            if is_remembered && body != json::READ {
                (bad, good, proxy) = self.start();
            }
            let before = good.hits();
            let response = proxy.post(body);
            let what = format!("row {}, {}: {body}", self.row, self.name);
            if moves {
                assert_eq!((response.status, response.text().contains("good")), (200, true), "{what}");
            } else {
                assert_eq!((response.status, response.error_code()), self.seen, "{what}");
            }
            assert_eq!(good.hits() - before, usize::from(moves), "{what}");
            self.check_endpoint(&proxy, moves, &what);
        }
        drop(bad);
    }

    fn start(&self) -> (Origin, Origin, Proxy) {
        let (bad, good) = ((self.make)(), Origin::start("good"));
        let conf = Conf::of([&bad, &good]).cooldown("base", "'10s'").client("timeout", "'300ms'");
        let proxy = Proxy::start(&conf.with_shipped_policies());
        (bad, good, proxy)
    }

    fn check_endpoint(&self, proxy: &Proxy, moved: bool, what: &str) {
        let endpoint = proxy.endpoint("bad");
        let number = |name: &str| endpoint[name].as_f64().expect("a number");
        let least = RISE * self.held;
        assert!(number("penalty_ms") >= 0.99 * least, "{what}: {endpoint}");
        assert!(number("penalty_ms") <= 1.01 * least, "{what}: {endpoint}");
        assert_eq!(number("consecutive_failures"), f64::from(u8::from(self.held > 0.0)), "{what}");
        let cooling = number("cooldown_seconds");
        // An error of a request that no other endpoint got causes at most a backoff.
        let cools = if moved { self.cools } else { self.cools.min(LONGEST_BACKOFF) };
        assert!(cooling <= cools && cooling >= 0.0 && cooling > cools - 5.0, "{what}: {cooling} s");
        assert_eq!(endpoint["available"], self.cools == 0.0, "{what}");
        let banned = endpoint["banned_methods"].as_array().map_or(0, Vec::len);
        assert_eq!(banned, usize::from(self.bans), "{what}: {endpoint}");
    }
}

fn check(cases: Vec<Case>) {
    cases.iter().for_each(Case::check);
}

#[test]
fn row_1_nothing_was_sent() {
    let case = case(1, "refused", (502, -32000), || Origin::refusing("bad")).held(20_000).cools(BACKOFF);
    Case { moves: [true; 3], ..case }.check();
}

#[test]
fn rows_2_and_3_the_request_is_too_large_or_its_sender_too_fast() {
    check(vec![
        rpc(2, -32005, "query returned more than 10000 results").safe(),
        rpc(2, -32602, "block range too large, the limit is 2000").safe(),
        rpc(2, -32000, "log response is too big").safe(),
        rpc(3, -32005, "sender is over rate limit"),
        http(3, "a page", Answer::body("sender is over rate limit").with_status(429)).seen(429, -32005),
    ]);
}

#[test]
fn row_4_the_quota_is_used_up() {
    check(vec![
        http(4, "402", Answer::status(402)).safe().cools(3_600.0),
        rpc(4, -32005, "monthly capacity limit exceeded").safe().cools(3_600.0),
        http(4, "a page", Answer::body("see https://x.example/billing").with_status(403)).safe().cools(3_600.0),
    ]);
}

#[test]
fn row_5_rate_limits() {
    let slow = Answer::rpc_error(-32005, "slow down").header("retry-after", "9");
    check(vec![
        http(5, "429", Answer::status(429)).safe().seen(429, -32005).cools(BACKOFF),
        http(5, "7 s", Answer::status(429).header("retry-after", "7")).safe().seen(429, -32005).cools(7.0),
        http(5, "0 s", Answer::status(429).header("retry-after", "0")).safe().seen(429, -32005).cools(BACKOFF),
        http(5, "9 s in a JSON-RPC error", slow).safe().seen(200, -32005).cools(9.0),
        rpc(5, -32005, "slow down").safe().cools(BACKOFF),
        rpc(5, 429, "compute units per second are exceeded").safe().cools(BACKOFF),
        rpc(5, -32016, "rate limit reached").safe().cools(BACKOFF),
    ]);
}

#[test]
fn rows_8_and_9_another_node_knows_more() {
    check(vec![
        rpc(8, -32000, "header not found").safe(),
        rpc(8, -32000, "missing trie node 1a2b (path )").safe(),
        rpc(8, -39001, "Unknown block").safe(),
        rpc(8, -32603, "historical state 0xab is not available").safe(),
        rpc(8, -32602, "block number is greater than latest").safe(),
        rpc(9, -32000, "safe block not found").safe(),
        rpc(9, -32602, "the finalized tag is not supported").safe(),
        rpc(9, -32000, "transaction type not supported").safe(),
    ]);
}

#[test]
fn rows_10_to_12_the_error_is_the_answer() {
    check(vec![
        rpc(10, 3, "execution reverted: rate limit"),
        rpc(10, -32000, "execution reverted"),
        rpc(10, -32015, "VM Exception while processing transaction"),
        rpc(10, -32000, "out of gas"),
        rpc(11, -32000, "insufficient funds for gas * price + value"),
        rpc(11, -32000, "intrinsic gas too low"),
        rpc(11, -32000, "nonce too high"),
        rpc(11, -32000, "rlp: expected input list"),
        rpc(12, -32000, "replacement transaction underpriced"),
    ]);
}

#[test]
fn rows_13_to_16_refused_requests() {
    let only_raw = |case: Case| Case { moves: [false, false, true], ..case };
    let bans = |case: Case| Case { bans: true, ..case.safe() };
    let auth = |case: Case| case.reads().held(5_000).cools(600.0);
    check(vec![
        only_raw(rpc(13, -32003, "transaction rejected")),
        only_raw(rpc(13, -32000, "txpool is full")),
        bans(rpc(14, -32601, "the method does not exist")),
        // The cause may be the request: three of them ban the method.
        rpc(14, -32004, "unsupported").safe(),
        bans(http(14, "405", Answer::status(405))),
        bans(http(14, "415", Answer::status(415))),
        rpc(14, -32000, "this method is not available on your plan").safe(),
        auth(http(15, "401", Answer::status(401))),
        auth(http(15, "403", Answer::status(403))),
        auth(rpc(15, -32000, "invalid api key")),
        rpc(16, -32602, "invalid argument 0: see /billing"),
        rpc(16, -32600, "invalid request"),
        rpc(16, -32000, "filter not found"),
    ]);
}

#[test]
fn rows_17_and_18_broken_endpoints() {
    let timeout = case(18, "timeout", (504, -32000), || Origin::always("bad", Answer::hang()));
    check(vec![
        http(17, "500", Answer::status(500)).reads().held(15_000).cools(BACKOFF),
        http(17, "503", Answer::status(503)).reads().held(15_000).cools(BACKOFF),
        rpc(17, -32603, "internal error").reads().held(15_000).cools(BACKOFF),
        rpc(17, -32000, "execution timeout").reads().held(15_000),
        rpc(17, -32000, "something else").reads().held(15_000),
        rpc(17, -32700, "parse error").reads().held(15_000),
        http(17, "a page", Answer::status(200)).reads().held(15_000),
        http(17, "half a text", Answer::body("{\"id\":1,")).reads().held(15_000),
        timeout.safe().held(30_000).cools(BACKOFF),
        http(18, "reset", Answer::reset()).safe().held(20_000).cools(BACKOFF),
        http(0, "404", Answer::status(404)).reads().held(5_000),
        rpc(0, -31_234, "who knows"),
    ]);
}
