//! Properties under random faults, with random reads, writes and batches of several concurrent
//! clients.
//!
//! Every request and each of its ids is answered once, in order; a write that must not be repeated
//! arrives at most once, at one endpoint; no request has more attempts than allowed, nor all
//! together more than the budget; at the end nothing is in flight. Each run has a seed, which a
//! failure names.

use std::collections::HashMap;
use std::sync::Mutex;

use fastrand::Rng;
use serde_json::{Value, json as value};

use crate::support::{Answer, Client, Conf, Guest, Origin, Proxy, Request, json, wait_until};

const SEEDS: std::ops::Range<u64> = 0..8;
const CLIENTS: u64 = 6;
const REQUESTS: usize = 50;
const MAX_ATTEMPTS: usize = 3;
/// Retries and hedges per request, and per second.
const SHARE: f64 = 0.5;
const FLOOR: f64 = 2.0;
/// The budget's window in seconds; a run may see the floor of two of them.
const WINDOW: f64 = 10.0;

const READS: [&str; 4] = ["eth_call", "eth_blockNumber", "eth_getLogs", "trace_block"];
const WRITES: [&str; 3] = ["eth_sendTransaction", "personal_sign", "made_up"];
const RAW: &str = "eth_sendRawTransaction";

/// A request as a client sends it.
struct Sent {
    body: String,
    /// Id of a single request or of each member; `None` for a notification.
    ids: Vec<Option<u64>>,
    batch: bool,
    /// Ids of its writes that must not be repeated.
    writes: Vec<u64>,
}

impl Sent {
    fn random(rng: &mut Rng, next_id: &mut u64) -> Sent {
        let batch = rng.u8(..3) == 0;
        let count = if batch { rng.usize(1..=6) } else { 1 };
        let mut sent = Sent { body: String::new(), ids: Vec::new(), batch, writes: Vec::new() };
        let mut members = Vec::new();
        for _ in 0..count {
            *next_id += 1;
            let method = match rng.u8(..10) {
                0 | 1 => WRITES[rng.usize(..WRITES.len())],
                2 => RAW,
                _ => READS[rng.usize(..READS.len())],
            };
            let silent = batch && rng.u8(..10) == 0;
            let id = if silent { String::new() } else { format!(r#""id":{next_id},"#) };
            // The number is also in the params, which identifies a notification.
            members.push(format!(r#"{{"jsonrpc":"2.0",{id}"method":"{method}","params":["0x00",{next_id}]}}"#));
            sent.ids.push((!silent).then_some(*next_id));
            if WRITES.contains(&method) {
                sent.writes.push(*next_id);
            }
        }
        sent.body = if batch { format!("[{}]", members.join(",")) } else { members.remove(0) };
        sent
    }

    /// Every id is answered once, in the order of the requests, with a result or an error.
    fn check(&self, status: u16, text: &str) {
        let expected: Vec<u64> = self.ids.iter().copied().flatten().collect();
        if expected.is_empty() {
            return;
        }
        let answer: Value =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("{status} {e}: {text:?} to {}", self.body));
        let members = match &answer {
            Value::Array(members) if self.batch => members.clone(),
            // An endpoint may refuse a batch as a whole.
            whole if self.batch && whole["error"].is_object() => return,
            single => vec![single.clone()],
        };
        let ids: Vec<u64> = members.iter().map(|member| member["id"].as_u64().unwrap_or_default()).collect();
        assert_eq!(ids, expected, "{text} to {}", self.body);
        for member in members {
            let (result, error) = (member.get("result").is_some(), !member["error"].is_null());
            assert!(result != error, "{member} to {}", self.body);
        }
    }
}

/// An origin's reaction to a request: random, but determined by seed, origin and number.
fn misbehave(seed: u64, origin: u64, badness: u8, request: &Request) -> Answer {
    let mut rng = Rng::with_seed(seed << 32 | origin << 24 | request.number as u64);
    let good = Answer::result("good");
    if rng.u8(..100) >= badness {
        return good;
    }
    match rng.u8(..18) {
        0 => Answer::status(500),
        1 => Answer::status(503).chunked(7),
        2 => Answer::status(429).header("retry-after", "1"),
        3 => Answer::reset(),
        4 => Answer::close(),
        5 => Answer::hang(),
        6 => good.cut_after(9).then_reset(),
        7 => good.cut_after(9).then_hang(),
        8 => Answer::status(200),
        9 => good.header("content-encoding", "gzip"),
        10 => Answer::rpc_error(-32603, "internal error"),
        11 => Answer::rpc_error(-32005, "slow down"),
        12 => Answer::rpc_error(3, "execution reverted"),
        13 => Answer::rpc_error(-32601, "the method is not available"),
        14 => Answer::body(r#"{"jsonrpc":"2.0","id":999999999,"result":"another's"}"#),
        15 => good.after(std::time::Duration::from_millis(rng.u64(10..80))),
        _ => Answer::body(mangle(&mut rng, request)),
    }
}

/// The answer to a batch with members that are wrong, missing, doubled or out of order.
fn mangle(rng: &mut Rng, request: &Request) -> String {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let Value::Array(requests) = &body else { return String::new() };
    let mut answers: Vec<String> = Vec::new();
    for id in requests.iter().filter_map(|request| request.get("id")) {
        let result = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"good"}}"#);
        match rng.u8(..6) {
            0 => {}
            1 => answers.extend([result.clone(), result]),
            2 => answers.extend([result.replace("good", "a lie"), result]),
            3 => answers.push(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"oops"}}}}"#)),
            _ => answers.push(result),
        }
    }
    rng.shuffle(&mut answers);
    format!("[{}]", answers.join(","))
}

fn conf(seed: u64, origins: &[Origin]) -> Conf {
    let conf = Conf::of(origins)
        .set("max_attempts", &MAX_ATTEMPTS.to_string())
        .set("retry_budget", &format!("{{ share = {SHARE}, floor_per_sec = {FLOOR} }}"))
        .set("deadline", "'2s'")
        .client("timeout", "'150ms'")
        .cooldown("base", "'20ms'")
        .cooldown("max", "'100ms'");
    // The worst policy always asks for more attempts.
    let plan = r#"(func (export "pointsman_plan") (param $request i32) (param $row i32) (param $plan i32)
        (f32.store offset=12 (local.get $plan) (f32.const 20)))"#;
    let greedy = Guest::new("greedy", "1.0.0").always_retries().extra(plan);
    if seed.is_multiple_of(2) { conf.with_shipped_policies() } else { conf.retried_by(&greedy) }
}

/// Sends random requests and checks every answer. Returns the requests.
fn run_client(proxy: &Proxy, seed: u64, client: u64) -> Vec<Sent> {
    let mut rng = Rng::with_seed(seed << 8 | client);
    let mut next_id = client * 1_000_000;
    let mut connection = proxy.client();
    let mut all = Vec::new();
    for _ in 0..REQUESTS {
        let sent = Sent::random(&mut rng, &mut next_id);
        let response = ask(&mut connection, &sent.body);
        sent.check(response.0, &response.1);
        all.push(sent);
    }
    all
}

fn ask(connection: &mut Client, body: &str) -> (u16, String) {
    let response = connection.post(body);
    (response.status, response.text())
}

/// Arrivals of each numbered request at all origins together.
fn arrivals(origins: &[Origin]) -> HashMap<u64, usize> {
    let mut arrivals = HashMap::new();
    for request in origins.iter().flat_map(Origin::requests) {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let members = body.as_array().cloned().unwrap_or_else(|| vec![body]);
        for member in members {
            *arrivals.entry(member["params"][1].as_u64().expect("its number")).or_default() += 1;
        }
    }
    arrivals
}

/// The `attempts` of each line of the access log.
fn attempts_logged(log: &str) -> Vec<usize> {
    let attempts = |line: &str| line.split(" attempts=").nth(1)?.split(' ').next()?.parse().ok();
    log.lines().filter(|line| line.contains("pointsman::access")).filter_map(attempts).collect()
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let origins: Vec<Origin> = (0..4)
        .map(|number| {
            let badness = [0, 20, 50, 90][rng.usize(..4)];
            Origin::scripted(&format!("o{number}"), move |request| misbehave(seed, number, badness, request))
        })
        .collect();
    if rng.bool() {
        origins[rng.usize(..4)].stop();
    }
    let proxy = Proxy::start(&conf(seed, &origins));
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 1..=CLIENTS {
            let (proxy, all) = (&proxy, &all);
            scope.spawn(move || all.lock().unwrap().extend(run_client(proxy, seed, client)));
        }
    });
    let all = all.into_inner().unwrap();

    let arrivals = arrivals(&origins);
    for write in all.iter().flat_map(|sent| &sent.writes) {
        assert!(arrivals.get(write).is_none_or(|&times| times <= 1), "write {write} arrived {arrivals:?}");
    }
    wait_until("every request is logged", || attempts_logged(&proxy.log()).len() == all.len());
    let attempts = attempts_logged(&proxy.log());
    assert!(attempts.iter().all(|&attempts| attempts <= MAX_ATTEMPTS), "{attempts:?}");
    let metrics = proxy.metrics();
    let extra: f64 = ["retries_total", "hedges_total"].iter().map(|name| metrics.sum(name, &[])).sum();
    assert_eq!(attempts.iter().sum::<usize>() as f64, all.len() as f64 + extra - unserved(&attempts));
    let allowed = SHARE * all.len() as f64 + 2.0 * WINDOW * FLOOR;
    // The retry of a half-open attempt is not charged to the budget.
    let extra = extra - metrics.sum("retry_budget_excused_total", &[]);
    assert!(extra <= allowed, "{extra} retries and hedges where {allowed} are allowed");
    wait_until("nothing is under way", || {
        let status = proxy.status();
        let upstream = &status["upstreams"]["main"];
        let endpoints = upstream["endpoints"].as_array().expect("a list of endpoints");
        upstream["in_flight"] == 0 && endpoints.iter().all(|endpoint| endpoint["in_flight"] == 0)
    });
    // The proxy still works.
    origins.iter().for_each(|origin| origin.answer(Answer::result("good")));
    wait_until("it serves", || proxy.post(json::READ).json()["result"] == value!("good"));
}

/// Requests without any attempt.
fn unserved(attempts: &[usize]) -> f64 {
    attempts.iter().filter(|&&attempts| attempts == 0).count() as f64
}

#[test]
fn whatever_endpoints_do() {
    std::thread::scope(|scope| {
        let runs: Vec<_> = SEEDS.map(|seed| (seed, scope.spawn(move || run(seed)))).collect();
        let failed: Vec<u64> = runs.into_iter().filter_map(|(seed, run)| run.join().is_err().then_some(seed)).collect();
        assert!(failed.is_empty(), "seeds {failed:?}");
    });
}
